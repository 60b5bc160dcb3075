"""Several processes, one model: each sees samples of its own, and gradients are averaged over all.

`accelerate launch` starts the processes; Hugging Face accelerate connects them. A process that runs alone needs
neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..errors import CLRFaceError


class Team:
    """The processes that train one model together. This one is alone: it is the first, and has nothing to agree on."""

    rank = 0
    size = 1

    def device(self, wanted: str) -> torch.device:
        """Where this process computes."""
        return torch.device(wanted)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every gradient becomes its mean over the processes."""

    def total(self, values: Tensor) -> Tensor:
        """The sum over the processes."""
        return values

    def as_first(self, values: Tensor) -> Tensor:
        """The first process's values."""
        return values


class Accelerated(Team):
    """The processes that `accelerate launch` started."""

    def __init__(self, cpu: bool) -> None:
        try:
            from accelerate import PartialState
        except ImportError as error:
            raise CLRFaceError(
                f"Expected accelerate for training in {os.environ['WORLD_SIZE']} processes, but {error}: "
                "pip install accelerate."
            ) from error
        self._state = PartialState(cpu=cpu)
        self.rank, self.size = self._state.process_index, self._state.num_processes

    def device(self, wanted: str) -> torch.device:
        return self._state.device

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        # As one tensor: one message a step instead of one a layer.
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        mean = self._reduced(torch.cat([gradient.flatten() for gradient in gradients])) / self.size
        for parameter, part in zip(trained, mean.split([p.numel() for p in trained]), strict=True):
            parameter.grad = part.view_as(parameter)

    def total(self, values: Tensor) -> Tensor:
        return self._reduced(values.to(self._state.device)).to(values.device)

    def as_first(self, values: Tensor) -> Tensor:
        from accelerate.utils import broadcast

        return broadcast(values.to(self._state.device, copy=True)).to(values.device)

    def _reduced(self, values: Tensor) -> Tensor:
        from accelerate.utils import reduce

        return reduce(values, "sum")


def find_team(device: str) -> Team:
    """The team of this process: alone, unless a launcher said that there are others."""
    return Accelerated(cpu=device == "cpu") if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Team()
