"""The report for a terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable

from bob.core.text import visible
from bob.reporting.report_data import COSTS, Board
from bob.reporting.tables import Table

WIDE_COLUMNS = 120
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # also as Japanese keyboards type them
_NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?")
_MARKDOWN_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~&])")


def rich_table(table: Table, *, width: int) -> RichTable:
    """Return the table for a terminal of ``width`` columns; narrow ones get fewer columns."""
    shown = _shown(table, width)
    out = RichTable(
        title=escape(table.title),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for i in shown:
        head = table.heads[i]
        out.add_column(escape(head.title), justify="right" if head.numeric else "left", overflow="fold")
    for row, cells in enumerate(table.rows):
        out.add_row(*(escape(cells[i].text) for i in shown), style="dim" if row in table.muted else None)
    return out


def shown_cells(table: Table, *, width: int) -> tuple[tuple[str, ...], ...]:
    """Return the text of the cells that a terminal of ``width`` columns shows, rows sorted, whatever the title."""
    shown = _shown(table, width)
    heads = tuple(table.heads[i].title for i in shown)
    return (heads, *sorted(tuple(cells[i].text for i in shown) for cells in table.rows))


def _shown(table: Table, width: int) -> list[int]:
    return [i for i, head in enumerate(table.heads) if width >= WIDE_COLUMNS or not head.wide_only]


def markdown_table(table: Table) -> str:
    """Return the table with its title and caption as Markdown; names cannot break it or become markup."""
    lines = [f"### {_inert(table.title)}", ""]
    lines.append("| " + " | ".join(_inert(head.title) for head in table.heads) + " |")
    lines.append("|" + "|".join("---:" if head.numeric else ":---" for head in table.heads) + "|")
    lines += ["| " + " | ".join(_inert(cell.text) for cell in row) + " |" for row in table.rows]
    lines += [""] + [f"{_inert(sentence)}  " for sentence in table.caption]
    return "\n".join(lines).rstrip() + "\n"


def markdown_page(title: str, paragraphs: Iterable[str], tables: Iterable[Table]) -> str:
    """Return the whole report as Markdown."""
    parts = [f"# {_inert(title)}\n", *(f"{_inert(text)}\n" for text in paragraphs), *map(markdown_table, tables)]
    return "\n".join(parts)


def _inert(text: str) -> str:
    return _MARKDOWN_SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def ranking_csv(boards: Sequence[Board]) -> str:
    """Return one line per board and backbone with every figure, for other programs; empty where there is none."""
    names = sorted({name for board in boards for name in board.circumstances})
    further = sorted({name for board in boards for entry in board.entries for name in entry.metrics})
    columns = ["task", "dataset", "protocol", "variant", "metric", "rank", "backbone", "is_control", "score"]
    columns += [
        "score_low",
        "score_high",
        "seeds",
        "seed_std",
        "z",
        "rank_low",
        "rank_high",
        "p_value",
        "tied_with_best",
    ]
    columns += ["pareto", "image_size", *COSTS, "flags", "smoke", "paired_test", "z_reason"]
    columns += ["training_noise", "above_control"]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [*columns, *further, *(f"circumstance: {name}" for name in names)]
    writer.writerow([_no_formula(head) for head in heads])
    for board in boards:
        said = [board.circumstances.get(name, "") for name in names]
        for entry in board.entries:
            left = [board.task, board.dataset, board.protocol, board.variant, board.metric, entry.rank, entry.backbone]
            scores = [entry.is_control, entry.score, entry.low, entry.high, len(entry.seeds), entry.seed_std, entry.z]
            ties = [entry.rank_low, entry.rank_high, entry.p_value, entry.tied, entry.pareto, entry.image_size]
            costs = [entry.costs.get(name) for name in COSTS]
            right = ["; ".join(entry.flags), board.smoke, board.test, board.z_reason]
            right += [board.comparison.noise.value, entry.above_control]
            others = [entry.metrics.get(name) for name in further]
            cells = [*left, *scores, *ties, *costs, *right, *others, *said]
            writer.writerow([_no_formula(cell) for cell in cells])
    return out.getvalue()


def _no_formula(cell: object) -> object:
    """Return a text so that no spreadsheet computes it: ``=HYPERLINK(...)`` as a name is a link with somebody's data.

    An apostrophe in front is how spreadsheets themselves mark a text. Numbers are no texts here and stay as they are.
    """
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    is_formula = text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
