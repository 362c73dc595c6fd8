"""`--executor slurm`: what would be submitted, the batch scripts, the submission."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from bob.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from bob.core.settings import Settings
    from bob.jobs.cluster_profile import ClusterProfile
    from bob.jobs.job import Job
    from bob.jobs.suite import Suite
    from bob.runners.slurm.submission import Submission
    from bob.runners.slurm.submitting import Draft

# Flags of the command line by the profile's keys.
FLAGS = (
    *("partition", "account", "qos", "constraint", "nodes", "gpus", "processes", "cpus", "mem_gb", "time_min"),
    *("array_parallelism", "pack_min", "attempts", "setup"),
)
LOCAL = {"workers": None, "display": "auto"}  # flags of the runner on this machine, and what they are if not given
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
    flags = {name: value for name in FLAGS if (value := getattr(options, name, None)) is not None}
    from bob.runners.slurm.submitting import cluster_profile

    return cluster_profile(file, suite, flags, trusted=options.trust_cluster)


def refuse_misplaced_options(options: argparse.Namespace) -> None:
    """Raise ConfigError for settings of one executor that go with another."""
    known = (*(name for name in FLAGS if name != "processes"), "cluster", "dry_run", "wait")
    given = [name for name in known if getattr(options, name, None)]
    if options.executor == "local" and given:
        dry = " 'bob plan' shows what would run on this machine." if "dry_run" in given else ""
        raise ConfigError(
            f"{_flags(given)} goes with --executor slurm.", hint=f"Add --executor slurm, or leave it out.{dry}"
        )
    given = [name for name, default in LOCAL.items() if getattr(options, name, default) != default]
    if options.executor == "slurm" and given:
        raise ConfigError(
            f"{_flags(given)} goes with --executor local.",
            hint="Leave it out: an allocation has as many workers as its GPUs and cores allow; 'bob status --watch' "
            "shows progress.",
        )


def print_draft(console: Console, drawn: Draft) -> None:
    """Print one line per array: how many allocations, how many jobs, of which shape, how long."""
    estimates = {job.id: job.estimate_s or 0.0 for job in drawn.jobs}
    arrays = drawn.submission.arrays
    if not arrays:
        console.print(NO_JOBS)
    for number, array in enumerate(arrays, 1):
        longest_s = max(sum(estimates[job_id] for job_id in task) for task in array.tasks)
        count = sum(map(len, array.tasks))
        console.print(
            f"array {number}: {_plural(len(array.tasks), 'allocation')} for {_plural(count, 'job')}; each "
            f"{array.shape.label()}; the longest about {max(1, longest_s / 60):.0f} min (rough)",
            highlight=False,
            soft_wrap=True,
        )


def submit_or_show(
    console: Console,
    suite: Suite | str,
    jobs: Sequence[Job],
    settings: Settings,
    options: argparse.Namespace,
    *,
    profile: ClusterProfile,
) -> Submission | None:
    """Submit what is missing, or with ``--dry-run`` write its batch scripts; return the submission, if there is one."""
    from bob.runners.slurm.submitting import draft, submit_missing

    device, loader_workers = getattr(options, "device", "auto"), getattr(options, "loader_workers", 0)
    if options.dry_run:
        drawn = draft(jobs, suite, settings, profile, device=device, loader_workers=loader_workers)
        print_draft(console, drawn)
        _write_scripts(console, drawn)
        return None
    drawn = submit_missing(
        jobs,
        suite,
        settings,
        profile,
        device=device,
        loader_workers=loader_workers,
        tell=lambda about: print_draft(console, about),
    )
    submission = drawn.submission
    if not submission.arrays:
        return None
    numbers = ", ".join(array.slurm_id or "" for array in submission.arrays)
    what = _plural(len(drawn.jobs), "job")
    console.print(f"Submitted {what} as {submission.id} (SLURM: {numbers}).", highlight=False)
    console.print(f"'bob status --results {settings.results_dir}' shows how they are.", highlight=False, soft_wrap=True)
    return submission


def _write_scripts(console: Console, drawn: Draft) -> None:
    from bob.runners.slurm.slurm import batch_text

    submission = drawn.submission
    for number, array in enumerate(submission.arrays):
        text = batch_text(submission, number, drawn.profile)
        console.print(f"\n# array {number + 1} of {len(submission.arrays)}", highlight=False, markup=False)
        sys.stdout.write(text + "\n")
        jobs = "; ".join(f"{task}: {' '.join(ids)}" for task, ids in enumerate(array.tasks))
        sys.stdout.write(f"# jobs by allocation: {jobs}\n")


def _flags(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
