"""One report of the bundled model, and the figures of model card and README that are taken from it.

    python -m tools.report --faces ../shared/faces --metric-weights WEIGHTS    # measure, then write
    python -m tools.report                                                     # only write, from docs/report

Measured are faces that were never trained on, in the standard and the mild ranges of degradation, from seed 0. The same
command gives the same figures on the same machine and versions.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .marked import table, write

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "report"
CARD = ROOT / "clrface_core" / "weights" / "MODEL_CARD.md"
README = ROOT / "README.md"

SHARDS = ("val-512-000.tar", "val-real-512-000.tar")
SETS = {
    "b": "B: generated people like those of training",
    "c": "C: generated people of other makers",
    "r": "R: real people",
}
IRN, FEW, MANY, INPUT = "IRN alone", "1 step", "4 steps", "input"
TITLES = {INPUT: "degraded", "realesrgan": "Real-ESRGAN x4plus"}
SHOWN = {"PSNR": 2, "SSIM": 3, "LPIPS-VGG": 3, "KID ×1000": 0, "SFace cosine": 3, "dlib cosine": 3}
"""Columns of the card and their digits."""
ENOUGH = 10
"""Faces of a set below which figures are only a quick look."""

Content = dict[str, Any]
"""What a report.json holds."""


def measure(faces: Path, weights: Path, limit: int | None) -> None:
    """Both reports anew. `limit`: faces of each set, for a quick one."""
    from clrface_core.cli import main as clrface

    common = ["--data", *(str(faces / shard) for shard in SHARDS), "--metric-weights", str(weights), "--seed", "0"]
    shutil.rmtree(REPORT, ignore_errors=True)
    for preset, folder, most, more in (
        ("standard", REPORT, limit, ["--steps", "1", "4", "--baselines", "irn,realesrgan", "--verify", "self"]),
        ("mild", REPORT / "mild", min(limit or 40, 40), ["--steps", "4", "--metrics", "psnr,lpips-vgg,sface,dlib"]),
    ):
        some = ["--limit", str(most)] if most else []
        if clrface(["evaluate", *common, "--preset", preset, *more, *some, "-o", str(folder), "--quiet"]):
            raise SystemExit(
                f"Expected to measure all faces with {preset} degradation, but some were left out: see above."
            )
        _slim(folder / "report.json")
        (folder / "contact.png").unlink()  # the faces of the sets may not be published


def _slim(path: Path) -> None:
    """The same report with five digits and a line for each face: it is kept in git."""
    content = json.loads(path.read_text(encoding="utf-8"), parse_float=lambda text: float(f"{float(text):.5g}"))
    faces = ",\n".join(json.dumps(face, separators=(",", ":")) for face in content.pop("faces"))
    head = json.dumps(content, indent=1, ensure_ascii=False).removesuffix("\n}")
    path.write_text(f'{head},\n "faces": [\n{faces}\n ]\n}}\n', encoding="utf-8")


def read(folder: Path) -> Content:
    """The report.json of a folder."""
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def rows_of(content: Content, name: str) -> dict[str, Content]:
    """The means of one set, by output."""
    return {row["output"]: row for row in content["rows"] if row["set"] == name}


def sets_of(content: Content) -> list[str]:
    """The sets of a report in alphabetical order."""
    return sorted({row["set"] for row in content["rows"]})


def card(standard: Content, mild: Content) -> str:
    """The measured part of the model card."""
    settings = standard["settings"]
    return "\n\n".join(
        [
            f"{_how_many(standard)}Faces that were never trained on, degraded from seed {settings['seed']}, restored "
            f"in {settings['dtype']} on a {settings['device'].upper()}; means, in brackets the change against the "
            "degraded input. SFace took part in training, so its cosine flatters; dlib's network did not. The whole "
            "report, with settings and checksums, is `docs/report/report.md`.",
            "### Standard degradation (reduced up to 32 times)",
            *_standard(standard),
            "### Mild degradation (reduced up to 8 times)",
            table(
                ["set and output", "PSNR", "LPIPS-VGG", "dlib cosine", "faces whose dlib cosine fell"],
                list(_mild(mild)),
            ),
            "### By skin tone: dlib cosine, standard degradation",
            table(["set, tone (faces)", "degraded", MANY], list(_tones(standard))),
        ]
    )


def _how_many(content: Content) -> str:
    fewest = min(row["faces"] for row in content["rows"])
    return "" if fewest >= ENOUGH else f"Only a quick look, at {fewest} faces of each set. "


def _columns(content: Content) -> dict[str, int]:
    return {name: digits for name, digits in SHOWN.items() if content["rows"][0].get(name) is not None}


def _standard(content: Content) -> Iterator[str]:
    columns = _columns(content)
    for name in sets_of(content):
        rows = rows_of(content, name)
        lines = [
            [TITLES.get(output, output), *(_changed(row, rows[INPUT], column, columns[column]) for column in columns)]
            for output, row in rows.items()
        ]
        yield table([f"{_set_title(name)}, {rows[INPUT]['faces']} faces", *columns], lines)


def _set_title(name: str) -> str:
    return SETS.get(name, name.upper())


def _changed(row: Content, before: Content, column: str, digits: int) -> str:
    value = row[column]
    if row is before:
        return f"{value:.{digits}f}"
    if column.startswith(("LPIPS", "KID")) and min(value, before[column]) > 0:  # KID of few faces may fall below 0
        return f"{value:.{digits}f} ({value / before[column]:.2f}x)"
    return f"{value:.{digits}f} ({value - before[column]:+.{digits}f})"


def _mild(content: Content) -> Iterator[list[str]]:
    for name in sets_of(content):
        rows, faces = rows_of(content, name), [face for face in content["faces"] if face["set"] == name]
        for output, row in rows.items():
            cells = [_changed(row, rows[INPUT], each, SHOWN[each]) for each in ("PSNR", "LPIPS-VGG", "dlib cosine")]
            known = [each["outputs"] for each in faces if each["outputs"][INPUT].get("dlib cosine") is not None]
            known = [each for each in known if each[output].get("dlib cosine") is not None]
            fell = sum(each[output]["dlib cosine"] < each[INPUT]["dlib cosine"] for each in known)
            yield [
                f"{name.upper()}, {TITLES.get(output, output)}",
                *cells,
                "" if output == INPUT else f"{fell} of {len(known)}",
            ]


def _tones(content: Content) -> Iterator[list[str]]:
    from clrface_core.evaluation.report.tables import mean_of
    from clrface_core.evaluation.report.tones import TONES, tone_of

    for name in sets_of(content):
        known = [face for face in content["faces"] if face["set"] == name and face.get("tone") is not None]
        for tone, _ in TONES:
            group = [face for face in known if tone_of(face["tone"]) == tone]
            before, after = (mean_of(group, output, "dlib cosine") for output in (INPUT, MANY))
            if before is not None and after is not None:
                yield [
                    f"{name.upper()}, {tone} ({len(group)})",
                    f"{before:.3f}",
                    f"{after:.3f} ({after - before:+.3f})",
                ]


def promise(standard: Content) -> str:
    """The figures of the README: the hardest set to please, real people where they were measured."""
    name = sets_of(standard)[-1]
    rows = rows_of(standard, name)
    shown = {output: row for output, row in rows.items() if output in (INPUT, "Real-ESRGAN x4plus", FEW, MANY)}
    columns = {"PSNR": 1, "LPIPS-VGG": 2, "dlib cosine": 2}
    titles = ["PSNR, dB (nearness of pixels, higher is better)", "LPIPS (looks different, lower is better)",
              "identity (1 is the same picture, 0 a stranger)"]  # fmt: skip
    lines = [
        [_for_readme(output), *(f"{row[column]:.{digits}f}" for column, digits in columns.items())]
        for output, row in shown.items()
    ]
    count = rows[INPUT]["faces"]
    return (
        f"{'' if count >= ENOUGH else 'Only a quick look. '}Measured on {count} faces never trained on "
        f"({_set_title(name)[3:]}), heavily degraded; identity by a "
        f"recognition network that took no part in training:\n\n{table(['', *titles], lines)}\n\n"
        "More sets, milder degradation and where it fails: [model card](clrface_core/weights/MODEL_CARD.md), "
        "[report](docs/report/report.md)."
    )


def _for_readme(output: str) -> str:
    return f"**CLR-Face**, {output}" if output in (FEW, MANY) else TITLES.get(output, output)


def parts() -> dict[Path, tuple[str, str]]:
    """What each document should hold between which marks, from the reports as they lie in docs/report."""
    standard, mild = read(REPORT), read(REPORT / "mild")
    return {CARD: ("measured", card(standard, mild)), README: ("quality", promise(standard))}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.report", description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=Path, metavar="DIR", help="folder of the validation shards: measure anew")
    parser.add_argument("--metric-weights", type=Path, metavar="DIR", help="see docs/evaluation.md")
    parser.add_argument("--limit", type=int, metavar="N", help="faces of each set, for a quick look")
    args = parser.parse_args(arguments)
    if args.faces is not None:
        if args.metric_weights is None:
            parser.error("--faces needs --metric-weights")
        measure(args.faces, args.metric_weights, args.limit)
    for path, (name, text) in parts().items():
        write(path, name, text)


if __name__ == "__main__":
    main()
