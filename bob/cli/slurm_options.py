"""`--executor slurm`: what would be submitted, the batch scripts, the submission."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bob.core.errors import BobError, ConfigError, unknown_name
from bob.core.settings import Settings
from bob.jobs.cluster_profile import ClusterProfile, merged_profile, read_profile
from bob.jobs.estimate import Machine
from bob.jobs.job import Job
from bob.jobs.suite import Suite
from bob.store import ResultStore
from bob.tasks.spec import TASKS

if TYPE_CHECKING:
    from rich.console import Console

    from bob.runners.slurm.slurm import Queued
    from bob.runners.slurm.submission import Submission

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# Flags of the command line by the profile's keys.
FLAGS = (
    *("partition", "account", "qos", "constraint", "nodes", "gpus", "processes", "cpus", "mem_gb", "time_min"),
    *("array_parallelism", "pack_min", "attempts", "setup"),
)
LOCAL = {"workers": None, "display": "auto"}  # flags of the runner on this machine, and what they are if not given
GRACE_SHARE = 0.5  # of the warning time: the rest is for the queue's own delays
WAIT_POLL_S = 5.0
NO_JOBS = "Nothing to submit: every job that can run has its row or is in the queue."


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add the executor and the settings of a cluster to a command."""
    parser.add_argument("--executor", choices=("local", "slurm"), default="local", help="where jobs run")
    group = parser.add_argument_group("cluster (--executor slurm); these win over the suite's and the file's values")
    group.add_argument("--cluster", metavar="FILE", help="a cluster profile (docs/slurm.md; BOB_CLUSTER)")
    group.add_argument("--partition", metavar="NAME")
    group.add_argument("--account", metavar="NAME")
    group.add_argument("--qos", metavar="NAME")
    group.add_argument("--constraint", metavar="TEXT")
    group.add_argument("--nodes", type=int, metavar="N", help="nodes of a job that trains")
    group.add_argument("--gpus", type=int, metavar="N", help="GPUs per node of a job that trains")
    group.add_argument("--cpus", type=int, metavar="N", help="CPU cores of an allocation, per node")
    group.add_argument("--mem-gb", type=float, metavar="GB", help="memory per node")
    group.add_argument("--time-min", type=int, metavar="MIN", help="time limit of an allocation")
    group.add_argument("--array-parallelism", type=int, metavar="N", help="allocations at a time at most")
    group.add_argument("--pack-min", type=float, metavar="MIN", help="estimated minutes of small jobs per allocation")
    group.add_argument("--attempts", type=int, metavar="N", help="starts of a job without an end before it is given up")
    group.add_argument("--setup", action="append", metavar="LINE", help="a shell line run before the jobs; repeatable")
    group.add_argument("--trust-cluster", action="store_true", help="run the suite's own set-up lines and options")


def add_submit_options(parser: argparse.ArgumentParser) -> None:
    """Add what only a command that submits has."""
    parser.add_argument("--dry-run", action="store_true", help="write the batch scripts, submit nothing")
    parser.add_argument("--wait", action="store_true", help="wait until the submitted jobs have ended, then report")


def profile_of(options: argparse.Namespace, suite: Suite | None) -> ClusterProfile:
    """Return the cluster profile: of the file named, of the suite, of the flags."""
    file = options.cluster or os.environ.get("BOB_CLUSTER")
    own = suite.cluster.model_dump(exclude_unset=True) if suite and suite.cluster else {}
    flags = {name: value for name in FLAGS if (value := getattr(options, name, None)) is not None}
    profile = merged_profile(
        file=read_profile(Path(file).expanduser()) if file else {},
        suite=own,
        flags=flags,
        trusted=options.trust_cluster,
    )
    _refuse_unknown_names(profile)
    return profile


def refuse_misplaced_options(options: argparse.Namespace) -> None:
    """Raise ConfigError for settings of one executor that go with another."""
    known = (*(name for name in FLAGS if name != "processes"), "cluster", "dry_run", "wait")
    given = [name for name in known if getattr(options, name, None)]
    if options.executor == "local" and given:
        raise ConfigError(f"{_flags(given)} goes with --executor slurm.", hint="Add --executor slurm, or leave it out.")
    given = [name for name, default in LOCAL.items() if getattr(options, name, default) != default]
    if options.executor == "slurm" and given:
        raise ConfigError(
            f"{_flags(given)} goes with --executor local.",
            hint="Leave it out: an allocation has as many workers as its GPUs and cores allow; 'bob status --watch' "
            "shows progress.",
        )


def _refuse_unknown_names(profile: ClusterProfile) -> None:
    """Raise UnknownNameError for a rule on a task or protocol that there is not; a backbone may be another suite's."""
    for rule in profile.rules:
        tasks = TASKS.names() if rule.task is None else [rule.task]
        known = sorted({protocol for task in tasks for protocol in TASKS.get(task).protocols})
        if rule.protocol not in (None, *known):
            kind = f"cluster rule: protocol of {rule.task or 'any task'}"
            raise unknown_name(kind, str(rule.protocol), known, hint=f"There are: {', '.join(known)}.")


def cluster_machine(profile: ClusterProfile) -> Machine:
    """Return what a job runs on there, for the estimates."""
    return Machine(cores=profile.cpus, gpus=min(1, profile.gpus))


def draft(
    jobs: Sequence[Job], suite: str, settings: Settings, profile: ClusterProfile, options: argparse.Namespace
) -> tuple[Submission, list[Job]]:
    """Return what would be submitted, and its jobs: without those that are done, missing, or in the queue already.

    A cluster that does not answer is an error only where something is to be submitted.

    Raises:
        BobError: As said.
    """
    from bob.jobs.code_version import pin
    from bob.jobs.provenance import now
    from bob.runners.slurm.packing import arrays, pack
    from bob.runners.slurm.slurm import DEFAULT_MAX_ARRAY_SIZE, live_tasks, max_array_size, queue
    from bob.runners.slurm.submission import Array, Submission, new_id, settled, submissions
    from bob.runners.state.cancellations import Cancellations

    results_dir = settings.results_dir.absolute()
    store = ResultStore(results_dir)
    statuses, earlier = store.statuses(), submissions(results_dir)
    known = {job.id: store.attempts(job.id) for job in jobs if job.id in statuses}
    nothing: dict[str, Queued] = {}
    in_queue = _if_it_answers(lambda: queue(earlier), nothing, options) if earlier else nothing
    queued = {
        job_id
        for one in earlier
        for ids in live_tasks([one], in_queue).values()
        for job_id in set(ids) - settled(one, ids, known)
    } - Cancellations(results_dir).ids()
    todo = [job for job in jobs if not job.missing and statuses.get(job.id) != "ok" and job.id not in queued]
    limit = _if_it_answers(max_array_size, DEFAULT_MAX_ARRAY_SIZE, options)
    groups = arrays(pack(todo, profile), max_array_size=limit)
    submission = Submission(
        id=new_id(),
        suite=suite,
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
        device=getattr(options, "device", "auto"),
        loader_workers=getattr(options, "loader_workers", 0),
    )
    return submission, todo


def _if_it_answers(ask: Callable[[], Answer], otherwise: Answer, options: argparse.Namespace) -> Answer:
    """Ask the cluster; where nothing is to be submitted, go on without an answer."""
    try:
        return ask()
    except BobError as error:
        if not getattr(options, "dry_run", True):
            raise
        log.warning("%s What is in the queue, and how long an array may be, is taken as on an empty cluster.", error)
        return otherwise


def print_draft(console: Console, submission: Submission, jobs: Sequence[Job]) -> None:
    """Print one line per array: how many allocations, how many jobs, of which shape, how long."""
    estimates = {job.id: job.estimate_s or 0.0 for job in jobs}
    if not submission.arrays:
        console.print(NO_JOBS)
    for number, array in enumerate(submission.arrays, 1):
        longest_s = max(sum(estimates[job_id] for job_id in task) for task in array.tasks)
        count = sum(map(len, array.tasks))
        console.print(
            f"array {number}: {_plural(len(array.tasks), 'allocation')} for {_plural(count, 'job')}; each "
            f"{array.shape.label()}; the longest about {max(1, longest_s / 60):.0f} min (rough)",
            highlight=False,
            soft_wrap=True,
        )


def run_on_slurm(
    console: Console,
    suite: Suite | str,
    jobs: Sequence[Job],
    settings: Settings,
    options: argparse.Namespace,
    *,
    profile: ClusterProfile,
) -> Submission | None:
    """Submit what is missing, or with ``--dry-run`` write its batch scripts; return the submission, if there is one."""
    from bob.core.lease import holding
    from bob.runners.slurm.slurm import require_slurm, submit
    from bob.runners.slurm.submission import write_submission
    from bob.runners.state.cancellations import Cancellations
    from bob.runners.state.starts import Starts

    results_dir = settings.results_dir.absolute()
    if not options.dry_run:
        require_slurm()
    # Two commands at once must not both find the same jobs missing.
    with holding(results_dir / "leases" / "submit.lease"):
        name, policy = (suite, "skip") if isinstance(suite, str) else (suite.name, suite.bad_pictures)
        submission, todo = draft(jobs, name, settings, profile, options)
        submission = replace(submission, bad_pictures=policy)
        print_draft(console, submission, todo)
        if options.dry_run:
            _write_scripts(console, submission, profile)
            return None
        if not submission.arrays:
            return None
        Cancellations(results_dir).remove(job.id for job in todo)
        for job in todo:
            Starts(results_dir).forget(job.id)
        write_submission(submission, todo)
        submission = submit(submission, profile)
    numbers = ", ".join(array.slurm_id or "" for array in submission.arrays)
    console.print(f"Submitted {_plural(len(todo), 'job')} as {submission.id} (SLURM: {numbers}).", highlight=False)
    console.print(f"'bob status --results {settings.results_dir}' shows how they are.", highlight=False, soft_wrap=True)
    return submission


def wait_for(submission: Submission) -> None:
    """Return once no allocation of a submission is in the queue."""
    from bob.runners.slurm.slurm import live_tasks, queue

    while True:
        try:
            if not live_tasks([submission], queue()):
                return
        except BobError as error:
            log.warning("%s Asking again.", error.message)
        time.sleep(WAIT_POLL_S)


def _write_scripts(console: Console, submission: Submission, profile: ClusterProfile) -> None:
    from bob.runners.slurm.slurm import batch_text

    for number, array in enumerate(submission.arrays):
        text = batch_text(submission, number, profile)
        console.print(f"\n# array {number + 1} of {len(submission.arrays)}", highlight=False, markup=False)
        sys.stdout.write(text + "\n")
        jobs = "; ".join(f"{task}: {' '.join(ids)}" for task, ids in enumerate(array.tasks))
        sys.stdout.write(f"# jobs by allocation: {jobs}\n")


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
