"""A submission of five small jobs in two allocations, and rows of theirs."""

from __future__ import annotations

from pathlib import Path

from runner_jobs import job

from bob.jobs.code_version import Pin
from bob.runners.slurm.packing import Shape
from bob.runners.slurm.submission import Array, Submission, new_id, write_submission
from bob.store import ResultStore

PIN = Pin(git_commit="c0ffee", git_dirty=False, code="00", versions=(("torch", "2.13.0"),))
LITE0 = "tf_efficientnet_lite0.random"
FIELDS = {"backbone": LITE0, "task": "classification", "params": (("lrs", (0.1, 0.2)), ("k", 5))}
JOBS = [job(number, **FIELDS) for number in range(5)]


def submitted(folder: Path, **fields: object) -> Submission:
    """Write a submission of five jobs in two allocations and return it."""
    ids = [one.id for one in JOBS]
    values = {
        **{"id": new_id(), "suite": "toys", "executor": "slurm", "created_at": "2026-11-24T12:00:00+00:00"},
        **{"results_dir": str(folder / "results"), "cache_dir": str(folder / "cache"), "data_dir": str(folder)},
        **{"pin": PIN, "known": {}, "arrays": (Array(shape=Shape(), tasks=(tuple(ids[:3]), tuple(ids[3:]))),)},
        **{"attempts": 2},
    }
    submission = Submission(**{**values, **fields})
    write_submission(submission, JOBS)
    return submission


def finish(folder: Path, number: int, status: str = "ok") -> None:
    """Append a row of a job."""
    ResultStore(folder / "results").append({"job_id": JOBS[number].id, "status": status, "score": 0.5})
