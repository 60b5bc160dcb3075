"""Configs out of JSON: every type and range is checked before a network is built from them."""

from __future__ import annotations

import reprlib
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import CLRFaceError

RANGES: dict[str, tuple[float, float]] = {
    "identity": (0, 4096),  # 0: not told who it is
    "n_embed": (1, 2**20),
    "norm_groups": (0, 4096),  # 0: no norms
    "patch": (1, 32),
    "reduce": (1, 32),
    "size": (16, 4096),
    "t0": (1e-3, 1),
}
"""Inclusive, by name; every other number is one of channels, layers or blocks."""
USUAL = (1, 4096)
LONGEST = 64
"""Entries of a list, say one per resolution."""


def config_from_json(kind: type, values: Any, source: object = "the config") -> Any:
    """A config dataclass from its JSON form: lists become tuples, nested objects nested dataclasses.

    Raises CLRFaceError for unknown and missing settings, wrong types and numbers that no network has.
    """
    if not isinstance(values, dict):
        raise CLRFaceError(f"Expected settings by name in {source}, got {reprlib.repr(values)}: get the file anew.")
    hints = get_type_hints(kind)
    needed = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING}
    for key in sorted(values.keys() - hints.keys()):
        raise CLRFaceError(f"Expected the settings {', '.join(hints)} in {source}, got {reprlib.repr(key)}: remove it.")
    for key in sorted(needed - values.keys()):
        raise CLRFaceError(f"Expected the setting {key} in {source}, but it is not there: get the file anew.")
    return kind(**{key: checked(hints[key], key, value, source) for key, value in values.items()})


def checked(hint: Any, name: str, value: Any, source: object) -> Any:
    """`value` as the type `hint` wants it; CLRFaceError where it is of another or out of the range of `name`."""
    if is_dataclass(hint):
        return config_from_json(hint, value, source)  # type: ignore[arg-type]
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or len(value) > LONGEST:
            raise _odd(f"a list of up to {LONGEST} numbers", name, value, source)
        return tuple(checked(get_args(hint)[0], name, each, source) for each in value)
    # A bool is an int to Python, and an int will do for a float.
    if type(value) is not hint and not (hint is float and type(value) is int):
        wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[hint]
        raise _odd(wanted, name, value, source)
    low, high = RANGES.get(name, USUAL)
    if hint in (int, float) and not low <= value <= high:
        raise _odd(f"a number from {low} to {high}", name, value, source)
    return value


def _odd(wanted: str, name: str, value: Any, source: object) -> CLRFaceError:
    return CLRFaceError(f"Expected {wanted} for {name} in {source}, got {reprlib.repr(value)}: get the file anew.")
