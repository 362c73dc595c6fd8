"""What a running job is handed besides its identity: folders, device, threads, and a way to report progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Progress = Callable[[str, int, int], None]


class JobStopped(BaseException):
    """Raised by ``Context.progress`` when the runner wants the job to stop: save what a resume needs, let it pass.

    It comes out of ``progress`` only, so that a job meets it at a point of its own choosing.
    """


class UnfinishedError(Exception):
    """Raised by the maker of an artifact that took a part of it and is to be asked again, after others had their turn.

    Only where ``Context.run`` is set: a runner is there that asks again.
    """


def no_progress(phase: str, done: int, total: int) -> None:
    """Ignore a progress report."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The circumstances of one attempt.

    Attributes:
        results_dir: The store's folder: records, results.parquet, outcomes, logs, work.
        cache_dir: Artifacts and other things that can be made again.
        device: "cpu" or "cuda:0" (inside a worker the one GPU it was given).
        threads: CPU threads this process may use.
        loader_workers: Processes that decode pictures beside the job; 0 decodes in the job's own process.
        progress: Called with (phase, done, total), often; raises ``JobStopped`` when the job is to end early.
        attempt: A unique token of this attempt.
        log_path: Where this attempt's log goes.
        submission: The submission it belongs to; empty for none.
        code_changed: Whether the code differs from the submission's; None without one.
        rank: Number of this process among those of its job, from 0. Rank 0 decides, reports and writes.
        processes: How many processes the job has; ``threads`` are those of each.
        micro_batch: The most pictures per forward pass in training, after several processes ran out of memory with
            more; None for no limit.
        run: Token of a runner's run, whose artifacts may be made in turns; empty where each is made in one go.
    """

    results_dir: Path
    cache_dir: Path
    device: str = "cpu"
    threads: int = 1
    loader_workers: int = 0
    progress: Progress = field(default=no_progress)
    attempt: str = "0"
    log_path: Path | None = None
    submission: str = ""
    code_changed: bool | None = None
    rank: int = 0
    processes: int = 1
    micro_batch: int | None = None
    run: str = ""

    @property
    def work_dir(self) -> Path:
        """Checkpoints of unfinished jobs."""
        return self.results_dir / "work"
