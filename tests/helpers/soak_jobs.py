"""Two thousand small jobs, one in twenty with a fault: what they are, and a runner of them in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner_jobs import ACTS, base_row, job, run_suite

from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.runners.local.display import SilentDisplay
from bob.runners.local.schedule import Work
from bob.store import ResultStore

# By fault: the status its job must end with, and the start of the reason.
FAULTS = {
    "fail": ("failed", "ValueError: three is not four"),
    "odd": ("failed", "OddError: OddError, whose message cannot be shown"),
    "exit": ("failed", "SystemExit: 0"),
    "hard_exit": ("failed", "WorkerDied: its process ended with exit code 3"),
    "segfault": ("failed", "WorkerDied: its process was killed by signal 11"),
    "kill": ("failed", "WorkerDied: its process was killed by signal 9"),
    "memory": ("oom", "MemoryError: no room"),
    "hang": ("timeout", "TimeoutError"),
    "linger": ("ok", ""),
    "chatter": ("ok", ""),
    "nan": ("failed", "StoreError: score nan"),
    "artifact": ("failed", "ValueError: no artifact of broken things"),
    "kill_server": ("ok", ""),
    "leased": ("ok", ""),
    "damaged": ("ok", ""),
}
EVERY = 20  # one job in so many has a fault


def fault_of(number: int) -> str:
    """Return the fault of a job; empty for one without."""
    return list(FAULTS)[number // EVERY % len(FAULTS)] if number % EVERY == EVERY // 2 else ""


def soak_job(number: int) -> Job:
    """Return job ``number`` with its fault. What is done to its lease or record is no act of its own."""
    fault = fault_of(number)
    if fault == "artifact":
        return job(number, uses=("features",), dataset="broken", dataset_fingerprint=f"broken-{number}")
    act = "quick" if fault in ("", "leased", "damaged") else fault
    return job(number, act, timeout_min=0.005 if fault == "hang" else 1.0)


def execute(job: Job, context: Context) -> dict[str, Any]:
    """Act and append the row; it has no outcomes, which would cost each process the import of pyarrow."""
    ACTS[dict(job.params)["act"]](job, context)
    row = base_row(job, context) | {"status": "ok", "score": float("nan") if dict(job.params)["act"] == "nan" else 0.5}
    ResultStore(context.results_dir).append(row)
    return row


class LeakyDisplay(SilentDisplay):
    """Keeps so many bytes of every job that ends."""

    def __init__(self, leak: int) -> None:
        self._leak, self._kept = leak, []

    def end(self, slot: int, work: Work, outcome: Mapping[str, Any]) -> None:
        """Keep them."""
        self._kept.append(b"x" * self._leak + bytes(str(work.key), "ascii"))


def main(folder: str, count: str, leak: str) -> None:
    """Be the runner: ``python -m soak_jobs FOLDER COUNT LEAKED_BYTES_PER_JOB``."""
    jobs = [soak_job(number) for number in range(int(count))]
    summary = run_suite(
        Path(folder), jobs, display=LeakyDisplay(int(leak)), preload=("soak_jobs",), execute="soak_jobs:execute"
    )
    print(json.dumps({**vars(summary), "failures": len(summary.failures)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
