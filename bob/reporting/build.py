"""From a results folder to a report: read, rank, and write it as text, CSV, Markdown, HTML and plots."""

from __future__ import annotations

import datetime
import functools
import html
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from bob.core.errors import one_period
from bob.core.files import write_bytes, write_text
from bob.core.text import counted
from bob.core.version import __version__
from bob.reporting.boards import LEFT_OUT, make_board
from bob.reporting.coverage import measure_coverage
from bob.reporting.effective_robustness import add_effective_robustness
from bob.reporting.html import Figure, Plot, Section, render_page
from bob.reporting.overall import add_z_scores, overall
from bob.reporting.plots import interval_plot, latency_plot
from bob.reporting.recommend import recommend
from bob.reporting.reliability_diagram import COLUMNS, reliability_plot
from bob.reporting.report_data import CALIBRATED, Board, Coverage, OverallEntry
from bob.reporting.select import Row, choose_rows, group_rows
from bob.reporting.sheets import contact_sheets
from bob.reporting.tables import Table, calibration_table, cost_table, coverage_table, overall_table, score_table
from bob.reporting.text_report import markdown_page, ranking_csv, rich_table, shown_cells
from bob.store import ResultStore

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SMOKE_BANNER = "smoke data: not for choosing a backbone"
_NO_BOARDS = "No job has a score yet, so there is nothing to rank. What to do is said under coverage."
_NO_ROWS = (
    "The results folder has no rows for this report. 'bob run SUITE' makes some; 'bob list suites' shows the suites."
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A finished report.

    Attributes:
        title: Its title.
        meta: Suite, devices, budgets, date and versions, as lines.
        banners: Warnings that no reader may miss.
        boards: The rankings.
        means: The candidates over all boards; empty for a single board.
        coverage: What is there and what is not.
        answers: One recommendation in words per board.
        tables: Every table, in the order of the report.
        files: The files that were written, by name.
    """

    title: str
    meta: tuple[str, ...]
    banners: tuple[str, ...]
    boards: tuple[Board, ...]
    means: tuple[OverallEntry, ...]
    coverage: Coverage
    answers: tuple[str, ...]
    tables: tuple[Table, ...]
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def notices(self) -> tuple[str, ...]:
        """What is said instead of a ranking where there is none."""
        if self.boards:
            return ()
        return (_NO_BOARDS,) if self.coverage.counts else (_NO_ROWS,)

    @property
    def coverage_line(self) -> str:
        """Jobs by status in one line."""
        total = sum(self.coverage.counts.values())
        statuses = ", ".join(f"{count} {status}" for status, count in self.coverage.counts.items())
        return f"{counted(total, 'job')}: {statuses}." if total else "No jobs."

    def _repr_html_(self) -> str:
        """Return the page for a notebook, in a frame of its own; without files only its heading."""
        page = self.files.get("index.html")
        if page is None:
            return f"<p>{html.escape(self.title)}: {html.escape(self.coverage_line)}</p>"
        content = html.escape(page.read_text(encoding="utf-8"), quote=True)
        return f'<iframe sandbox srcdoc="{content}" style="width: 100%; height: 40em; border: 1px solid #ccc"></iframe>'

    def print(self, console: Console) -> None:
        """Print the report to a terminal of any width from 80 columns."""
        console.print(f"[bold]{escape(self.title)}[/bold]")
        for line in (*self.meta, *self.notices):
            console.print(escape(line), highlight=False)
        for line in self.banners:
            console.print(f"[bold yellow]{escape(line)}[/bold yellow]", highlight=False)
        seen: set[tuple[tuple[str, ...], ...]] = set()
        for table in self.tables[: -1 if self.coverage.reasons else None]:
            content = shown_cells(table, width=console.width)
            if content in seen:
                continue  # the same backbones cost the same on every board
            seen.add(content)
            console.print()
            console.print(rich_table(table, width=console.width))
            for sentence in table.caption:
                console.print(escape(sentence), style="dim", highlight=False)
        for board, answer in zip(self.boards, self.answers, strict=True):
            console.print(f"\n[bold]{escape(board.name)}[/bold]: {escape(answer)}", highlight=False)
        console.print(f"\n{escape(self.coverage_line)}", highlight=False)
        # Sentences: the names of many backbones make a table of slivers in a terminal.
        for gap in self.coverage.reasons:
            console.print(
                f"[yellow]{gap.jobs} {escape(gap.status)}[/yellow]: "
                + escape(one_period(f"{gap.what}. Next: {gap.action}. Backbones: {', '.join(gap.backbones)}")),
                highlight=False,
                soft_wrap=True,
            )
        for name, reason in self.coverage.damaged.items():
            console.print(f"damaged, set aside: {escape(name)}: {escape(reason)}", highlight=False)
        if "index.html" in self.files:
            console.print(f"The report is at {escape(str(self.files['index.html']))}", highlight=False, soft_wrap=True)


def build_report(
    results_dir: Path,
    *,
    suite: str | None,
    reference: Sequence[str] | None,
    expected: Sequence[Mapping[str, Any]] | None,
    out_dir: Path | None,
    mix: bool = False,
    max_latency_ms: float | None = None,
    max_memory_mb: float | None = None,
) -> Report:
    """Read the results, rank them and write index.html, ranking.csv, ranking.md and a PNG per plot.

    Args:
        results_dir: The store's folder.
        suite: The suite the report is about; None for everything there.
        reference: Backbones whose mean and standard deviation make the z-scores; None for no z-scores.
        expected: The planned jobs, each with ``job_id`` and ``backbone``; None if the plan is not known.
        out_dir: Where the files go; None writes none, which saves drawing the plots.
        mix: Whether rows made under different circumstances may stand in one table.
        max_latency_ms: For the recommendation: most median latency at batch 1, in ms.
        max_memory_mb: For the recommendation: most peak memory of inference at batch 1, in MB.

    Raises:
        BobError: The rows of a table differ in what they must share, and ``mix`` is not set.
        StoreError: The results cannot be read, or ``out_dir`` not written.
    """
    store = ResultStore(results_dir)
    rows = choose_rows(_as_rows(store.load()), suite=suite, expected=expected)
    # Only these columns: the detections of a large test set are of no use here.
    outcomes = functools.partial(store.outcomes, columns=("sample_id", "outcome"))
    boards = [make_board(group, outcomes) for group in group_rows(rows, mix=mix)]
    boards = add_effective_robustness(add_z_scores(boards, reference), reference)
    means = overall(boards) if len(boards) > 1 else []
    coverage = measure_coverage(rows, expected, store.damaged())
    limits = {"max_latency_ms": max_latency_ms, "max_memory_mb": max_memory_mb}
    report = Report(
        title=f"Battle of the Backbones: {suite or 'all results'}",
        meta=_meta(rows),
        banners=_banners(boards, mix),
        boards=tuple(boards),
        means=tuple(means),
        coverage=coverage,
        answers=tuple(recommend(board, **limits).text for board in boards),
        tables=_tables(boards, means, coverage),
    )
    if out_dir is not None:
        _write(report, out_dir, store)
    return report


def _as_rows(frame: pd.DataFrame) -> list[Row]:
    """Return the rows as dicts without their nulls."""
    import pandas as pd

    columns = {str(name): frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    present = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{name: value for name, value in row.items() if value is not None and value is not pd.NA} for row in present]


def _meta(rows: Sequence[Row]) -> tuple[str, ...]:
    names = {"device": "device", "hardware_class": "hardware", "budget": "budget"}
    said = [f"{label}: {text}" for name, label in names.items() if (text := _distinct(rows, name))]
    versions = [f"{label} {_distinct(rows, f'{label.lower()}_version')}" for label in ("BoB", "torch", "timm")]
    days = sorted(str(row["finished_at"])[:10] for row in rows if row.get("finished_at"))
    span = f"measured {days[0]} to {days[-1]}; " if days else ""
    today = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    made = f"{span}report made {today} by BoB {__version__}"
    with_version = [version for version in versions if not version.endswith(" ")]
    return (*said, *((", ".join(with_version),) if with_version else ()), made)


def _distinct(rows: Sequence[Row], name: str) -> str:
    return " | ".join(sorted({str(row[name]) for row in rows if row.get(name) is not None}))


def _banners(boards: Sequence[Board], mix: bool) -> tuple[str, ...]:
    banners = []
    if any(board.smoke for board in boards):
        which = [board.name for board in boards if board.smoke]
        banners.append(SMOKE_BANNER if len(which) == len(boards) else f"{SMOKE_BANNER} ({'; '.join(which)})")
    left_out = {board.dataset: board.circumstances.get(LEFT_OUT, "0") for board in boards}
    banners += [
        f"{count} pictures of {dataset} cannot be read and are left out; the logs name them"
        for dataset, count in left_out.items()
        if count != "0"
    ]
    if mix and any(note.startswith("mixed rows") for board in boards for note in board.notes):
        banners.append("mixed rows: these tables compare what was made under different circumstances")
    return tuple(banners)


def _tables(boards: Sequence[Board], means: Sequence[OverallEntry], coverage: Coverage) -> tuple[Table, ...]:
    tables: list[Table | None] = []
    for board in boards:
        tables += [score_table(board), cost_table(board), calibration_table(board)]
    if means:
        tables.append(overall_table(means))
    tables.append(coverage_table(coverage))
    return tuple(table for table in tables if table is not None)


def _write(report: Report, out_dir: Path, store: ResultStore) -> None:
    from bob.store.records import explained

    if out_dir.absolute().is_relative_to(store.layout.root.absolute()):
        store.layout.own(out_dir / "index.html")
    with explained(out_dir):
        sections = [_section(report, index, out_dir, store) for index in range(len(report.boards))]
        page = render_page(
            title=report.title,
            meta=report.meta,
            banners=report.banners,
            notices=report.notices,
            overall=overall_table(report.means) if report.means else None,
            sections=sections,
            coverage_line=report.coverage_line,
            coverage=coverage_table(report.coverage),
            damaged=report.coverage.damaged,
        )
        lines = (*report.meta, *report.banners, *report.notices, report.coverage_line, *report.answers)
        _keep(report, out_dir / "ranking.csv", ranking_csv(report.boards))
        _keep(report, out_dir / "ranking.md", markdown_page(report.title, lines, report.tables))
        _keep(report, out_dir / "index.html", page)


def _keep(report: Report, path: Path, content: str | bytes) -> None:
    if isinstance(content, str):
        write_text(path, content)
    else:
        write_bytes(path, content)
    report.files[path.name] = path


def _section(report: Report, index: int, out_dir: Path, store: ResultStore) -> Section:
    board = report.boards[index]
    plots = _plots(board, store)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", board.name).strip("-")[:80]
    for kind, plot in plots.items():
        _keep(report, out_dir / f"{index + 1:02d}-{stem}-{kind}.png", plot.png)
    sheets = contact_sheets(board, store.layout)
    return Section(
        name=board.name,
        answer=report.answers[index],
        scores=score_table(board),
        costs=cost_table(board),
        calibration=calibration_table(board),
        plots=list(plots.values()),
        sheets=[_figure(board, sheet.backbone, sheet.png) for sheet in sheets if sheet.png is not None],
        sheet_notes=[f"The contact sheet of {s.backbone} is left out: {s.fault}." for s in sheets if s.png is None],
        circumstances=board.circumstances,
    )


def _plots(board: Board, store: ResultStore) -> dict[str, Plot]:
    """Return the board's plots by the word that ends their files' names."""
    drawn = {
        "scores": (f"{board.metric} of each backbone with its interval", _drawn(board, interval_plot)),
        "latency": (f"{board.metric} against latency", _drawn(board, latency_plot)),
    }
    if board.metric == CALIBRATED:
        confidences = functools.partial(store.outcomes, columns=COLUMNS)
        alt = "accuracy by confidence before and after temperature scaling"
        drawn["reliability"] = (alt, _drawn(board, functools.partial(reliability_plot, outcomes=confidences)))
    return {kind: Plot(f"{alt}, {board.name}", png) for kind, (alt, png) in drawn.items() if png is not None}


def _drawn(board: Board, draw: Callable[[Board], bytes | None]) -> bytes | None:
    """Return a plot; None where a row holds a number that no axis reaches (of a changed record: the tables show it)."""
    try:
        return draw(board)
    except (ValueError, ArithmeticError) as error:
        log.warning("A plot of %s is left out, for it cannot be drawn: %s.", board.name, error)
        return None


def _figure(board: Board, backbone: str, png: bytes) -> Figure:
    return Figure(Plot(f"Test pictures with truth and prediction: {backbone}, {board.name}", png), backbone)


def expected_of(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return what a report expects to find: the jobs of some rows."""
    names = ["job_id", "backbone", "task", "dataset", "protocol", "seed", "is_control"]
    return [
        {**{str(name): value for name, value in row.items()}, "missing": None} for row in rows[names].to_dict("records")
    ]
