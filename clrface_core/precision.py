"""Where and in which number format the networks run: asked for by name, or chosen once by a short measurement."""

from __future__ import annotations

import time
from functools import cache

import torch
import torch.nn.functional as F

from .errors import CLRFaceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# bfloat16 gives up accuracy, so it must earn it. Processors with such units gain 2x and more, the others lose:
# a threshold between lets a busy machine still choose the same every time, and so give the same picture.
WORTHWHILE = 1.3


def choose_device(wanted: str | torch.device = "auto") -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1", "mps"); "auto" is the fastest present.

    CLRFaceError for a name that torch does not know and for a device that is not there.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise CLRFaceError(f"Expected a device (auto, cpu, cuda or mps), got {wanted!r}: use one.") from error
    absent = not present.get(device.type, True)
    if absent or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise CLRFaceError(
            f"Expected a device that this machine has, got {wanted}: torch sees none, so use cpu or auto."
        )
    return device


def choose_dtype(device: torch.device, wanted: str | torch.dtype | None = None) -> torch.dtype:
    """The networks' dtype: as asked; else bfloat16 where the device computes it fast, float16 on older CUDA
    cards, and float32 elsewhere (also on mps, whose half formats are incomplete).

    On a CPU the first call takes some 20 ms, because it measures. CLRFaceError for a dtype that networks cannot run in.
    """
    if wanted is not None:
        dtype = DTYPES.get(wanted) if isinstance(wanted, str) else wanted
        if dtype is None or dtype not in DTYPES.values():
            raise CLRFaceError(f"Expected a dtype ({', '.join(DTYPES)}), got {wanted}: use one of them.")
        return dtype
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.bfloat16 if native else torch.float16
    return torch.bfloat16 if device.type == "cpu" and _bfloat16_wins() else torch.float32


@cache
def _bfloat16_wins() -> bool:
    """Measured once per process: models loaded later get the same answer, and so give the same pictures."""
    return _seconds(torch.float32) > WORTHWHILE * _seconds(torch.bfloat16)


def _seconds(dtype: torch.dtype) -> float:
    """Best of eight timings of a small 3x3 convolution: short enough that some run undisturbed."""
    picture = torch.zeros(1, 64, 32, 32, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.zeros(64, 64, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    timings = []
    with torch.no_grad():
        for _ in range(8):
            start = time.perf_counter()
            F.conv2d(picture, kernel, padding=1)
            timings.append(time.perf_counter() - start)
    return min(timings)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether this is how torch, or a library below it, says that memory ran out; on a CPU that has no type."""
    said = str(error).lower()
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(
        words in said
        for words in ("out of memory", "not enough memory", "can't allocate memory", "could not create a primitive")
    )
