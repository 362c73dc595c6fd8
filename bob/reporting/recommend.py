"""Which backbone to take under limits of latency and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bob.reporting.ranking import ALPHA, pareto_front
from bob.reporting.report_data import LATENCY, Board, Entry, TrainingNoise

MEMORY = "infer_peak_mb_b1"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """An answer for one board.

    Attributes:
        best: The candidate of the highest score within the limits; None if none is.
        tied: Candidates within the limits that do not differ significantly from it.
        fastest: The one of the least latency among the best and the tied, if its interval is apart from all others;
            else None. A latency measured on a busy host counts as unknown throughout.
        front: Candidates within the limits that are known to be faster than every other that scores as high, fastest
            first.
        left_out: Candidates beyond a limit, or without the figure it needs.
        text: The answer in words.
    """

    best: str | None
    tied: tuple[str, ...]
    fastest: str | None
    front: tuple[str, ...]
    left_out: tuple[str, ...]
    text: str


def recommend(
    board: Board, *, max_latency_ms: float | None = None, max_memory_mb: float | None = None
) -> Recommendation:
    """Return the best candidates of a board within the limits.

    Args:
        board: The board; controls are never recommended.
        max_latency_ms: Most median latency at batch 1, in ms; the whole of its interval must be within.
        max_memory_mb: Most peak memory of inference at batch 1, in MB.
    """
    limits = {LATENCY: max_latency_ms, MEMORY: max_memory_mb}
    usable = [entry for entry in board.candidates if not entry.is_collapsed]
    within = [entry for entry in usable if all(_fits(entry, name, limit) for name, limit in limits.items())]
    left_out = tuple(entry.backbone for entry in board.candidates if entry not in within)
    if not within:
        scope = _limits_text(limits)
        text = f"No candidate is {scope}." if usable and scope else "No candidate can be recommended."
        text += _left_out_text(board)
        return Recommendation(best=None, tied=(), fastest=None, front=(), left_out=left_out, text=text)
    best = max(within, key=lambda entry: entry.score)
    tied = _tied_with(board, within, best)
    fastest = _fastest([best, *(tied or ())])
    return Recommendation(
        best=best.backbone,
        tied=tuple(entry.backbone for entry in tied or ()),
        fastest=fastest[0].backbone if len(fastest) == 1 else None,
        front=_front(within),
        left_out=left_out,
        text=_text(board, within, tied, fastest, limits) + _left_out_text(board),
    )


def _fits(entry: Entry, name: str, limit: float | None) -> bool:
    # A figure that is not there is NaN, which fits no limit.
    if name == LATENCY:
        high = entry.latency_interval[1]
        value = entry.fair_latency_ms if math.isnan(high) else high
    else:
        value = entry.costs.get(name, math.nan)
    return limit is None or value <= limit


def _fastest(entries: Sequence[Entry]) -> list[Entry]:
    """Return the one of the least latency and all that may be as fast, fastest first; none if no interval is known.

    What has no interval may be as fast as any, and comes last.
    """
    unknown = [entry for entry in entries if math.isnan(entry.latency_interval[1])]
    timed = sorted((entry for entry in entries if entry not in unknown), key=lambda entry: entry.fair_latency_ms)
    if not timed:
        return []
    return [entry for entry in timed if entry.latency_interval[0] <= timed[0].latency_interval[1]] + unknown


def _left_out_text(board: Board) -> str:
    said = ""
    if collapsed := [entry.backbone for entry in board.candidates if entry.is_collapsed]:
        said += f" Not considered, as its features are the same for every picture: {', '.join(collapsed)}."
    busy = [entry.backbone for entry in board.candidates if entry.is_busy]
    return said + (f" Left out of account, as the host was busy: the latency of {', '.join(busy)}." if busy else "")


def _tied_with(board: Board, within: list[Entry], best: Entry) -> list[Entry] | None:
    """Return who does not differ significantly from the best within the limits; None if there is no test of them all.

    The p-values hold for all pairs at once, so a best that is chosen within limits needs no further adjustment.
    """
    comparison = board.comparison
    if not {entry.backbone for entry in within} <= set(comparison.names):
        return None
    return [e for e in within if e is not best and comparison.p_value(e.backbone, best.backbone) >= ALPHA]


def _front(within: list[Entry]) -> tuple[str, ...]:
    scores = np.array([entry.score for entry in within])
    lows, highs = np.array([entry.latency_interval for entry in within]).T
    chosen = [entry for entry, on in zip(within, pareto_front(scores, lows, highs), strict=True) if on]
    return tuple(entry.backbone for entry in sorted(chosen, key=lambda entry: entry.costs[LATENCY]))


def _limits_text(limits: dict[str, float | None]) -> str:
    said = []
    if limits[LATENCY] is not None:
        said.append(f"within {limits[LATENCY]:g} ms at batch 1")
    if limits[MEMORY] is not None:
        said.append(f"within {limits[MEMORY]:g} MB at batch 1")
    return " and ".join(said)


def _text(
    board: Board,
    within: list[Entry],
    tied: list[Entry] | None,
    fastest: Sequence[Entry],
    limits: dict[str, float | None],
) -> str:
    best = max(within, key=lambda entry: entry.score)
    scope = _limits_text(limits)
    text = f"{scope[:1].upper()}{scope[1:]}, the" if scope else "The"
    text += f" highest score is {best.backbone}'s: {board.metric} {best.score:.3f}"
    text += f" [{best.low:.3f}, {best.high:.3f}]." if best.low is not None and best.high is not None else "."
    if len(within) == 1:
        text += " It is the only candidate" + (" within the limits." if scope else ".")
    elif tied is None:
        text += " There is no paired test of all of them, so a small lead may be chance."
    elif tied:
        text += f" Not significantly lower: {', '.join(entry.backbone for entry in tied)}."
    elif board.comparison.noise is TrainingNoise.UNKNOWN:
        text += (
            " Every other candidate here scores lower, by more than the choice of test pictures explains. Each has one"
        )
        text += " seed, so whether another training run would keep the order is not known."
    else:
        text += " Every other candidate here scores significantly lower."
    if best.backbone in board.not_above_control:
        text += " It is not significantly above its own architecture without training."
    return text + _fastest_text(board, fastest) if tied and fastest else text


def _fastest_text(board: Board, fastest: Sequence[Entry]) -> str:
    said = ", ".join(f"{entry.backbone} {_latency_text(entry)}" for entry in fastest)
    if len(fastest) == 1:
        return f" Of these the fastest is {said} at batch 1 ({board.measured_at})."
    measured = f"{said} at batch 1 ({board.measured_at})"
    return f" Which of these is the fastest is not known, as latencies overlap or are not known: {measured}."


def _latency_text(entry: Entry) -> str:
    low, high = entry.latency_interval
    if math.isnan(low) or math.isnan(high):
        return "(no latency from a quiet host with an interval)"
    return f"{entry.costs[LATENCY]:.3g} ms [{low:.3g}, {high:.3g}]"
