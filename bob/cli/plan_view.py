"""How a plan looks in a terminal: one line per backbone, the total with its estimate, what is missing and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bob.core.text import counted
from bob.data.dataset import DatasetSpec
from bob.jobs.job import Job
from bob.jobs.plan_data import copies_said
from bob.runners.suite_runs import Planned

SHOWN_BACKBONES = 60


def print_plan(console: Console, planned: Planned) -> None:
    """Print the plan of a suite."""
    plan, done, settings = planned.plan, planned.done, planned.settings
    suite = plan.suite
    to_run = [job for job in plan.jobs if job.id not in done and not job.missing]
    skipped = [job for job in plan.jobs if job.missing and job.id not in done]
    console.print(f"[bold]{escape(suite.name)}[/]  {escape(suite.title)}", highlight=False)
    console.print(f"{_cells(plan.jobs)}\n", highlight=False, soft_wrap=True)
    for line in data_lines(plan.jobs):
        console.print(line, highlight=False, soft_wrap=True)
    if to_run:
        console.print(_table(plan.jobs, done))
    console.print(
        f"{counted(len(plan.jobs), 'job')}: {len(plan.jobs) - len(to_run) - len(skipped)} done, {len(to_run)} to run, "
        f"{len(skipped)} skipped. Estimated time: {_duration(to_run)}. Results: {escape(str(settings.results_dir))}",
        highlight=False,
        soft_wrap=True,
    )
    for name, said in copies_said(plan.jobs).items():
        console.print(f"[yellow]copies in {escape(name)}[/]: {escape(said)}", highlight=False, soft_wrap=True)
    for name, reason in plan.left_out.items():
        console.print(f"[yellow]left out: {escape(name)}[/]: {escape(reason)}", highlight=False, soft_wrap=True)
    for text, reason in plan.missing_data.items():
        console.print(f"[yellow]data set {escape(text)}[/]: {escape(reason)}", highlight=False, soft_wrap=True)


def _table(jobs: Sequence[Job], done: frozenset[str]) -> Table:
    by_backbone: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_backbone[job.backbone].append(job)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backbone", no_wrap=True)
    table.add_column("px", justify="right")
    table.add_column("weights", overflow="fold")
    table.add_column("to run", justify="right")
    for name, own in list(by_backbone.items())[:SHOWN_BACKBONES]:
        left = sum(job.id not in done and not job.missing for job in own)
        table.add_row(
            escape(name),
            str(own[0].input.image_size),
            _weights(own[0]),
            f"{left} of {len(own)}",
        )
    if len(by_backbone) > SHOWN_BACKBONES:
        table.add_row(f"... and {len(by_backbone) - SHOWN_BACKBONES} more", "", "", "", "")
    return table


def _cells(jobs: Sequence[Job]) -> str:
    """Say in one line per task what every backbone goes through."""
    by_task: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for job in jobs:
        by_task[job.task, job.dataset][job.protocol] = None
    return "\n".join(f"{task} on {escape(data)}: {', '.join(names)}" for (task, data), names in by_task.items())


def data_lines(jobs: Sequence[Job]) -> list[str]:
    """Return a line for each data set on this machine that jobs use: how it is read, its classes, its sizes."""
    specs = {job.dataset_spec.fingerprint: job.dataset_spec for job in jobs if job.dataset_spec is not None}
    for job in jobs:
        specs |= {other.fingerprint: other.spec for other in job.others if other.spec is not None}
    return [_data_line(spec) for spec in specs.values()]


def _data_line(spec: DatasetSpec) -> str:
    sizes = ", ".join(f"{count} {split}" for split, count in spec.sizes)
    return f"data {escape(spec.name)}: {spec.kind}, {counted(len(spec.classes), 'class', 'classes')}, {sizes}"


def _weights(job: Job) -> str:
    if job.is_control:
        return "random (control)"
    return escape(job.weights_source) if job.weights_source else "[yellow]missing[/]"


def _duration(jobs: Sequence[Job]) -> str:
    total_s = sum(job.estimate_s or 0.0 for job in jobs)
    if not jobs:
        return "none"
    if total_s < 90:
        return f"about {max(total_s, 1):.0f} s (rough)"
    return f"about {total_s / 60:.0f} min (rough)" if total_s < 5400 else f"about {total_s / 3600:.1f} h (rough)"
