"""What stays the same during a run of the local runner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bob.core.devices import Slot
from bob.runners.worker.assignment import References


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What stays the same during a run.

    Attributes:
        results_dir: The store's folder.
        cache_dir: Artifacts and manifests.
        slots: The parts of the machine.
        cores: Threads of the one worker that runs alone.
        alone: Environment of the server while a worker runs alone.
        shared: Environment of the server while workers share the machine.
        loader_workers: Processes that decode pictures beside each job.
        timeout_min: Overrides the jobs' own.
        grace_s: How long a job may save after it was asked to stop.
        references: The functions that do the work.
        attempts: Starts of a job without an end before it is given up; None for any number.
        submission: The submission that the jobs belong to; empty for none.
        code_changed: Whether the code differs from the submission's; None without one.
        processes: In how many processes a job that trains runs; its slot is divided among them.
        nodes: Nodes over which they are spread.
    """

    results_dir: Path
    cache_dir: Path
    slots: tuple[Slot, ...]
    cores: int
    alone: Mapping[str, str]
    shared: Mapping[str, str]
    loader_workers: int
    timeout_min: float | None
    grace_s: float
    references: References
    attempts: int | None = None
    submission: str = ""
    code_changed: bool | None = None
    processes: int = 1
    nodes: int = 1
