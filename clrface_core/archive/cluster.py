"""Workers on the machines of a Ray cluster: Ray Data hands out the jobs, and does those of a lost worker again."""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..commands.files import Job
from ..errors import CLRFaceError
from .worker import Load, Record

CHUNK = 32
"""Jobs that a worker is given at once, and has to do again if it is lost before they are done."""

IN_TURN = 4
"""Chunks for each worker, at least, where there are few jobs: so that all of them end at about the same time."""

RETRIES = 3
"""Times that jobs are given to another worker when theirs is lost; after those they are given out one by one."""


@dataclass(frozen=True)
class Share:
    """What a worker takes of its machine. cpus: of its processors, and threads of PyTorch there. gpus: 1, or a part."""

    cpus: int = 1
    gpus: float = 0.0

    def fits(self, resources: Mapping[str, float]) -> int:
        """How many workers a machine with such resources has room for."""
        rooms = [int(resources.get("CPU", 0) // self.cpus)]
        if self.gpus:
            rooms.append(int(resources.get("GPU", 0) / self.gpus))
        return min(rooms)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected: to the cluster at this address, or as Ray itself finds one, or starts one here.

    CLRFaceError without Ray, and where there is no such cluster. A connection that was there before is used and kept.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise CLRFaceError(
            f"Expected Ray for --ray, found no {error.name}: pip install 'clr-face[ray]' on every machine."
        ) from error
    if ray.is_initialized():
        yield ray
        return
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise CLRFaceError(
            f"Expected a Ray cluster at {address or 'the address in RAY_ADDRESS'}, could not join it ({error}): "
            "start one with `ray start --head`, or leave the address out."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


class Cluster:
    """As many workers as a cluster has room for, or `limit`; more than it has room for if it can grow."""

    def __init__(self, ray: Any, share: Share, limit: int | None = None) -> None:
        self._ray, self._share = ray, share
        self._room = sum(share.fits(node["Resources"]) for node in ray.nodes() if node["Alive"])
        if self._room == 0:
            raise CLRFaceError(
                f"Expected a cluster with room for a worker of {share.cpus} CPUs and {share.gpus:g} GPUs, found none: "
                "ask for less, or add machines."
            )
        self.count = limit or self._room

    def ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        """What a function says in a process that has what a worker has. Its CLRFaceError is raised here."""
        task = self._ray.remote(num_cpus=self._share.cpus, num_gpus=self._share.gpus)(question)
        try:
            return self._ray.get(task.remote(*arguments))
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, CLRFaceError) else error from None

    def each(self, jobs: Sequence[Job], load: Load) -> Iterator[tuple[int, Record]]:
        """The number of a job in `jobs` and what became of it, as they are done.

        load: makes a worker; called on the machine where it will live, and again wherever one was lost.
        Jobs whose worker was lost again and again are tried alone in the end, so that the one at fault is known.
        """
        missing = dict(enumerate(jobs))
        for alone in (False, True):
            for number, record in self._pass(missing, load, alone=alone) if missing else ():
                if missing.pop(number, None) is not None:
                    yield number, record
        for number, job in missing.items():
            error = f"Expected a worker to outlive this picture, lost {RETRIES + 1} over it: look at it by itself."
            yield number, {"input": str(job.source), "output": None, "error": error}

    def _pass(self, jobs: Mapping[int, Job], load: Load, *, alone: bool) -> Iterator[tuple[int, Record]]:
        """Every job once, but for those of lost workers, of which no more is heard."""
        data = self._ray.data
        size = 1 if alone else max(1, min(CHUNK, len(jobs) // (self.count * IN_TURN)))
        context = data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        with data.DataContext.current(context), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # max_task_retries has no other place before Ray 2.64
            numbers = list(jobs)
            chunks = [numbers[start : start + size] for start in range(0, len(numbers), size)]
            rows = [{"chunk": pickle.dumps([(number, jobs[number]) for number in chunk])} for chunk in chunks]
            done = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Actor,
                fn_constructor_args=(load, alone),
                compute=data.ActorPoolStrategy(
                    min_size=1, max_size=self.count, initial_size=min(self.count, self._room)
                ),
                batch_size=1,
                num_cpus=self._share.cpus,
                num_gpus=self._share.gpus,
                max_task_retries=RETRIES,
            )
            for row in done.iter_rows():
                yield row["number"], json.loads(row["record"])


class _Actor:
    """A worker as Ray Data calls it: with columns, of one row here, for columns."""

    def __init__(self, load: Load, alone: bool) -> None:
        self._work, self._alone = load(), alone

    def __call__(self, rows: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        numbers, jobs = zip(*pickle.loads(rows["chunk"][0]), strict=True)
        try:
            for number, record in zip(numbers, self._work(jobs), strict=True):
                yield {"number": [number], "record": [json.dumps(record)]}
        except Exception as error:
            if not self._alone:  # its jobs are done again, one by one
                raise
            said = f"Expected to restore it, got a fault of the program ({type(error).__name__}: {error}): report it."
            record = {"input": str(jobs[0].source), "output": None, "error": said}
            yield {"number": list(numbers), "record": [json.dumps(record)]}
