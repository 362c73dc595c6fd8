"""The one place where the row of a job that gave no number is written."""

from __future__ import annotations

from typing import Any

from bob.core.registry import load_reference
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.runners.worker.assignment import References
from bob.store import ResultStore


def record_failure(
    references: References, job: Job, context: Context, *, status: str, error_class: str, message: str
) -> dict[str, Any]:
    """Append the row of a job that gave no number to its store, and return the row.

    Args:
        references: The functions of the run; ``failure_row`` builds the row.
        job: The job.
        context: Its circumstances.
        status: "failed", "oom", "timeout" or "skipped".
        error_class: The name of the error.
        message: What it says.

    Raises:
        StoreError: The row cannot be written.
    """
    row: dict[str, Any] = load_reference(references.failure_row)(
        job, context, status=status, error_class=error_class, message=message
    )
    ResultStore(context.results_dir).append(row)
    return row
