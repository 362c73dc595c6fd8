"""What a reader must know of a board's latencies before believing them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bob.jobs.profiles import OTHERS
from bob.reporting.report_data import LATENCY, Board, Entry

NAMED_AT_MOST = 3


def profile_notes(board: Board) -> tuple[str, ...]:
    """Return sentences about the profiles of a board: disturbed, wide, from several runs, or in an odd order."""
    entries = [entry for entry in board.entries if LATENCY in entry.costs]
    return (*_disturbed(entries), *_wide(entries), *_runs(entries), *odd_orders(board))


def odd_orders(board: Board) -> tuple[str, ...]:
    """Point at backbones that came out faster than one of fewer multiply-adds and the same kinds of layers.

    Such an order may be true, and is more often a fault of the measurement or of the machine. Where both latencies have
    intervals, these must be apart: of an order that is not told there is nothing to say.
    """
    entries = board.candidates or board.entries
    pairs = [(large, small) for large in entries for small in entries if _is_odd(large, small)]
    said = [
        f"{large.backbone} has more multiply-adds than {small.backbone} ({large.costs['gmacs']:.3g} G against "
        f"{small.costs['gmacs']:.3g} G) in the same kinds of layers, and came out faster "
        f"({large.costs[LATENCY]:.3g} ms against {small.costs[LATENCY]:.3g} ms): look into it before relying on it."
        for large, small in pairs[:NAMED_AT_MOST]
    ]
    more = len(pairs) - NAMED_AT_MOST
    return (*said, *([f"So did {more} more pair{'s' if more > 1 else ''}."] if more > 0 else []))


def _is_odd(large: Entry, small: Entry) -> bool:
    if large.layer_kinds is None or large.layer_kinds != small.layer_kinds:
        return False
    if not large.costs.get("gmacs", math.nan) > small.costs.get("gmacs", math.nan):
        return False
    high, low = large.latency_interval[1], small.latency_interval[0]
    if math.isnan(high) or math.isnan(low):
        return large.fair_latency_ms < small.fair_latency_ms
    return high < low


def _disturbed(entries: Sequence[Entry]) -> tuple[str, ...]:
    busy = [entry.costs[OTHERS] for entry in entries if entry.is_busy]
    if not busy:
        return ()
    return (
        f"The host was busy: others took up to {max(busy):.0%} of its CPU time during a profile, so times are too "
        "long. Give the same 'bob run' again when it is quiet: the profiles are taken again.",
    )


def _wide(entries: Sequence[Entry]) -> tuple[str, ...]:
    wide = sorted({entry.backbone for entry in entries if entry.profile_within is False and not entry.is_busy})
    if not wide:
        return ()
    named = ", ".join(wide[:NAMED_AT_MOST]) + (f" and {len(wide) - NAMED_AT_MOST} more" if wide[NAMED_AT_MOST:] else "")
    return (f"Wider than 5 % when the time for rounds was over: the latency or throughput of {named}.",)


def _runs(entries: Sequence[Entry]) -> tuple[str, ...]:
    runs = {entry.profile_run for entry in entries}
    if len(runs) < 2:
        return ()
    return (f"The profiles come from {len(runs)} runs; only within one do backbones take turns on the same machine.",)
