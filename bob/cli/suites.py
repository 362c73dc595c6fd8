"""`bob plan`, `bob fetch` and `bob run`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bob.cli.common import print_json, settings_from, suite_from
from bob.errors import BobError, WeightsMissingError
from bob.job import Job
from bob.plan import Plan, expand
from bob.settings import Settings
from bob.store import ResultStore
from bob.suite import Suite
from bob.yaml_source import YamlSource

if TYPE_CHECKING:
    from rich.console import Console

    from bob.runners.local import Summary


def plan(options: argparse.Namespace) -> int:
    """Show what would run, what is done, and what cannot run and why."""
    from bob.cli.plan_view import print_plan

    suite, source = suite_from(options)
    settings = settings_from(options)
    expanded = expand(suite, source, settings, data=options.data or ())
    done = finished(expanded.jobs, settings)
    if options.json:
        print_json([_as_json(job, done) for job in expanded.jobs])
    else:
        print_plan(_console(), expanded, done=done, settings=settings)
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

    console = _console()
    suite, source = suite_from(options)
    settings = settings_from(options)
    device, hardware = _device(options.device)
    data = options.data or ()
    expanded = expand(suite, source, settings, data=data, hardware=hardware)
    done = finished(expanded.jobs, settings)
    if (expanded.missing_backbones or expanded.missing_data) and not options.no_fetch:
        bring(console, suite, source, settings, data=data, quiet=True)
        expanded = expand(suite, source, settings, data=data, hardware=hardware)
        done = finished(expanded.jobs, settings)
    print_plan(console, expanded, done=done, settings=settings)
    summary = _execute(expanded.jobs, options, settings, device)
    _print_summary(console, summary)
    _report(console, options, settings, expanded)
    if summary.interrupted:
        return 130
    return 0 if not summary.failures else 1


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
            console.print(f"{name}: {where}", highlight=False, soft_wrap=True)
        for name, reason in report["missing"].items():
            console.print(f"[yellow]missing[/] {name}: {reason}", highlight=False, soft_wrap=True)
    return report


def _execute(jobs: Sequence[Job], options: argparse.Namespace, settings: Settings, device: str) -> Summary:
    from bob.runners.local import LocalRunner

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
    )
    return runner.run()


def _print_summary(console: Console, summary: Summary) -> None:
    counts = ", ".join(f"{count} {status}" for status, count in summary.counts.items() if count)
    if not summary.counts.get("run", sum(summary.counts.values())):
        console.print("Nothing to run: every job that can run has its row.")
    else:
        console.print(f"Ran {counts} in {summary.wall_s:.0f} s.", highlight=False)
    for failure in summary.failures[:20]:
        console.print(f"[red]{failure}[/]", highlight=False, soft_wrap=True, markup=True)


def _report(console: Console, options: argparse.Namespace, settings: Settings, expanded: Plan) -> None:
    from bob.cli.results import write_report

    write_report(console, settings, expanded, mix=False)


def _device(choice: str) -> tuple[str, str]:
    """Return ("cpu" or "cuda", hardware class) without importing torch."""
    from bob.runners.devices import choose_device

    return choose_device(choice)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


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
        "needs": [need.key for need in job.needs()],
    }
