"""Ranks, z-scores and fronts: arrays in, numbers out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

ALPHA = 0.05
MIN_REFERENCE = 5


def ranks(scores: Floats) -> NDArray[np.int64]:
    """Return the rank of each score, 1 for the highest; equal scores share the best of their ranks."""
    return stats.rankdata(-np.asarray(scores, dtype=float), method="min").astype(np.int64)


def z_scores(scores: Floats, reference: NDArray[np.bool_]) -> Floats:
    """Return ``(score - mean) / std`` with mean and population std taken over the reference only.

    Raises:
        ValueError: The reference has fewer than two scores, or they are all equal.
    """
    scores = np.asarray(scores, dtype=float)
    chosen = scores[np.asarray(reference, dtype=bool)]
    if chosen.size < 2 or float(np.ptp(chosen)) == 0.0:
        raise ValueError(f"a z-score needs two different reference scores, not {chosen.tolist()}")
    return (scores - chosen.mean()) / chosen.std()


def pareto_front(scores: Floats, lows: Floats, highs: Floats) -> NDArray[np.bool_]:
    """Return which backbones are known to be on the front of score and cost.

    One is if every other that scores at least as high costs more, the intervals of the two costs apart. A backbone
    whose interval is not known (NaN) is not on the front, and nor is any that it may beat.

    Args:
        scores: (n,) higher is better.
        lows: (n,) lower ends of the costs' intervals.
        highs: (n,) upper ends.
    """
    scores, lows, highs = (np.asarray(values, dtype=float) for values in (scores, lows, highs))
    rivals = (scores[None, :] >= scores[:, None]) & ~np.eye(len(scores), dtype=bool)
    cheaper = highs[:, None] < lows[None, :]
    return np.all(cheaper | ~rivals, axis=1) & np.isfinite(lows) & np.isfinite(highs)
