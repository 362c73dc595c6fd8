"""Two plots per board: scores with their intervals, and score against latency. Colours are told apart by everybody."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from numpy.typing import NDArray

from bob.core.text import visible
from bob.reporting.report_data import LATENCY, LATENCY_HIGH, LATENCY_LOW, Board, Entry, TrainingNoise

# Blue, vermilion and grey of Okabe and Ito's palette, each with a marker of its own.
FRONT, CANDIDATE, CONTROL = ("#D55E00", "D"), ("#0072B2", "o"), ("#6b6b6b", "s")
_ROW_IN = 0.27
DPI = 130
LABEL_PT = 8
LABEL_LENGTH = 100
TITLE_LENGTH = 200


def interval_plot(board: Board) -> bytes:
    """Return a PNG: one line per backbone, its score and 95 % interval, the best on top."""
    entries = board.entries
    figure, axes = _figure(height_in=1.3 + _ROW_IN * len(entries))
    for row, entry in enumerate(entries):
        color, marker = CONTROL if entry.is_control else CANDIDATE
        if entry.low is not None and entry.high is not None:
            axes.plot([entry.low, entry.high], [row, row], color=color, linewidth=1.6, solid_capstyle="butt")
        filled = color if entry.is_control or entry.tied in (True, None) else "white"
        axes.plot(entry.score, row, marker, color=color, markerfacecolor=filled, markersize=5.5)
    axes.set_yticks(range(len(entries)), [label(entry) for entry in entries], fontsize=LABEL_PT, parse_math=False)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_xlabel(f"{drawable(board.metric, LABEL_LENGTH)}, with 95 % interval", parse_math=False)
    has_test = any(entry.tied is not None for entry in entries)
    unknown = board.comparison.noise is TrainingNoise.UNKNOWN
    meaning = "below the best, by test pictures alone" if unknown else "significantly below the best"
    _title(axes, board, f"open marker: {meaning}" if has_test else "no paired test")
    return to_png(figure)


def latency_plot(board: Board) -> bytes | None:
    """Return a PNG of score against latency, the Pareto front joined; None if fewer than two latencies are known."""
    entries = sorted((entry for entry in board.entries if LATENCY in entry.costs), key=lambda entry: -entry.score)
    if len(entries) < 2:
        return None
    figure, axes = _figure(height_in=max(3.6, 1.3 + 0.21 * len(entries)))
    front = sorted((entry for entry in entries if entry.pareto), key=lambda entry: entry.costs[LATENCY])
    axes.plot([e.costs[LATENCY] for e in front], [e.score for e in front], color=FRONT[0], linewidth=1, alpha=0.6)
    for entry in entries:
        color, marker = FRONT if entry.pareto else CONTROL if entry.is_control else CANDIDATE
        middle = entry.costs[LATENCY]
        ends = (entry.costs.get(LATENCY_LOW, middle), entry.costs.get(LATENCY_HIGH, middle))
        axes.plot(ends, (entry.score, entry.score), color=color, linewidth=1)
        axes.plot(middle, entry.score, marker, color=color, markersize=6)
    names = (LATENCY, LATENCY_LOW, LATENCY_HIGH)
    shown = [entry.costs[name] for entry in entries for name in names if name in entry.costs]
    _log_axis(axes, shown)
    measured = textwrap.fill(f"({drawable(board.measured_at, TITLE_LENGTH)})", 80)
    axes.set_xlabel(
        f"latency at batch 1, median with 95 % interval, ms\n{measured}", loc="left", fontsize=9, parse_math=False
    )
    axes.set_ylabel(drawable(board.metric, LABEL_LENGTH), parse_math=False)
    axes.margins(y=0.08)
    _margin_labels(axes, entries)
    _title(axes, board, "diamonds: every candidate that is as good is slower, intervals apart")
    return to_png(figure)


def spread(wanted: Sequence[float], gap: float) -> NDArray[np.float64]:
    """Return positions in ascending order, at least ``gap`` apart and as near to the wanted ones as that allows.

    The wanted ones are ascending. Runs that would overlap become a block around the mean of their wishes
    (pool-adjacent-violators on the positions less their share of gaps).
    """
    offsets = np.arange(len(wanted)) * gap
    blocks: list[list[float]] = []
    for value in np.asarray(wanted, dtype=float) - offsets:
        blocks.append([value])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return np.concatenate([np.full(len(block), np.mean(block)) for block in blocks] or [np.zeros(0)]) + offsets


def _margin_labels(axes: Axes, entries: Sequence[Entry]) -> None:
    """Name the points in the right margin, each joined to its point: names never overlap, however near the points."""
    low, high = axes.get_ylim()
    height_pt = axes.bbox.height / DPI * 72
    gap = (LABEL_PT + 3) / height_pt
    ascending = sorted(entries, key=lambda entry: entry.score)
    places = spread([(entry.score - low) / (high - low) for entry in ascending], gap)
    # Keep the pile inside the axes where it fits.
    places += max(0.0, -places[0]) if places[0] < 0 else min(0.0, 0.97 - places[-1])
    for entry, place in zip(ascending, places, strict=True):
        axes.annotate(
            label(entry),
            xy=(entry.costs[LATENCY], entry.score),
            xytext=(1.03, float(place)),
            textcoords="axes fraction",
            fontsize=LABEL_PT,
            va="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "#b5b5b5",
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )


def _log_axis(axes: Axes, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 1.15, max(values) * 1.15)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _figure(*, height_in: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.6, min(height_in, 40.0)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Give axes a light grid behind what is drawn, and no frame above and to the right."""
    axes.grid(axis="both", color="#e4e4e4", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def title(board: Board, second: str) -> str:
    """Return the board's name and a second line, which begins with a warning if the data are smoke."""
    smoke = "smoke data: not for choosing a backbone; " if board.smoke else ""
    return f"{drawable(board.name, TITLE_LENGTH)}\n{smoke}{second}"


def _title(axes: Axes, board: Board, second: str) -> None:
    axes.set_title(title(board, second), loc="left", fontsize=9, parse_math=False)


def label(entry: Entry) -> str:
    """Return the backbone's name, a control's marked as one."""
    return drawable(entry.backbone, LABEL_LENGTH) + (" (control)" if entry.is_control else "")


def drawable(text: str, length: int) -> str:
    """Return a name that can be drawn: without control characters, and no longer than anyone reads."""
    text = visible(text)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG bytes that depend on nothing but the figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
