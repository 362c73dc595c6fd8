"""How the jobs of a store are at this moment: from its records, SLURM's queue, and the runners' heartbeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bob.core.errors import BobError
from bob.runners.slurm.slurm import Queued, allocation_of, live_tasks, queue
from bob.runners.slurm.submission import Submission, settled, submissions
from bob.runners.state.cancellations import Cancellations
from bob.runners.state.presence import AtWork, RunnerState, runners_at_work
from bob.store import ResultStore

# What a job can be besides the status of its row.
LIVE = ("running", "queued", "lost", "cancelled", "missing")


@dataclass(frozen=True, kw_only=True)
class Live:
    """The jobs of a store now.

    Attributes:
        states: By job id: a row's status, or one of ``LIVE``. ``lost``: its allocation is gone and left no row.
        runners: At work, with their jobs.
        submissions: All, oldest first.
        queued: SLURM's queue, by allocation.
        allocations: Allocation by job id, of the jobs that are in the queue.
        queue_error: Why the queue is unknown; empty if it is known, or no job's state depends on it.
    """

    states: Mapping[str, str]
    runners: tuple[RunnerState, ...]
    submissions: tuple[Submission, ...]
    queued: Mapping[str, Queued]
    allocations: Mapping[str, str] = field(default_factory=dict)
    queue_error: str = ""

    @property
    def counts(self) -> Counter[str]:
        """Return how many jobs are in each state."""
        return Counter(self.states.values())

    @property
    def at_work(self) -> list[tuple[RunnerState, AtWork]]:
        """Return what is worked on, and by whom."""
        return [(runner, job) for runner in self.runners for job in runner.jobs]


def look(results_dir: Path, jobs: Iterable[str] | None = None) -> Live:
    """Return how jobs are: those given, or all that the store or a submission knows.

    Where the queue does not answer, what may be in it counts as queued, and ``queue_error`` says why: nothing is called
    lost without its word.
    """
    results_dir = results_dir.absolute()
    store = ResultStore(results_dir)
    states = store.statuses()
    attempts = Counter(name.job_id for name in store.layout.names())
    known = tuple(submissions(results_dir))
    left = [
        (job_id, allocation_of(array, task))
        for submission in known
        for array in submission.arrays
        if array.slurm_id is not None  # else SLURM refused it: its jobs are as they were
        for task, job_ids in enumerate(array.tasks)
        for job_id in set(job_ids) - settled(submission, job_ids, attempts)
    ]
    queued, queue_error = _queue(known) if left else ({}, "")
    cancelled = Cancellations(results_dir).ids()
    runners = tuple(runners_at_work(results_dir))
    allocations = {job_id: allocation for job_id, allocation in left if allocation in queued}
    for job_id, allocation in left:
        waits = bool(queue_error) or allocation in queued
        states[job_id] = "cancelled" if job_id in cancelled else "queued" if waits else "lost"
    states |= {job.job_id: "running" for runner in runners for job in runner.jobs}
    if jobs is not None:
        states = {job_id: states.get(job_id, "missing") for job_id in jobs}
    return Live(
        states=states,
        runners=runners,
        submissions=known,
        queued=queued,
        allocations=allocations,
        queue_error=queue_error,
    )


def whole_allocations(live: Live, job_ids: set[str]) -> list[str]:
    """Return this user's allocations in the queue of which every job that is left is among ``job_ids``."""
    tasks = live_tasks(live.submissions, live.queued)
    left = {name: {job_id for job_id in ids if live.allocations.get(job_id) == name} for name, ids in tasks.items()}
    return sorted(name for name, ids in left.items() if ids and ids <= job_ids and live.queued[name].is_mine)


def _queue(known: Sequence[Submission]) -> tuple[Mapping[str, Queued], str]:
    """Return the queue, and why it is unknown."""
    try:
        return queue(known), ""
    except BobError as error:
        return {}, error.message
