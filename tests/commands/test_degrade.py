"""`clrface degrade`: what is drawn depends on the seed and the name, and on ranges of one's own."""

import json
from pathlib import Path
from typing import Any

from clrface_core.cli import main
from tests.tiny import picture


def test_degrading_is_reproducible_and_does_not_depend_on_company(tmp_path: Path) -> None:
    one, other = picture(tmp_path / "one.png", size=(64, 64)), picture(tmp_path / "other.png", size=(64, 64))
    out = [tmp_path / name for name in ("a", "b", "c")]
    assert main(["degrade", str(one), "-o", str(out[0]), "--seed", "1", "--quiet"]) == 0
    assert main(["degrade", str(other), str(one), "-o", str(out[1]), "--seed", "1", "--quiet"]) == 0
    assert main(["degrade", str(one), "-o", str(out[2]), "--seed", "2", "--quiet"]) == 0
    first, among, differently = ((folder / "one.png").read_bytes() for folder in out)
    assert first == among != differently != one.read_bytes()


def test_degrading_with_ranges_of_ones_own(tmp_path: Path, capsys: Any) -> None:
    source, config = picture(tmp_path / "one.png", size=(64, 64)), tmp_path / "own.json"
    config.write_text('{"reduction": [2, 2], "quality": [40, 40]}')
    arguments = ["degrade", str(source), "-o", str(tmp_path / "out.png"), "--config", str(config)]
    assert main([*arguments, "--json"]) == 0
    drawn = json.loads(capsys.readouterr().out)["results"][0]["degradation"]
    assert (drawn["reduction"], drawn["quality"]) == (2, 40)
    for text in ('{"blur": [1, 2]}', "[1, 2]", "no json", '{"reduction": [4, 2]}'):
        config.write_text(text)
        assert main(arguments) == 1
        assert capsys.readouterr().err.startswith("clrface: Expected ")
