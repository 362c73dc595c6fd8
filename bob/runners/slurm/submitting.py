"""From jobs to a submission: what is missing, packed into arrays, handed to SLURM or shown as batch scripts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from bob.core.errors import BobError, unknown_name
from bob.core.lease import holding
from bob.core.settings import Settings
from bob.jobs.cluster_profile import ClusterProfile, merged_profile, read_profile
from bob.jobs.code_version import pin
from bob.jobs.estimate import Machine
from bob.jobs.job import Job
from bob.jobs.provenance import now
from bob.jobs.suite import Suite
from bob.runners.slurm.packing import arrays, pack
from bob.runners.slurm.slurm import (
    DEFAULT_MAX_ARRAY_SIZE,
    Queued,
    live_tasks,
    max_array_size,
    queue,
    require_slurm,
    submit,
)
from bob.runners.slurm.submission import Array, Submission, new_id, settled, submissions, write_submission
from bob.runners.state.cancellations import Cancellations
from bob.runners.state.starts import Starts
from bob.store import ResultStore
from bob.tasks.spec import TASKS

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

GRACE_SHARE = 0.5  # of the warning time: the rest is for the queue's own delays
WAIT_POLL_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What would be submitted.

    Attributes:
        submission: Its arrays; none if there is nothing to submit.
        jobs: Its jobs: without those that are done, missing, or in the queue already.
        profile: What is asked of the cluster.
    """

    submission: Submission
    jobs: tuple[Job, ...]
    profile: ClusterProfile


def cluster_profile(
    file: Path | str | None, suite: Suite | None, values: Mapping[str, Any], *, trusted: bool
) -> ClusterProfile:
    """Return what to ask of a cluster: by a profile's file, by the suite, by single values; later ones win.

    Args:
        file: The file; None for none.
        suite: Whose ``cluster`` key counts, if it has one.
        values: Single values by the profile's keys.
        trusted: Whether the suite's own set-up lines and options may run.

    Raises:
        ConfigError: The file or a value says something that cannot be.
        UnknownNameError: A rule names a task or protocol that there is not.
    """
    own = suite.cluster.model_dump(exclude_unset=True) if suite and suite.cluster else {}
    read = read_profile(Path(file).expanduser()) if file else {}
    profile = merged_profile(file=read, suite=own, flags=dict(values), trusted=trusted)
    for rule in profile.rules:  # a backbone may be another suite's
        tasks = TASKS.names() if rule.task is None else [rule.task]
        known = sorted({protocol for task in tasks for protocol in TASKS.get(task).protocols})
        if rule.protocol not in (None, *known):
            kind = f"cluster rule: protocol of {rule.task or 'any task'}"
            raise unknown_name(kind, str(rule.protocol), known, hint=f"There are: {', '.join(known)}.")
    return profile


def cluster_machine(profile: ClusterProfile) -> Machine:
    """Return what a job runs on there, for the estimates."""
    return Machine(cores=profile.cpus, gpus=min(1, profile.gpus))


def draft(
    jobs: Sequence[Job],
    suite: Suite | str,
    settings: Settings,
    profile: ClusterProfile,
    *,
    device: str = "auto",
    loader_workers: int = 0,
    to_submit: bool = False,
) -> Draft:
    """Return what would be submitted.

    Args:
        jobs: All that are asked for.
        suite: The suite, or its name.
        settings: The folders.
        profile: What to ask of the cluster.
        device: Where the jobs run: "auto", "cpu" or "cuda".
        loader_workers: Processes that decode pictures beside each job.
        to_submit: Whether a cluster that does not answer is an error; else it counts as empty, with a warning.

    Raises:
        BobError: The cluster does not answer.
    """
    results_dir = settings.results_dir.absolute()
    store = ResultStore(results_dir)
    statuses = store.statuses()
    known = {job.id: store.attempts(job.id) for job in jobs if job.id in statuses}
    queued = _queued(results_dir, known, must_answer=to_submit)
    todo = [job for job in jobs if not job.missing and statuses.get(job.id) != "ok" and job.id not in queued]
    limit = _if_it_answers(max_array_size, DEFAULT_MAX_ARRAY_SIZE, must=to_submit)
    groups = arrays(pack(todo, profile), max_array_size=limit)
    submission = Submission(
        id=new_id(),
        suite=suite if isinstance(suite, str) else suite.name,
        executor="slurm",
        created_at=now(),
        results_dir=str(results_dir),
        cache_dir=str(settings.cache_dir.absolute()),
        data_dir=str(settings.data_dir.absolute()),
        weights_dirs=tuple(str(folder.absolute()) for folder in settings.weights_dirs),
        pin=pin(sorted({plugin for job in todo for plugin in job.plugins})),
        known={job.id: known[job.id] for job in todo if job.id in known},
        arrays=tuple(
            Array(shape=group[0].shape, tasks=tuple(tuple(job.id for job in one.jobs) for one in group))
            for group in groups
        ),
        attempts=profile.attempts,
        grace_s=profile.warn_s * GRACE_SHARE,
        device=device,
        loader_workers=loader_workers,
        bad_pictures="skip" if isinstance(suite, str) else suite.bad_pictures,
        copies="skip" if isinstance(suite, str) else suite.copies,
        follow_links=not isinstance(suite, str) and suite.follow_links,
        picture_bits=None if isinstance(suite, str) else suite.picture_bits,
    )
    return Draft(submission=submission, jobs=tuple(todo), profile=profile)


def _queued(results_dir: Path, attempts: Mapping[str, int], *, must_answer: bool) -> set[str]:
    """Return the ids of the jobs that are in SLURM's queue already, and not to be stopped."""
    earlier = submissions(results_dir)
    nothing: dict[str, Queued] = {}
    in_queue = _if_it_answers(lambda: queue(earlier), nothing, must=must_answer) if earlier else nothing
    queued = {
        job_id
        for one in earlier
        for ids in live_tasks([one], in_queue).values()
        for job_id in set(ids) - settled(one, ids, attempts)
    }
    return queued - Cancellations(results_dir).ids()


def _if_it_answers(ask: Callable[[], Answer], otherwise: Answer, *, must: bool) -> Answer:
    """Ask the cluster; where nothing is to be submitted, go on without an answer."""
    try:
        return ask()
    except BobError as error:
        if must:
            raise
        log.warning("%s What is in the queue, and how long an array may be, is taken as on an empty cluster.", error)
        return otherwise


def submit_missing(
    jobs: Sequence[Job],
    suite: Suite | str,
    settings: Settings,
    profile: ClusterProfile,
    *,
    device: str = "auto",
    loader_workers: int = 0,
    tell: Callable[[Draft], None] = lambda draft: None,
) -> Draft:
    """Submit what is missing; arguments as for ``draft``.

    Args:
        tell: Called with what is about to be submitted.

    Returns:
        What was submitted, with SLURM's numbers; without arrays if there was nothing.

    Raises:
        BobError: There is no SLURM here, or it does not answer, or refuses.
    """
    require_slurm()
    results_dir = settings.results_dir.absolute()
    # Two commands at once must not both find the same jobs missing.
    with holding(results_dir / "leases" / "submit.lease"):
        drawn = draft(jobs, suite, settings, profile, device=device, loader_workers=loader_workers, to_submit=True)
        tell(drawn)
        if not drawn.submission.arrays:
            return drawn
        Cancellations(results_dir).remove(job.id for job in drawn.jobs)
        for job in drawn.jobs:
            Starts(results_dir).forget(job.id)
        write_submission(drawn.submission, list(drawn.jobs))
        return replace(drawn, submission=submit(drawn.submission, profile))


def wait_for(submission: Submission) -> None:
    """Return once no allocation of a submission is in the queue."""
    while True:
        try:
            if not live_tasks([submission], queue()):
                return
        except BobError as error:
            log.warning("%s Asking again.", error.message)
        time.sleep(WAIT_POLL_S)
