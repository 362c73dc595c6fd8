"""`bob show` and `bob report`: what the store holds. Neither imports torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob.cli.common import full_id, print_json, request_from, settings_from
from bob.core.errors import ConfigError
from bob.core.settings import Settings
from bob.jobs.plan import Plan
from bob.runners.suite_runs import planned_of
from bob.store import ResultStore

if TYPE_CHECKING:
    from rich.console import Console

    from bob.reporting.build import Report


def show(options: argparse.Namespace) -> int:
    """Print every column of one job's row."""
    from rich.markup import escape

    from bob.core.terminal import Terminal
    from bob.jobs.row import COLUMNS

    store = ResultStore(settings_from(options).results_dir)
    row = store.record(full_id(store.statuses(), options.job))
    if options.json:
        print_json(row)
        return 0
    docs = {column.name: column.doc for column in COLUMNS}
    console = Terminal()
    for name, value in row.items():
        if value is not None:
            line = f"[bold]{escape(f'{name:24}')}[/] {escape(_text(value))}  [dim]{escape(docs.get(name, ''))}[/]"
            console.print(line, highlight=False)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write the report and print its tables."""
    from bob.core.terminal import Terminal

    settings = settings_from(options)
    expanded = plan_of(options, settings)
    console = Terminal(stderr=options.json)
    built = write_report(
        console,
        settings,
        expanded,
        mix=options.mix,
        out=options.out,
        reference=options.reference,
        max_latency_ms=options.max_latency_ms,
        max_memory_mb=options.max_memory_mb,
    )
    if options.json:
        print_json({"title": built.title, "boards": built.boards, "overall": built.means, "coverage": built.coverage})
    return 0


def write_report(
    console: Console, settings: Settings, expanded: Plan | None, *, mix: bool, keep: bool = False, **choices: Any
) -> Report:
    """Build the report of a plan (or of everything in the store), print its tables, and say where it is.

    With ``keep``, a report that is younger than the rows is left as it is and only its tables are printed.
    """
    from rich.markup import escape

    from bob.reporting.build import build_report

    suite = expanded.suite if expanded else None
    out = choices.pop("out", None)
    folder = Path(out) if out else settings.results_dir / "report" / (suite.name if suite else "all")
    kept = keep and _is_younger(folder / "index.html", settings.results_dir / "results.parquet")
    reference = choices.pop("reference", None) or (suite.reference if suite else None)
    expected = [_expected(job) for job in expanded.jobs] if expanded else None
    built = build_report(
        settings.results_dir,
        suite=suite.name if suite else None,
        reference=reference or None,
        expected=expected,
        out_dir=None if kept else folder,
        mix=mix,
        **choices,
    )
    built.print(console)
    if kept:
        console.print(f"The report is at {escape(str(folder / 'index.html'))}", highlight=False, soft_wrap=True)
    console.print(
        f"The rows are in {escape(str(settings.results_dir / 'results.parquet'))}", highlight=False, soft_wrap=True
    )
    return built


def _is_younger(path: Path, than: Path) -> bool:
    return path.exists() and than.exists() and path.stat().st_mtime >= than.stat().st_mtime


def _expected(job: Any) -> dict[str, Any]:
    names = ("backbone", "task", "dataset", "protocol", "seed", "missing", "is_control")
    return {"job_id": job.id, **{name: getattr(job, name) for name in names}}


def statuses_in_table(store: ResultStore, settings: Settings) -> dict[str, str]:
    """Return the status of every row of the table, which leaves out what later rows have settled."""
    if not settings.results_dir.is_dir():
        return {}
    rows = store.load()
    return dict(zip(rows["job_id"], rows["status"], strict=True)) if len(rows) else {}


def plan_of(options: argparse.Namespace, settings: Settings) -> Plan | None:
    """Return the plan of the suite named; None if none is."""
    if not options.suite:
        if options.data or options.sets or options.scale:
            raise ConfigError("--data, --set and --scale say how a suite was run: name the suite as well.")
        return None
    return planned_of(request_from(options), settings).plan


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
