"""Effective robustness on a board: accuracy under shift beyond what accuracy on the source predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bob.metrics.robustness import MIN_REFERENCE_MODELS as LEAST
from bob.metrics.robustness import effective_robustness
from bob.reporting.report_data import Board, Entry

SHIFTED, CLEAN, EFFECTIVE = "mean_accuracy", "source_top1", "effective_robustness"


def add_effective_robustness(boards: Sequence[Board], reference: Sequence[str] | None) -> list[Board]:
    """Add to every board of shifted accuracies how far its entries lie above the line, or say why there is none.

    The line (``bob.metrics.robustness``) goes through the suite's reference set if enough of it is on the board, else
    through all candidates; never through a control, which is shown all the same. The board's notes say which.

    Args:
        boards: The boards; those of another metric stay as they are.
        reference: The suite's reference set; None if it names none.
    """
    return [_with_robustness(board, set(reference or ())) if board.metric == SHIFTED else board for board in boards]


def _with_robustness(board: Board, reference: set[str]) -> Board:
    scored = [entry for entry in board.entries if CLEAN in entry.metrics]
    fitted, said = _fitted(scored, reference)
    if len(fitted) < LEAST:
        return _noted(board, f"no effective robustness: {len(fitted)} candidates have {CLEAN}, a line needs {LEAST}")
    if board.test_pictures is None:
        return _noted(board, "no effective robustness: no row says how many test pictures there were")
    found = effective_robustness(
        [entry.metrics[CLEAN] for entry in scored],
        [entry.score for entry in scored],
        np.array([entry.backbone in fitted for entry in scored]),
        clean_pictures=board.test_pictures,
        # The outcomes are of the shifted pictures; where there are none, the sets are taken to be of one size.
        shifted_pictures=board.samples or board.test_pictures,
    )
    if found.reason is not None:
        return _noted(board, f"no effective robustness: {found.reason.rstrip('.')}")
    above = dict(zip((entry.backbone for entry in scored), map(float, found.residuals), strict=True))
    entries = tuple(_with_value(entry, above.get(entry.backbone)) for entry in board.entries)
    note = f"eff. rob.: {SHIFTED} above what {CLEAN} predicts, by a line between their logits through {said}"
    return _noted(dataclasses.replace(board, entries=entries), note)


def _fitted(scored: Sequence[Entry], reference: set[str]) -> tuple[set[str], str]:
    """Return the backbones that the line goes through, and which they are in words."""
    candidates = {entry.backbone for entry in scored if not entry.is_control}
    chosen = candidates & reference
    if len(chosen) >= LEAST:
        return chosen, f"the {len(chosen)} backbones of the suite's reference set"
    few = f"fewer than {LEAST} of the suite's reference set are here"
    return candidates, f"all {len(candidates)} candidates, as {few}"


def _with_value(entry: Entry, value: float | None) -> Entry:
    if value is None:
        return entry
    return dataclasses.replace(entry, metrics={**entry.metrics, EFFECTIVE: value})


def _noted(board: Board, note: str) -> Board:
    return dataclasses.replace(board, notes=(*board.notes, note))
