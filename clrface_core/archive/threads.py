"""Workers that are threads of this process and share one model: while one waits for its store, another computes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from ..commands.files import Job
from .worker import Record, Work

CHUNK = 4
"""Jobs that a thread takes at once: those whose faces share batches."""


class Threads:
    """A pool of this many threads."""

    def __init__(self, count: int) -> None:
        self.count = count

    def each(self, jobs: Sequence[Job], work: Work) -> Iterator[tuple[int, Record]]:
        """The number of a job in `jobs` and what became of it, as they are done."""

        def do(start: int) -> list[tuple[int, Record]]:
            return list(enumerate(work(jobs[start : start + CHUNK]), start))

        pool = ThreadPoolExecutor(self.count)
        try:
            for done in as_completed([pool.submit(do, start) for start in range(0, len(jobs), CHUNK)]):
                yield from done.result()
        finally:
            pool.shutdown(cancel_futures=True)
