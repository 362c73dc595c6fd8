"""The reliability diagram of a board: accuracy by confidence, before and after temperature scaling."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bob.core.errors import BobError
from bob.metrics.reliability_bins import ECE_BINS, check_confidence, diagram_error, reliability
from bob.reporting.plots import CANDIDATE, CONTROL, DPI, LABEL_PT, label, plain, title, to_png
from bob.reporting.report_data import Board, Entry

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

BEFORE, AFTER = "confidence", "confidence_scaled"
COLUMNS = (BEFORE, AFTER, "label", "prediction", "outcome")
PANELS = {BEFORE: "before temperature scaling", AFTER: "after temperature scaling"}
TOP, COUNTS_AT = 1.48, 1.04  # above accuracy 1: a line of counts, then the legend

Outcomes = Callable[[str], "pd.DataFrame | None"]


@dataclass(frozen=True, kw_only=True)
class Confidences:
    """How sure one job was of its prediction for each test sample, and whether it was right.

    Attributes:
        entry: Its backbone.
        confidence: (n,) by column name, before and after scaling, each in [0, 1].
        correct: (n,) booleans.
        is_mean: Whether these are the mean probabilities of several draws.
    """

    entry: Entry
    confidence: dict[str, np.ndarray]
    correct: np.ndarray
    is_mean: bool


def reliability_plot(board: Board, outcomes: Outcomes) -> bytes | None:
    """Return a PNG: the best candidate and the best control, each before and after scaling, as bars of accuracy.

    A backbone's bars are those of its first seed. Those of a mean over draws are of the draws' mean probabilities, so
    its ECE is not the row's, which is the mean of the draws' own.

    Args:
        board: The board.
        outcomes: Called with a job id; returns the columns ``COLUMNS`` of the outcomes, those that are there.

    Returns:
        None if the best candidate (of a board of controls alone: the best control) left no such outcomes, or, with a
        logged warning, none that are confidences.
    """
    best = next(iter(board.candidates), None)
    control = next((entry for entry in board.entries if entry.is_control), None)
    found = [_confidences(entry, outcomes) for entry in (best, control) if entry is not None]
    if not found or found[0] is None:
        return None
    shown = [each for each in found if each is not None]
    figure = Figure(figsize=(7.6, 0.9 + 2.75 * len(shown)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), len(PANELS), squeeze=False, sharex=True, sharey=True)
    for row, each in zip(panels, shown, strict=True):
        for axes, column in zip(row, PANELS, strict=True):
            _draw(axes, each, column)
        row[0].set_ylabel("accuracy", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("confidence", fontsize=9)
    figure.suptitle(title(board, _caption(shown)), x=0.01, ha="left", fontsize=9, parse_math=False)
    return to_png(figure)


def _confidences(entry: Entry, outcomes: Outcomes) -> Confidences | None:
    table = None if entry.job is None else outcomes(entry.job)
    if table is None or not set(COLUMNS) <= set(table.columns) or table.empty:
        return None
    confidence = {name: table[name].to_numpy(dtype=float) for name in PANELS}
    correct = (table["prediction"] == table["label"]).to_numpy()
    try:
        for values in confidence.values():
            check_confidence(values, correct, ECE_BINS)
    except (BobError, ValueError) as error:
        log.warning("The reliability diagram of job %s (%s) is left out: %s", entry.job, entry.backbone, error)
        return None
    return Confidences(
        entry=entry,
        confidence=confidence,
        correct=correct,
        is_mean=not table["outcome"].isin((0, 1)).all(),
    )


def _caption(shown: list[Confidences]) -> str:
    caption = "accuracy by confidence\nnumbers: test pictures per bin; dashed: as sure as right"
    of = ["of the first seed"] if any(len(each.entry.seeds) > 1 for each in shown) else []
    of += ["of the draws' mean probabilities, whose ECE is not the draws' own"] if shown[0].is_mean else []
    return "\n".join([caption, *[", ".join(of)] * bool(of)])


def _draw(axes: Axes, shown: Confidences, column: str) -> None:
    bars = reliability(shown.confidence[column], shown.correct)
    error = diagram_error(shown.confidence[column], shown.correct)
    color, _ = CONTROL if shown.entry.is_control else CANDIDATE
    full = bars.counts > 0
    left, width = bars.edges[:-1][full], np.diff(bars.edges)[full]
    drawn = axes.bar(left, bars.accuracy[full], width, align="edge", color=color, edgecolor="white", linewidth=0.6)
    drawn.set_label(f"ECE of the mean {error:.3f}" if shown.is_mean else f"ECE {error:.3f}")
    axes.plot([0, 1], [0, 1], "--", color="#1b1f24", linewidth=0.9)
    for middle, count in zip(left + width / 2, bars.counts[full], strict=True):
        axes.text(middle, COUNTS_AT, str(count), fontsize=6.5, rotation=90, ha="center", va="bottom")
    plain(axes)
    axes.set(xlim=(0, 1), ylim=(0, TOP), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
    axes.tick_params(labelsize=LABEL_PT)
    axes.set_title(f"{label(shown.entry)}\n{PANELS[column]}", loc="left", fontsize=LABEL_PT, parse_math=False)
    axes.legend(loc="upper left", fontsize=LABEL_PT, frameon=False, borderpad=0)
