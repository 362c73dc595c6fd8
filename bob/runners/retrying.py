"""Which jobs gave no number and are to be tried again: a plan's, or what was submitted to SLURM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bob.core.devices import choose_device
from bob.core.errors import BobError, ConfigError
from bob.jobs.job import Job
from bob.runners.live_jobs import Live, look
from bob.runners.slurm.allocation import checked
from bob.runners.slurm.submission import Submission, jobs_of

KINDS = ("failed", "oom", "timeout", "lost", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Retryable:
    """Jobs to try again.

    Attributes:
        jobs: Those in one of the kinds asked for.
        suite: Name of the suite that they were submitted with; empty if they are of a plan.
        unknown: How many more are in one of the kinds and in no submission: only their suite can name them.
    """

    jobs: tuple[Job, ...]
    suite: str = ""
    unknown: int = 0


def of_plan(jobs: Sequence[Job], results_dir: Path, kinds: Sequence[str]) -> Retryable:
    """Return those of a plan's jobs whose state is one of ``kinds`` and that can run.

    Raises:
        BobError: The queue does not answer, so that it is unknown which jobs are lost.
    """
    live = look(results_dir, [job.id for job in jobs])
    _require_queue(live, kinds)
    return Retryable(jobs=tuple(job for job in jobs if live.states[job.id] in kinds and not job.missing))


def of_submissions(results_dir: Path, kinds: Sequence[str], *, on_cluster: bool) -> Retryable:
    """Return the submitted jobs whose state is one of ``kinds``.

    Args:
        results_dir: The store.
        kinds: Some of ``KINDS``.
        on_cluster: Whether they will run in allocations, which look for data and weights themselves; else each is
            checked here, and one whose data or weights have changed says so.

    Raises:
        BobError: As ``of_plan``.
        ConfigError: None of them was submitted, so that their suite must be named.
    """
    live = look(results_dir)
    _require_queue(live, kinds)
    wanted = {job_id for job_id, state in live.states.items() if state in kinds}
    found = jobs_of(results_dir.absolute(), wanted)
    unknown = len(wanted - found.keys())
    if unknown and not found:
        raise ConfigError(
            f"{len(wanted)} jobs are {' or '.join(kinds)}, and no submission has them: they were run on this machine.",
            hint="Name the suite as well: bob retry SUITE; or give its 'bob run' command again.",
        )
    jobs = [job for job, _ in found.values()] if on_cluster else _as_they_are_here(found)
    suite = live.submissions[-1].suite if live.submissions else ""
    return Retryable(jobs=tuple(jobs), suite=suite, unknown=unknown)


def _require_queue(live: Live, kinds: Sequence[str]) -> None:
    """Raise BobError where lost jobs are to be retried and the queue, which alone can name them, does not answer."""
    if live.queue_error and live.counts["queued"] and "lost" in kinds:
        raise BobError(
            f"the queue is unknown, and so is which of {live.counts['queued']} jobs are lost: {live.queue_error}",
            hint="Give the kinds that the store knows (--failed --oom --timeout --cancelled), or run the suite here: "
            "bob run SUITE.",
        )


def _as_they_are_here(found: Mapping[str, tuple[Job, Submission]]) -> list[Job]:
    _, hardware = choose_device("auto")
    seen: dict[str, dict[str, str]] = {}
    return [
        checked(replace(job, hardware=hardware), submission, seen.setdefault(submission.id, {}))
        for job, submission in found.values()
    ]
