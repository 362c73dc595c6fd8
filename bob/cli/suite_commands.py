"""`bob plan`, `bob fetch` and `bob run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from bob.cli.common import print_json, settings_from, suite_from
from bob.cli.slurm_options import (
    cluster_machine,
    draft,
    print_draft,
    profile_of,
    refuse_misplaced_options,
    run_on_slurm,
    wait_for,
)
from bob.core.errors import BobError, WeightsMissingError
from bob.core.settings import Settings
from bob.core.yaml_source import YamlSource
from bob.jobs.cluster_profile import ClusterProfile
from bob.jobs.estimate import Machine
from bob.jobs.job import Job
from bob.jobs.needs import needs_of
from bob.jobs.plan import Plan, expand
from bob.jobs.suite import Suite
from bob.runners.state.cancellations import Cancellations
from bob.store import ResultStore
from bob.tasks.spec import TASKS

if TYPE_CHECKING:
    from rich.console import Console

    from bob.runners.local.local_runner import Summary


def plan(options: argparse.Namespace) -> int:
    """Show what would run, what is done, and what cannot run and why."""
    from bob.cli.plan_view import print_plan

    suite, source = suite_from(options)
    settings = settings_from(options)
    refuse_misplaced_options(options)
    profile = profile_of(options, suite) if options.executor == "slurm" else None
    machine = cluster_machine(profile) if profile else machine_of("auto")[1]
    expanded = expand(suite, source, settings, data=options.data or (), machine=machine)
    done = finished(expanded.jobs, settings)
    if options.json:
        print_json([_as_json(job, done) for job in expanded.jobs])
        return 0
    print_plan(_console(), expanded, done=done, settings=settings)
    if profile is not None:
        print_draft(_console(), *draft(expanded.jobs, suite.name, settings, profile, options))
    return 0


def fetch(options: argparse.Namespace) -> int:
    """Bring every checkpoint and data set of a suite to this machine; say what could not be had."""
    suite, source = suite_from(options)
    settings = settings_from(options)
    console = _console(stderr=options.json)
    report = bring(console, suite, source, settings, data=options.data or ())
    if options.json:
        print_json(report)
    return 1 if report["missing"] else 0


def run(options: argparse.Namespace) -> int:
    """Run what is missing of a suite, then print the ranking and say where the report is."""
    from bob.cli.plan_view import print_plan
    from bob.cli.result_commands import write_report

    console = _console()
    suite, source = suite_from(options)
    settings = settings_from(options)
    refuse_misplaced_options(options)
    profile = profile_of(options, suite) if options.executor == "slurm" else None
    device, machine = ("auto", cluster_machine(profile)) if profile else machine_of(options.device)
    data = options.data or ()
    expanded = expand(suite, source, settings, data=data, machine=machine)
    done = finished(expanded.jobs, settings)
    if (expanded.missing_backbones or expanded.missing_data) and not options.no_fetch:
        bring(console, suite, source, settings, data=data, quiet=True)
        expanded = expand(suite, source, settings, data=data, machine=machine)
        done = finished(expanded.jobs, settings)
    print_plan(console, expanded, done=done, settings=settings)
    if suite.bad_pictures == "error":
        refuse_bad_pictures(expanded, settings)
    if profile is not None:
        return _submit(console, expanded, options, settings, profile)
    Cancellations(settings.results_dir).remove(job.id for job in expanded.jobs)
    summary = _execute(expanded.jobs, options, settings, device)
    print_summary(console, summary)
    write_report(console, settings, expanded, mix=False, keep=not summary.counts)
    if summary.interrupted:
        return 130
    scored = finished(expanded.jobs, settings)
    return 0 if scored and not summary.failures and not summary.left else 1


def _submit(
    console: Console, expanded: Plan, options: argparse.Namespace, settings: Settings, profile: ClusterProfile
) -> int:
    """Hand a plan to SLURM; with ``--wait`` also print its ranking at the end."""
    from bob.cli.result_commands import write_report

    jobs = expanded.jobs
    if options.timeout_min is not None:
        jobs = tuple(replace(job, timeout_min=options.timeout_min) for job in jobs)
    missing = [job for job in jobs if job.missing]
    if missing and not options.dry_run:
        _execute(missing, options, settings, "cpu")  # nothing to run: their rows say why
    submission = run_on_slurm(console, expanded.suite, jobs, settings, options, profile=profile)
    if submission is None or not options.wait:
        return 0
    wait_for(submission)
    write_report(console, settings, expanded, mix=False)
    scored = finished(jobs, settings)
    return 0 if scored >= {job.id for job in jobs if not job.missing} else 1


def finished(jobs: Sequence[Job], settings: Settings) -> set[str]:
    """Return the ids of the jobs that have an ``ok`` row."""
    statuses = ResultStore(settings.results_dir).statuses()
    return {job.id for job in jobs if statuses.get(job.id) == "ok"}


def bring(
    console: Console,
    suite: Suite,
    source: YamlSource,
    settings: Settings,
    *,
    data: Sequence[str] = (),
    quiet: bool = False,
) -> dict[str, Any]:
    """Fetch what a suite needs, once, before anything starts: many jobs racing for one download corrupt caches."""
    from bob.backbones.weights import fetch as fetch_weights
    from bob.data.resolve import fetch_dataset

    expanded = expand(suite, source, settings, data=data)
    report: dict[str, Any] = {"here": {}, "missing": {}}
    for backbone in expanded.backbones:
        if backbone.is_control:
            continue
        try:
            file = fetch_weights(backbone, weights_dirs=settings.weights_dirs, cache_dir=settings.cache_dir)
            report["here"][backbone.name] = f"{file.source}: {file.path}"
        except WeightsMissingError as error:
            report["missing"][backbone.name] = error.message
    for text in expanded.missing_data:
        try:
            fetch_dataset(text, cache_dir=settings.cache_dir, data_dir=settings.data_dir)
            report["here"][text] = "data set"
        except BobError as error:
            report["missing"][text] = error.message
    if not quiet:
        for name, where in report["here"].items():
            console.print(escape(f"{name}: {where}"), highlight=False, soft_wrap=True)
        for name, reason in report["missing"].items():
            console.print(f"[yellow]missing[/] {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)
    return report


def _execute(jobs: Sequence[Job], options: argparse.Namespace, settings: Settings, device: str) -> Summary:
    from bob.runners.local.local_runner import LocalRunner

    if options.timeout_min is not None:
        jobs = [replace(job, timeout_min=options.timeout_min) for job in jobs]
    runner = LocalRunner(
        jobs,
        results_dir=settings.results_dir.absolute(),
        cache_dir=settings.cache_dir.absolute(),
        workers=options.workers,
        device=device,
        loader_workers=options.loader_workers,
        display=options.display,
        processes=options.processes or 1,
    )
    return runner.run()


def print_summary(console: Console, summary: Summary) -> None:
    """Say what a run did, with each failure's reason."""
    counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items() if count)
    if summary.left:
        console.print(f"{summary.left} jobs are left; the same command goes on.", highlight=False)
    elif not summary.counts and not summary.elsewhere:
        console.print("Nothing to run: every job that can run has its row.")
    if summary.counts:
        console.print(f"Ran {counts} in {summary.wall_s:.0f} s.", highlight=False)
    for failure in summary.failures[:20]:
        console.print(f"[red]{escape(str(failure))}[/]", highlight=False, soft_wrap=True, markup=True)


def machine_of(choice: str) -> tuple[str, Machine]:
    """Return "cpu" or "cuda" and what jobs will run on, without importing torch."""
    from bob.core.devices import choose_device, cpu_count, gpus

    device, hardware = choose_device(choice)
    return device, Machine(hardware=hardware, cores=cpu_count(), gpus=len(gpus()) if device == "cuda" else 0)


def refuse_bad_pictures(expanded: Plan, settings: Settings) -> None:
    """Look at every picture before anything runs, also where earlier runs left the bad ones out.

    Raises:
        DataError: A picture cannot be read.
    """
    from bob.data.dense_pictures import open_dense
    from bob.data.pictures import DENSE, open_split, open_unlabelled

    for spec, task in {(job.dataset_spec, job.task) for job in expanded.jobs if job.dataset_spec}:
        annotation = TASKS.get(task).annotation_of(spec)
        assert annotation is not None, "the planner gives a task no data that it cannot use"
        for split, count in spec.sizes:
            if not count:
                continue
            if annotation not in DENSE:
                open_split(spec, split, annotation=annotation, cap=None, cache_dir=settings.cache_dir)
            else:
                open_dense(spec, split, annotation=annotation, cap=None, cache_dir=settings.cache_dir)
    for spec in {other.spec for job in expanded.jobs for other in job.others if other.spec}:
        open_unlabelled(spec, "test", cap=None, cache_dir=settings.cache_dir)


def _console(*, stderr: bool = False) -> Console:
    from bob.core.terminal import Terminal

    return Terminal(stderr=stderr)


def _as_json(job: Job, done: set[str]) -> dict[str, Any]:
    state = "done" if job.id in done else "skipped" if job.missing else "to run"
    return {
        "job_id": job.id,
        "backbone": job.backbone,
        "task": job.task,
        "dataset": job.dataset,
        "protocol": job.protocol,
        "seed": job.seed,
        "image_size": job.input.image_size,
        "precision": job.precision,
        "budget": job.budget.label(),
        "params": dict(job.params),
        "weights_sha256": job.weights_sha256,
        "state": state,
        "reason": job.missing,
        "estimate_s": job.estimate_s,
        "needs": [need.key for need in needs_of(job)],
    }
