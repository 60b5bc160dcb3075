"""The named configs are what their JSON says."""

import dataclasses
import json

import pytest

from clrface_core.models.checked import config_from_json
from clrface_core.models.configs import CONFIGS


@pytest.mark.parametrize("name", list(CONFIGS))
def test_named_configs_survive_json(name: str) -> None:
    for kind in ("vq", "irn", "refiner", "mask"):
        config = getattr(CONFIGS[name], kind)
        assert config_from_json(type(config), json.loads(json.dumps(dataclasses.asdict(config)))) == config
