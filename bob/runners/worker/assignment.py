"""What a worker or a rank is told to do, and which functions it calls for that."""

from __future__ import annotations

from dataclasses import dataclass

from bob.jobs.context import Context
from bob.jobs.job import Job, Need

AGAIN = "again"  # the status of an artifact that is made in turns and not yet whole


@dataclass(frozen=True, kw_only=True)
class References:
    """The functions a worker calls, as ``module:function``.

    Attributes:
        execute: ``(job, context) -> row``: runs a job and appends its row.
        make_artifact: ``(need, job, context) -> path``: makes an artifact.
        failure_row: ``(job, context, *, status, error_class, message) -> row``: the row of a job without a number.
        status_of: ``(error) -> status``.
        message_of: ``(error) -> text``.
    """

    execute: str = "bob.jobs.run:run_job"
    make_artifact: str = "bob.tasks.artifact_makers:make"
    failure_row: str = "bob.jobs.run:failure_row"
    status_of: str = "bob.jobs.run:status_of"
    message_of: str = "bob.jobs.run:message_of"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker is told: the job, or the artifact to make on behalf of the job, and where.

    Attributes:
        job: The job.
        need: The artifact to make instead of running the job; None to run the job.
        context: The circumstances; its ``progress`` is replaced in the worker.
        gpu: Value of ``CUDA_VISIBLE_DEVICES``; empty hides every GPU.
        references: The functions to call.
        nodes: Nodes over which the context's processes are spread, the same number on each.
    """

    job: Job
    need: Need | None
    context: Context
    gpu: str
    references: References
    nodes: int = 1
