"""``python -m bob.runners.slurm.aftermath``: what the batch script does once the runner's step has ended.

A step that was killed leaves nobody but the batch script. What is unfinished goes back into the queue, as often as the
profile allows; a job out of attempts gets its row. Imports no torch.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bob.core.errors import BobError
from bob.core.lease import Lease
from bob.core.text import LOG_FORMAT
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.provenance import allocation_id
from bob.runners.slurm.slurm import requeue, restarts
from bob.runners.slurm.submission import Submission, read_jobs, read_submission
from bob.runners.state.cancellations import Cancellations
from bob.runners.state.presence import forget_dead
from bob.runners.state.starts import Starts, out_of_attempts
from bob.runners.worker.assignment import References
from bob.runners.worker.failure_rows import record_failure
from bob.store import ResultStore

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Look at what an allocation left; return 0."""
    parser = argparse.ArgumentParser(prog="bob.runners.slurm.aftermath")
    parser.add_argument("folder", type=Path)
    parser.add_argument("array", type=int)
    parser.add_argument("task", type=int)
    parser.add_argument("status", type=int)
    options = parser.parse_args(arguments)
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO)
    # SLURM may send its warning to the batch script's children too, and this is soon done.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    submission = read_submission(options.folder)
    forget_dead(Path(submission.results_dir))
    left = give_up(submission, options.array, options.task, starts_so_far=restarts() + 1)
    if not left:
        return 0
    log.info("The step ended with %d and left %d jobs: back into the queue.", options.status, len(left))
    if not requeue(allocation_id()):
        log.warning("Give the suite's command again, or 'bob retry --lost', for the jobs that are left.")
    return 0


def unfinished(submission: Submission, array: int, task: int) -> list[Job]:
    """Return the jobs of an allocation that have no row since the submission and that nobody cancelled."""
    store = ResultStore(submission.results_dir)
    cancelled = Cancellations(Path(submission.results_dir)).ids()
    known = read_jobs(submission.folder)
    return [
        known[job_id]
        for job_id in submission.arrays[array].tasks[task]
        if job_id in known and job_id not in cancelled and store.attempts(job_id) <= submission.known.get(job_id, 0)
    ]


def give_up(submission: Submission, array: int, task: int, *, starts_so_far: int) -> list[Job]:
    """Write the rows of an allocation's jobs that are out of attempts; return the others that are unfinished.

    An allocation that never got anything done, for its set-up fails, is out of attempts as a whole after as many starts
    as a job has. One that did may start as often as all its jobs together might, and once more each: nothing goes round
    for ever.
    """
    own = submission.arrays[array].tasks[task]
    jobs = unfinished(submission, array, task)
    starts = Starts(Path(submission.results_dir))
    untouched = len(jobs) == len(own) and not any(starts.count(job.id) for job in jobs)
    hopeless = starts_so_far >= submission.attempts * (1 if untouched else len(own) + 1)
    left = []
    for job in jobs:
        if not hopeless and starts.count(job.id) < submission.attempts:
            left.append(job)
            continue
        reason = f"; its allocation {allocation_id()} was started {starts_so_far} times" if hopeless else ""
        try:
            _settle(submission, job, f"{reason}; its log: {submission.folder / 'slurm'}" if hopeless else reason)
        except (BobError, OSError):
            # A full disk, say: the next start tries again, and the jobs beside it have done nothing wrong.
            log.exception("The row of %s could not be written.", job.id)
            left.append(job)
    return left


def _settle(submission: Submission, job: Job, beside: str) -> None:
    results_dir = Path(submission.results_dir)
    store, starts = ResultStore(results_dir), Starts(results_dir)
    lease = Lease.try_take(results_dir / "claims" / f"{job.id}.lease")
    if lease is None:
        log.info("Another runner is at %s.", job.id)
        return
    with lease:
        if store.attempts(job.id) <= submission.known.get(job.id, 0):
            outcome = out_of_attempts(starts, job.id)
            context = Context(results_dir=results_dir, cache_dir=Path(submission.cache_dir), submission=submission.id)
            said = {"status": outcome["status"], "error_class": outcome["error_class"]}
            record_failure(References(), job, context, **said, message=outcome["error_message"] + beside)
        starts.forget(job.id)


if __name__ == "__main__":
    sys.exit(main())
