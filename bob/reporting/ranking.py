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


def pareto_front(scores: Floats, costs: Floats) -> NDArray[np.bool_]:
    """Return which backbones no other beats: none scores at least as high at no more cost, one of the two strictly.

    A backbone whose cost is not known (NaN) is not on the front.
    """
    scores, costs = np.asarray(scores, dtype=float), np.asarray(costs, dtype=float)
    no_worse = (scores[None, :] >= scores[:, None]) & (costs[None, :] <= costs[:, None])
    better = (scores[None, :] > scores[:, None]) | (costs[None, :] < costs[:, None])
    return ~np.any(no_worse & better, axis=1) & np.isfinite(costs)
