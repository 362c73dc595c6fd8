"""Jobs over several processes without torch, and their launcher: what each rank does is told by the job."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import runner_jobs
from runner_jobs import base_row, events, failure_row, note

from bob.jobs.context import Context, JobStopped
from bob.jobs.job import Budget, Job
from bob.runners.ranks.rank_launch import launch
from bob.runners.worker.assignment import Assignment, References
from bob.runners.worker.worker import recorded
from bob.store import ResultStore

__all__ = ["base_row", "events", "failure_row"]
HERE = "rank_jobs"


class MicroBatchError(MemoryError):
    """Says like ``bob.training``'s what did not fit, without torch."""

    def __init__(self, micro_batch: int) -> None:
        super().__init__(f"no room for {micro_batch}")
        self.micro_batch = micro_batch


class PortTakenError(Exception):
    """Has the name of ``bob.training``'s."""


def job(act: str, *, seed: int = 0) -> Job:
    """Return a job that trains, and does ``act``."""
    return runner_jobs.job(seed, act, budget=Budget(images_seen=8))


def execute(job: Job, context: Context) -> dict[str, Any]:
    """Note who runs, act, and on rank 0 append the row."""
    note(context, f"run {context.rank} {os.getpid()} {context.processes} {os.environ['WORLD_SIZE']}")
    meet(context)
    ACTS[dict(job.params)["act"]](context)
    row = base_row(job, context) | {"status": "ok", "score": 0.5}
    if context.rank == 0:
        ResultStore(context.results_dir).append(row)
    return row


def meet(context: Context) -> None:
    """Wait until all ranks are here, as a real job's do."""
    port = os.environ["MASTER_PORT"]
    note(context, f"met {port}")
    while events(context.cache_dir).count(["met", port]) < context.processes:
        time.sleep(0.01)


def wait(context: Context) -> None:
    """Report until somebody ends this."""
    for step in range(6000):
        context.progress("waiting", step, 6000)
        time.sleep(0.01)


def echo(context: Context) -> None:
    """Be the rank that fails, or one that meets its end a moment before it is seen."""
    if context.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    raise RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:5432")


def fail(context: Context) -> None:
    """Raise on rank 1 while the others wait for it, as in a collective: without listening to anybody."""
    if context.rank == 1:
        raise ValueError("three is not four")
    time.sleep(600)


def die(context: Context) -> None:
    """Die on rank 1 while the others hang."""
    if context.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)


def hungry(context: Context) -> None:
    """Run out of memory on rank 1 with more than two pictures at a time."""
    note(context, f"limit {context.rank} {context.micro_batch}")
    if context.rank == 1 and (context.micro_batch or 9) > 2:
        raise MicroBatchError(context.micro_batch or 9)
    # The others wait for it, as in a collective.
    while ["limit", "1", "2"] not in events(context.cache_dir):
        time.sleep(0.01)


def starving(context: Context) -> None:
    """Say that memory ran out with as many pictures as ever, whatever the limit."""
    note(context, f"limit {context.rank} {context.micro_batch}")
    raise MicroBatchError(4)


def save(context: Context) -> None:
    """Save on rank 0 when asked to stop."""
    try:
        wait(context)
    except JobStopped:
        note(context, f"saved {context.rank}")
        raise


def port(context: Context) -> None:
    """Find the first port taken."""
    if os.environ["MASTER_PORT"] == "1":
        raise PortTakenError("port 1 is taken.")


ACTS: dict[str, Callable[[Context], None]] = {
    **{"quick": lambda context: None, "wait": wait, "echo": echo, "fail": fail, "die": die, "hungry": hungry},
    **{"hang": lambda context: time.sleep(600), "starving": starving, "save": save, "port": port},
}


def assignment(folder: Path, act: str, *, processes: int = 2) -> Assignment:
    """Return what a launcher is told."""
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    context = Context(
        results_dir=folder / "results", cache_dir=folder / "cache", processes=processes, log_path=folder / "job.log"
    )
    references = References(execute=f"{HERE}:execute", failure_row=f"{HERE}:failure_row")
    return Assignment(job=job(act), need=None, context=context, gpu="", references=references)


def launched(folder: Path, act: str, *, processes: int = 2, progress: Any = None, **options: Any) -> dict[str, Any]:
    """Launch a job and append its row if it failed, as a worker does."""
    told = assignment(folder, act, processes=processes)
    context = told.context if progress is None else replace(told.context, progress=progress)
    return recorded(told, launch(told, context, **options))


def main(folder: str, act: str) -> None:
    """Be a launcher, for tests that kill one: ``python -m rank_jobs FOLDER ACT``."""
    launched(Path(folder), act)


if __name__ == "__main__":
    import rank_jobs

    rank_jobs.main(*sys.argv[1:])
