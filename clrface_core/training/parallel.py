"""Several processes, one model: each sees samples of its own, and gradients are averaged over all.

`accelerate launch` starts the processes, and Hugging Face's Accelerator connects them. It does not wrap the networks:
a stage calls parts of them (an encoder, then a decoder), which the usual wrapper's single `forward` cannot follow.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CLRFaceError


def find_accelerator(device: str) -> Any:
    """The accelerate.Accelerator of this process, which may be alone; CLRFaceError where that package is missing."""
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise CLRFaceError(
            f"Expected accelerate for training, but {error}: pip install 'clr-face[training]'."
        ) from error
    return Accelerator(cpu=device == "cpu", mixed_precision="no")


def average_gradients(accelerator: Any, parameters: Iterable[nn.Parameter]) -> None:
    """Every gradient becomes its mean over the processes."""
    if accelerator.num_processes == 1:
        return
    # As one tensor: one message a step instead of one a layer.
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    mean = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for parameter, part in zip(trained, mean.split([p.numel() for p in trained]), strict=True):
        parameter.grad = part.view_as(parameter)


def as_first(accelerator: Any, values: Tensor) -> Tensor:
    """The first process's values."""
    if accelerator.num_processes == 1:
        return values
    from accelerate.utils import broadcast

    return broadcast(values.to(accelerator.device, copy=True)).to(values.device)
