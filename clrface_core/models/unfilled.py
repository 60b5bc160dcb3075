"""Networks without weights, for weights that are read from a file: random ones would cost seconds for nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..errors import CLRFaceError


class _LeftAsIs(TorchFunctionMode):
    """Random initialisation does nothing. On the meta device torch would load its compiler to do that: 2 s.

    Every weight begins as a `torch.empty`: counting those ends a network that has no end.
    """

    def __init__(self, at_most: int | None, source: str) -> None:
        super().__init__()
        self._at_most, self._source, self._made = at_most, source, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is torch.empty:
            self._made += 1
            if self._at_most is not None and self._made > self._at_most:
                raise CLRFaceError(
                    f"Expected the config of {self._source} to describe the tensors that are there, but it describes "
                    f"more than {self._at_most}: get the file anew."
                )
        return func(*args, **kwargs)


@contextmanager
def unfilled(at_most: int | None = None, source: str = "a network") -> Iterator[None]:
    """Modules that are built inside have the right shapes and no values; give them some by `assign=True`.

    at_most: how many tensors they may have together before CLRFaceError says that `source` is wrong.
    """
    with torch.device("meta"), _LeftAsIs(at_most, source):
        yield
