"""How the jobs of a store are at this moment: from its records, SLURM's queue, and the runners' heartbeats."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bob.errors import BobError
from bob.runners.cancelling import Cancellations
from bob.runners.presence import AtWork, RunnerState, runners_at_work
from bob.runners.slurm import Queued, allocation_of, live_tasks, queue
from bob.runners.submission import Submission, settled, submissions
from bob.store import ResultStore

log = logging.getLogger(__name__)

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
    """

    states: Mapping[str, str]
    runners: tuple[RunnerState, ...]
    submissions: tuple[Submission, ...]
    queued: Mapping[str, Queued]
    allocations: Mapping[str, str] = field(default_factory=dict)

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

    A queue that does not answer is warned about; its jobs then count as lost unless a runner is at them.
    """
    results_dir = results_dir.absolute()
    store = ResultStore(results_dir)
    states = store.statuses()
    attempts = Counter(name.job_id for name in store.layout.names())
    known = tuple(submissions(results_dir))
    queued = _queue(known) if any(array.slurm_id for one in known for array in one.arrays) else {}
    cancelled = Cancellations(results_dir).ids()
    runners = tuple(runners_at_work(results_dir))
    allocations: dict[str, str] = {}
    for submission in known:
        for array in submission.arrays:
            if array.slurm_id is None:  # SLURM refused it: its jobs are as they were
                continue
            for task, job_ids in enumerate(array.tasks):
                allocation = allocation_of(array, task)
                waits = queued is None or allocation in queued  # nothing is called lost on no word
                for job_id in set(job_ids) - settled(submission, job_ids, attempts):
                    states[job_id] = "cancelled" if job_id in cancelled else "queued" if waits else "lost"
                    if waits:
                        allocations[job_id] = allocation
    states |= {job.job_id: "running" for runner in runners for job in runner.jobs}
    if jobs is not None:
        states = {job_id: states.get(job_id, "missing") for job_id in jobs}
    return Live(states=states, runners=runners, submissions=known, queued=queued or {}, allocations=allocations)


def whole_allocations(live: Live, job_ids: set[str]) -> list[str]:
    """Return the allocations in the queue of which every job that is left is among ``job_ids``."""
    tasks = live_tasks(live.submissions, live.queued)
    left = {name: {job_id for job_id in ids if live.allocations.get(job_id) == name} for name, ids in tasks.items()}
    return sorted(name for name, ids in left.items() if ids and ids <= job_ids)


def _queue(known: Sequence[Submission]) -> Mapping[str, Queued] | None:
    """Return the queue; None if the cluster does not answer."""
    try:
        return queue(known)
    except BobError as error:
        log.warning("The queue is unknown, and jobs may count as queued that are lost: %s", error.message)
        return None
