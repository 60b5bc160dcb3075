"""What a worker does: the jobs it is given, as `clrface restore` does them, with networks that it loaded once."""

from __future__ import annotations

import os
import socket
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..commands import options, restore
from ..commands.batch import Batch, each_record, progress_bar, remove_leftovers_of
from ..commands.files import Job
from ..errors import CLRFaceError
from ..storage import is_remote

Record = dict[str, Any]
"""What became of a job, see `commands.batch.run_jobs`; its summary is still in it."""

Work = Callable[[Sequence[Job]], Iterator[Record]]
"""Does some jobs: one record each, in their order."""

Load = Callable[[], Work]
"""Makes a worker. It can be pickled, and is called once where the worker will live."""


class Worker:
    """Restores photos with a model that stays loaded.

    arguments: those of `clrface restore`, see `portable`. threads: of PyTorch on a CPU; None: as many as it likes.
    made_with: what decides the results, as another worker has found it: CLRFaceError where this one finds otherwise,
    say because its machine has another version of clrface, another model or another kind of processor.
    """

    def __init__(
        self, arguments: Mapping[str, Any], threads: int | None = None, made_with: Mapping[str, Any] | None = None
    ) -> None:
        args = Namespace(**arguments)
        self._threads = threads
        self._take_threads()
        self.loaded = restore.load(args)
        self.name = f"{socket.gethostname()}/{os.getpid()}"
        if made_with is not None and (other := _differing(made_with, self.loaded.made_with)):
            raise CLRFaceError(
                f"Expected the same {', '.join(other)} on all machines, found another on {socket.gethostname()}: "
                "install the same version and models everywhere, or choose --device and --dtype."
            )
        self._batch = Batch("restoring", options.output(args), self.loaded.made_with, quiet=True, chatty=False)
        self._tidied: set[Path] = set()

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Record]:
        """Do the jobs; results are there, whole, when their records come."""
        self._take_threads()
        remove_leftovers_of(jobs, self._tidied)
        with progress_bar(len(jobs), self._batch) as bar:
            for record in each_record(jobs, self.loaded.work, self._batch, bar):
                yield record | {"worker": self.name}

    def _take_threads(self) -> None:
        """The number is remembered by each thread that calls: the last bits of results depend on it."""
        if self._threads is not None:
            torch.set_num_threads(self._threads)


def portable(args: Namespace) -> dict[str, Any]:
    """The arguments of `clrface restore` for a process with another working directory."""
    return {name: absolute(value) for name, value in vars(args).items() if name not in ("run", "parser")}


def absolute(value: Any) -> Any:
    """Paths of this machine, in lists too, that mean the same in any working directory; all else as it is."""
    if isinstance(value, list):
        return [absolute(each) for each in value]
    return value.absolute() if isinstance(value, Path) and not is_remote(value) else value


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))
