"""The tables of a report, as text cells with sort values: the terminal, Markdown and HTML render these same tables."""

from __future__ import annotations

import functools
import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bob.metrics.reliability_bins import ECE_BINS
from bob.reporting.profile_notes import profile_notes
from bob.reporting.report_data import (
    CALIBRATION,
    FURTHER,
    LATENCY_HIGH,
    LATENCY_LOW,
    Board,
    Coverage,
    Entry,
    OverallEntry,
    TrainingNoise,
)

NONE = "–"
TIED = "≈"
SIGNED = ("effective_robustness",)  # differences: their sign is the point


@dataclass(frozen=True)
class Head:
    """A column's head.

    Attributes:
        title: What stands above it.
        help: What it means, for a tooltip or a legend.
        numeric: Whether it is aligned to the right.
        wide_only: Whether a narrow terminal leaves it out.
    """

    title: str
    help: str = ""
    numeric: bool = True
    wide_only: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell.

    Attributes:
        text: What is shown.
        value: What it is sorted by; None sorts last.
    """

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: Its title.
        heads: Its columns.
        rows: Its cells.
        caption: Sentences below it.
        muted: Indices of rows that are no candidates.
    """

    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: tuple[str, ...] = ()
    muted: frozenset[int] = frozenset()


def number(value: float | None, form: str = ".3f") -> Cell:
    """Return a number's cell, a dash for None."""
    return Cell(NONE) if value is None else Cell(format(value, form), value)


def significant(value: float | None, digits: int = 3) -> Cell:
    """Return a cell with so many significant digits and no exponent."""
    if value is None:
        return Cell(NONE)
    if value == 0 or abs(value) >= 10 ** (digits - 1):
        return Cell(f"{value:.0f}", value)
    return Cell(f"{float(f'{value:.{digits}g}'):g}", value)


Columns = Sequence[tuple[Head, Callable[[Entry], Cell]]]


def score_table(board: Board) -> Table:
    """Return the ranking of a board."""
    letters = _flag_letters(board)
    columns: list[tuple[Head, Callable[[Entry], Cell]]] = [
        (Head("rank", f"1 is the best; {TIED}: not significantly different from the best; controls have none"), _rank),
        (Head("backbone", numeric=False), _name),
        (Head(board.metric, "mean over seeds, higher is better"), lambda e: number(e.score)),
        (Head("95 % interval", "of the score over all pictures like these"), lambda e: Cell(_interval(e), e.low)),
    ]
    columns += _further(board)
    if any(entry.seed_std is not None for entry in board.entries):
        columns.append((Head("seed std", "standard deviation over seeds"), lambda e: number(e.seed_std)))
    if board.z_reason is None:
        columns.append((Head("z", "score against the suite's reference set"), lambda e: number(e.z, "+.2f")))
    if any(entry.rank_low is not None for entry in board.entries):
        columns.append(
            (
                Head("ranks", "ranks that it may have; all of them are right at once in 95 %", wide_only=True),
                _rank_range,
            )
        )
    if _has_test(board):
        columns.append((Head("p", "against the best, adjusted for all pairs", wide_only=True), _p_value))
    if any("latency_ms_b1_p50" in entry.costs for entry in board.entries):
        columns.append((Head("ms p50", "latency at batch 1; *: all that score as high are slower"), _latency))
    if letters:
        columns.append((Head("notes", "explained below", numeric=False), lambda e: Cell(_letters(e, letters))))
    return _table(board, board.name, columns, _score_caption(board, letters))


def _further(board: Board) -> list[tuple[Head, Callable[[Entry], Cell]]]:
    """Return the columns of the metrics that stand beside the primary one; the second is for wide terminals."""
    present = [
        (name, title)
        for name, title in FURTHER.get(board.metric, {}).items()
        if any(name in entry.metrics for entry in board.entries)
    ]
    return [
        (Head(title, f"{name}, mean over seeds", wide_only=index > 0), functools.partial(_metric, name))
        for index, (name, title) in enumerate(present)
    ]


def _metric(name: str, entry: Entry) -> Cell:
    return number(entry.metrics.get(name), "+.3f" if name in SIGNED else ".3f")


def calibration_table(board: Board) -> Table | None:
    """Return how far the confidences of the board's backbones can be trusted; None if no row says."""
    present = {name for entry in board.entries for name in CALIBRATION if name in entry.metrics}
    if not present:
        return None
    columns: list[tuple[Head, Callable[[Entry], Cell]]] = [(Head("backbone", numeric=False), _name)]
    for name, title in CALIBRATION.items():
        if name in present:
            wide = name.startswith(("adaptive", "brier"))
            help_ = f"{name}, mean over seeds" + ("" if name == "temperature" else ", lower is better")
            make = _temperature if name == "temperature" else functools.partial(_metric, name)
            columns.append((Head(title, help_, wide_only=wide), make))
    return _table(board, f"{board.name}: calibration", columns, _calibration_caption(board, present))


def _temperature(entry: Entry) -> Cell:
    cell = significant(entry.metrics.get("temperature"))
    return Cell(cell.text + ("*" if entry.on_bound else " "), cell.value)


def _calibration_caption(board: Board, present: set[str]) -> tuple[str, ...]:
    said = [f"Lower is better. ECE: over {ECE_BINS} bins of confidence, those of the adaptive one equally full."]
    if "temperature" in present:
        said.append("(T): with the logits divided by T, which minimises the NLL of val; no rank changes.")
    if any(entry.on_bound for entry in board.entries):
        said.append("T *: on the end of its range, as val's NLL has no minimum within; (T) says little then.")
    return tuple(said)


def cost_table(board: Board) -> Table | None:
    """Return what the board's backbones cost; None if nothing was measured."""
    if not any(entry.costs for entry in board.entries):
        return None
    columns: list[tuple[Head, Callable[[Entry], Cell]]] = [
        (Head("backbone", numeric=False), _name),
        (Head("M par.", "parameters, millions"), lambda e: significant(e.costs.get("params_m"))),
        (Head("GMACs", "one picture, forward"), lambda e: significant(e.costs.get("gmacs"))),
        (Head("ms p50", "latency at batch 1"), lambda e: significant(e.costs.get("latency_ms_b1_p50"))),
        (Head("ms interval", "95 % interval of ms p50 over rounds", wide_only=True), _latency_interval),
        (Head("ms p95", "latency at batch 1", wide_only=True), lambda e: significant(e.costs.get("latency_ms_b1_p95"))),
        (Head("img/s @b", "throughput, forward"), lambda e: _at_batch(e, "throughput_img_s", "throughput_batch")),
        (Head("MB @1", "peak memory, forward, batch 1"), lambda e: significant(e.costs.get("infer_peak_mb_b1"))),
        (
            Head("MB @32", "peak memory, forward, batch 32", wide_only=True),
            lambda e: significant(e.costs.get("infer_peak_mb_b32")),
        ),
        (
            Head("train img/s @b", "training pictures a second", wide_only=True),
            _training_rate,
        ),
        (Head("MB train", "peak memory", wide_only=True), lambda e: significant(e.costs.get("train_peak_mb"))),
        (Head("px", "input side", wide_only=True), lambda e: number(e.image_size, ".0f")),
        (Head("hours/run", "device hours", wide_only=True), lambda e: significant(e.costs.get("device_hours"))),
    ]
    caption = [f"Measured at {board.measured_at}; ms: batch 1; img/s and MB: at the batch after @."]
    caption += profile_notes(board)
    return _table(board, f"{board.name}: cost", columns, tuple(caption))


def _latency(entry: Entry) -> Cell:
    latency = entry.costs.get("latency_ms_b1_p50")
    shown = significant(latency)
    return Cell(shown.text + ("*" if entry.pareto else " "), latency)


def _latency_interval(entry: Entry) -> Cell:
    low, high = entry.costs.get(LATENCY_LOW), entry.costs.get(LATENCY_HIGH)
    return Cell(NONE) if low is None or high is None else Cell(f"{significant(low).text}-{significant(high).text}", low)


def overall_table(entries: Sequence[OverallEntry]) -> Table:
    """Return the means over all boards."""
    heads = (
        Head("backbone", numeric=False),
        Head("mean z", "over all boards"),
        Head("mean rank", "over all boards, among the backbones that have them all"),
        Head("boards", "with every seed, of all"),
    )
    rows = tuple(
        (
            Cell(entry.backbone, entry.backbone),
            number(entry.mean_z, "+.2f"),
            number(entry.mean_rank, ".2f"),
            Cell(f"{entry.boards}/{entry.of}", entry.boards),
        )
        for entry in entries
    )
    caption = ("Means stand only beside backbones that have every board, so that all of them average the same boards.",)
    return Table("Overall", heads, rows, caption)


def coverage_table(coverage: Coverage) -> Table | None:
    """Return why jobs have no score and what to do; None if all have one."""
    if not coverage.reasons:
        return None
    heads = tuple(
        Head(title, numeric=title == "jobs") for title in ("status", "jobs", "why", "what to do", "backbones")
    )
    rows = tuple(
        (
            Cell(reason.status, reason.status),
            Cell(str(reason.jobs), reason.jobs),
            Cell(reason.what, reason.what),
            Cell(reason.action, reason.action),
            Cell(", ".join(reason.backbones), len(reason.backbones)),
        )
        for reason in coverage.reasons
    )
    return Table("Jobs without a score", heads, rows)


def _table(board: Board, title: str, columns: Columns, caption: tuple[str, ...]) -> Table:
    rows = tuple(tuple(make(entry) for _, make in columns) for entry in board.entries)
    muted = frozenset(row for row, entry in enumerate(board.entries) if entry.is_control)
    return Table(title, tuple(head for head, _ in columns), rows, caption, muted)


def _rank(entry: Entry) -> Cell:
    if entry.rank is None:
        return Cell(NONE)
    return Cell(f"{TIED if entry.tied and entry.rank != 1 else ''}{entry.rank}", entry.rank)


def _name(entry: Entry) -> Cell:
    return Cell(entry.backbone, entry.backbone)


def _interval(entry: Entry) -> str:
    return NONE if entry.low is None or entry.high is None else f"{entry.low:.3f}-{entry.high:.3f}"


def _rank_range(entry: Entry) -> Cell:
    if entry.rank_low is None or entry.rank_high is None:
        return Cell(NONE)
    one = entry.rank_low == entry.rank_high
    return Cell(str(entry.rank_low) if one else f"{entry.rank_low}-{entry.rank_high}", entry.rank_low)


def _p_value(entry: Entry) -> Cell:
    return Cell(NONE) if entry.p_value is None or entry.rank == 1 else number(entry.p_value, ".2g")


def _training_rate(entry: Entry) -> Cell:
    # A job that trained reports its own rate, at its own micro-batch; else it is the profile's single step.
    return _at_batch(entry, "train_img_s", "micro_batch" if "micro_batch" in entry.costs else "train_step_batch")


def _at_batch(entry: Entry, rate: str, batch: str) -> Cell:
    cell = significant(entry.costs.get(rate))
    if cell.value is None:
        return cell
    at = entry.costs.get(batch)
    return Cell(f"{cell.text} @{'?' if at is None else format(at, 'g')}", cell.value)


def _has_test(board: Board) -> bool:
    return any(entry.tied is not None for entry in board.entries)


def _flag_letters(board: Board) -> dict[str, str]:
    flags = dict.fromkeys(flag for entry in board.entries for flag in entry.flags)
    names = [*string.ascii_lowercase, *(f"{a}{b}" for a in string.ascii_lowercase for b in string.ascii_lowercase)]
    return dict(zip(flags, names, strict=False))


def _noise_caption(board: Board) -> tuple[str, ...]:
    """Return what a reader must know before believing a difference."""
    said = {
        TrainingNoise.COVERED: "{} count both test pictures and seeds.",
        TrainingNoise.POOLED: "{} count test pictures and seeds; "
        "candidates of one seed borrow the spread of the others.",
        TrainingNoise.UNKNOWN: "{} do not cover the noise of training where a candidate has one seed.",
    }
    noise = board.comparison.noise
    what = "Intervals and the test" if _has_test(board) else "Intervals"
    lines = [said[noise].format(what)] if noise in said else []
    if board.not_above_control:
        names = ", ".join(board.not_above_control)
        lines.append(f"Not significantly above the random initialisation of its architecture: {names}.")
    return tuple(lines)


def _letters(entry: Entry, letters: dict[str, str]) -> str:
    return ",".join(letters[flag] for flag in entry.flags)


def _score_caption(board: Board, letters: dict[str, str]) -> tuple[str, ...]:
    said = [f"{letter}: {flag}." for flag, letter in letters.items()]
    if any(entry.is_control for entry in board.entries):
        said.append(f"Rank {NONE}: a control, a baseline outside every rank and mean.")
    test = board.test
    said.append(
        f"Rank {TIED}: not significantly different from the best, by the {test}." if _has_test(board) else f"{test}."
    )
    said += _noise_caption(board)
    if any(entry.pareto for entry in board.entries):
        said.append("ms p50: latency at batch 1; *: every candidate that scores as high is slower, intervals apart.")
    if unknown := [entry.backbone for entry in board.candidates if math.isnan(entry.latency_interval[1])]:
        named = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else "")
        said.append(f"No latency from a quiet host with an interval: {named}; none that scores lower has a *.")
    if board.z_reason is not None:
        said.append(f"No z-score: {board.z_reason}.")
    said += [f"{note[:1].upper()}{note[1:]}." for note in board.notes]
    return tuple(said)
