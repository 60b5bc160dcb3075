"""Networks without weights, for weights that are read from a file: random ones would cost seconds for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _LeftAsIs(TorchFunctionMode):
    """Random initialisation does nothing. On the meta device torch would load its compiler to do that: 2 s."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def unfilled() -> Iterator[None]:
    """Modules that are built inside have the right shapes and no values; give them some by `assign=True`."""
    with torch.device("meta"), _LeftAsIs():
        yield
