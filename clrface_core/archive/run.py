"""`clrface restore` of an archive: workers, jobs and report brought together."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..commands.batch import Batch, progress_bar, remove_leftovers_of, tell
from ..commands.console import complain, report
from ..commands.files import Job, Output
from .cluster import Cluster, Share, connected
from .report import Report
from .threads import Threads
from .worker import Record, Worker, absolute, portable

THREADS = 2
"""Workers without Ray: one computes while the other reads or writes."""

REPORT = "clrface-report.parquet"

Outcomes = Iterator[tuple[int, Record]]


def run(args: Namespace, jobs: Sequence[Job], output: Output) -> int:
    """Do the jobs over workers; the exit status."""
    with contextlib.ExitStack() as stack:
        made_with, outcomes = stack.enter_context(_begun(args, jobs))
        path = _report_of(args)
        rows = None if path is None else stack.enter_context(Report(path, made_with, overwrite=output.overwrite))
        batch = Batch("restoring", output, made_with, quiet=args.quiet, chatty=not (args.quiet or args.json))
        bar = stack.enter_context(progress_bar(len(jobs), batch))
        failed, kept = False, {}
        for number, record in outcomes:
            tell(jobs[number], record, batch)
            bar.update()
            failed = failed or record["error"] is not None
            if rows is not None:
                rows.add(record)
            if args.json:
                kept[number] = record
    remove_leftovers_of(jobs, set())
    if args.json and not report(made_with | {"results": [kept[number] for number in sorted(kept)]}):
        return 1
    return 1 if failed or _told_of(made_with, "problems") else 0


@contextlib.contextmanager
def _begun(args: Namespace, jobs: Sequence[Job]) -> Iterator[tuple[dict[str, Any], Outcomes]]:
    """What the results will be made with, and what becomes of each job, by its number, as it is asked for."""
    if args.ray is None:
        worker = Worker(vars(args))
        yield worker.loaded.made_with, Threads(args.workers or THREADS).each(jobs, worker)
        return
    with connected(None if args.ray is True else args.ray) as ray:
        cluster = Cluster(ray, _share(args, ray.cluster_resources()), args.workers)
        arguments, threads = portable(args) | {"quiet": True}, args.worker_cpus
        made_with = cluster.ask(_made_with, arguments, threads)
        for sentence in (*(() if args.quiet else _told_of(made_with, "notes")), *_told_of(made_with, "problems")):
            complain(f"clrface: {sentence}")
        arguments["dtype"] = made_with["dtype"]  # chosen once, so that all results are of one kind
        yield made_with, cluster.each([_absolute(job) for job in jobs], partial(Worker, arguments, threads, made_with))


def _made_with(arguments: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Found where the workers will be: their machines may have what this one has not."""
    return Worker(arguments, threads).loaded.made_with


def _share(args: Namespace, resources: Mapping[str, float]) -> Share:
    """One GPU for a worker where there is any, unless the arguments say otherwise."""
    gpus = args.worker_gpus
    if args.device == "cpu":
        gpus = 0.0
    elif gpus is None:
        gpus = 1.0 if resources.get("GPU") or args.device != "auto" else 0.0
    return Share(args.worker_cpus, gpus)


def _absolute(job: Job) -> Job:
    target = None if job.target is None else absolute(job.target)
    return Job(absolute(job.source), target, job.problem)


def _report_of(args: Namespace) -> Path | None:
    """Where the report goes: on Ray there always is one, beside the results if nothing else is said."""
    if args.report is not None or args.ray is None:
        return args.report
    return (args.output.parent if args.output.suffix else args.output) / REPORT


def _told_of(made_with: Mapping[str, Any], what: str) -> Sequence[str]:
    return (made_with["references"] or {}).get(what, ())
