"""Mutations of bytes, JSON and arrays; everything follows from the random generator that is given."""

from __future__ import annotations

import json
import random
import struct
import zlib
from typing import Any

NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e308, float("nan"), float("inf"), 10**30, "", "x", "\0", "ü" * 300, [], [[]], {},
    [0], [1, 0], [float("nan")] * 2, {"a": 1},
)  # fmt: skip


def mutate_bytes(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """One to eight random edits."""
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        data = _edited(bytearray(data), draw, others)
    return data


def _edited(data: bytearray, draw: random.Random, others: list[bytes]) -> bytes:
    length = len(data)
    if not length:
        return draw.randbytes(8)
    # Headers are where formats are decided: half of all edits fall there.
    place = draw.randrange(min(length, 200) if draw.random() < 0.5 else length)
    run = min(draw.choice((1, 2, 4, 16, 64)), length - place)
    kind = draw.randrange(9)
    if kind == 0:
        data[place] ^= 1 << draw.randrange(8)
    elif kind == 1:
        data[place : place + run] = draw.randbytes(run)
    elif kind == 2:
        return bytes(data[:place])
    elif kind == 3:
        del data[place : place + run]
    elif kind == 4:
        data[place:place] = draw.randbytes(run)
    elif kind == 5:
        data[place:place] = data[place : place + run] * draw.choice((1, 2, 50))
    elif kind == 6:
        form = draw.choice(("<H", ">H", "<I", ">I"))
        value = draw.choice(NUMBERS) % (1 << 8 * struct.calcsize(form))
        data[place : place + struct.calcsize(form)] = struct.pack(form, value)
    elif kind == 7:
        data[place : place + run] = bytes([draw.choice((0, 255, 32, 128))]) * run
    else:
        other = draw.choice(others)
        data[place:] = other[draw.randrange(len(other)) :]
    return bytes(data)


def with_checksums(png: bytes) -> bytes:
    """A damaged PNG whose chunks have right checksums, so that a reader goes on to what they hold."""
    out, place = png[:8], 8
    while place + 12 <= len(png):
        length = struct.unpack(">I", png[place : place + 4])[0]
        body = png[place + 4 : place + 8 + length]
        if len(body) < 4 + length:
            break
        out += png[place : place + 4] + body + struct.pack(">I", zlib.crc32(body))
        place += 12 + length
    return out + png[place:]


def mutate_json(value: Any, draw: random.Random) -> Any:
    """A copy with one value, somewhere, changed, removed, renamed or wrapped."""
    value = json.loads(json.dumps(value))
    holders: list[Any] = []

    def collect(part: Any) -> None:
        if isinstance(part, (dict, list)) and part:
            holders.append(part)
            for each in part.values() if isinstance(part, dict) else part:
                collect(each)

    collect(value)
    if not holders or draw.random() < 0.05:
        return draw.choice(VALUES)
    holder = draw.choice(holders)
    key = draw.choice(list(holder)) if isinstance(holder, dict) else draw.randrange(len(holder))
    kind = draw.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[draw.choice(("x", "", key + "0", "name", "size"))] = holder.pop(key)  # type: ignore[operator]
    elif kind == 2 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = draw.choice(
            (-holder[key], holder[key] * 2, holder[key] + 0.5, holder[key] * 10**9, str(holder[key]))
        )
    elif kind == 3:
        for _ in range(draw.choice((1, 3, 400))):
            holder[key] = [holder[key]]
    else:
        holder[key] = draw.choice(VALUES)
    return value
