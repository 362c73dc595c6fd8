"""`bob plan`, `bob fetch` and `bob run`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.markup import escape

from bob.cli.common import print_json, request_from, settings_from
from bob.cli.slurm_options import print_draft, profile_of, refuse_misplaced_options, submit_or_show
from bob.core.terminal import Terminal
from bob.core.text import counted
from bob.jobs.cluster_profile import ClusterProfile
from bob.jobs.fetching import Fetched
from bob.runners.suite_runs import Planned, execute, fetch_of, finished, planned_of, prepare

if TYPE_CHECKING:
    from rich.console import Console

    from bob.runners.local.local_runner import Summary

SHOWN_FAILURES = 20


def plan(options: argparse.Namespace) -> int:
    """Show what would run, what is done, and what cannot run and why."""
    from bob.cli.plan_view import print_plan

    refuse_misplaced_options(options)
    planned, profile = _planned(options)
    if options.json:
        print_json(planned.records())
        return 0
    console = Terminal()
    print_plan(console, planned)
    if profile is not None:
        from bob.runners.slurm.submitting import draft

        print_draft(console, draft(planned.jobs, planned.plan.suite, planned.settings, profile))
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Bring every checkpoint and data set of a suite to this machine; say what could not be had."""
    fetched = fetch_of(planned_of(request_from(options), settings_from(options)))
    _print_fetched(Terminal(stderr=options.json), fetched)
    if options.json:
        print_json(fetched)
    return 1 if fetched.missing else 0


def run(options: argparse.Namespace) -> int:
    """Run what is missing of a suite, then print the ranking and say where the report is."""
    from bob.cli.plan_view import print_plan
    from bob.cli.result_commands import write_report

    refuse_misplaced_options(options)
    planned, profile = _planned(options)
    planned = prepare(planned, download=not options.no_fetch, tell=lambda about: print_plan(Terminal(), about))
    if profile is not None:
        return _submit(planned, options, profile)
    summary = execute(
        planned.jobs,
        planned.settings,
        device=planned.device,
        workers=options.workers,
        processes=options.processes or 1,
        timeout_min=options.timeout_min,
        loader_workers=options.loader_workers,
        display=options.display,
    )
    console = Terminal()
    print_summary(console, summary)
    write_report(console, planned.settings, planned.plan, mix=False, keep=not summary.counts)
    if summary.interrupted:
        return 130
    scored = finished(planned.jobs, planned.settings)
    return 0 if scored and not summary.failures and not summary.left else 1


def _planned(options: argparse.Namespace) -> tuple[Planned, ClusterProfile | None]:
    """Return the plan that the flags ask for, and for SLURM what to ask of the cluster."""
    request, settings = request_from(options), settings_from(options)
    if options.executor != "slurm":
        return planned_of(request, settings, device=getattr(options, "device", "auto")), None
    from bob.runners.slurm.submitting import cluster_machine

    profile = profile_of(options, request.resolve()[0])
    return planned_of(request, settings, machine=cluster_machine(profile)), profile


def _submit(planned: Planned, options: argparse.Namespace, profile: ClusterProfile) -> int:
    """Hand a plan to SLURM; with ``--wait`` also print its ranking at the end."""
    from bob.cli.result_commands import write_report
    from bob.runners.slurm.submitting import wait_for

    jobs, console = planned.jobs, Terminal()
    if options.timeout_min is not None:
        jobs = tuple(replace(job, timeout_min=options.timeout_min) for job in jobs)
    missing = [job for job in jobs if job.missing]
    if missing and not options.dry_run:
        execute(missing, planned.settings, device="cpu", display="none")  # nothing to run: their rows say why
    submission = submit_or_show(console, planned.plan.suite, jobs, planned.settings, options, profile=profile)
    if submission is None or not options.wait:
        return 0
    wait_for(submission)
    write_report(console, planned.settings, planned.plan, mix=False)
    return 0 if finished(jobs, planned.settings) >= {job.id for job in jobs if not job.missing} else 1


def _print_fetched(console: Console, fetched: Fetched) -> None:
    for name, where in fetched.here.items():
        console.print(escape(f"{name}: {where}"), highlight=False, soft_wrap=True)
    for name, reason in fetched.missing.items():
        console.print(f"[yellow]missing[/] {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)


def print_summary(console: Console, summary: Summary) -> None:
    """Say what a run did, with each failure's reason."""
    counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items() if count)
    if summary.left:
        console.print(f"{counted(summary.left, 'job')} left; the same command goes on.", highlight=False)
    elif not summary.counts and not summary.elsewhere:
        console.print("Nothing to run: every job that can run has its row.")
    if summary.counts:
        console.print(f"Ran {counts} in {summary.wall_s:.0f} s.", highlight=False)
    for failure in summary.failures[:SHOWN_FAILURES]:
        console.print(f"[red]{escape(str(failure))}[/]", highlight=False, soft_wrap=True, markup=True)
