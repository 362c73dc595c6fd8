"""Ranks, z-scores, intervals and paired tests: arrays in, numbers out.

Replicates are (resamples, backbones): the score of every backbone on the same resampled test sets, so that every
comparison is paired. Where scores are means over test samples, ``resampled_means`` makes them from the outcomes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bob.metrics.resampling import resampled_counts

Floats = NDArray[np.float64]

ALPHA = 0.05
MIN_REFERENCE = 5
RESAMPLES = 5000


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


def mcnemar_exact(first: Floats, second: Floats) -> float:
    """Return the two-sided p-value of the exact McNemar test on paired 0/1 outcomes (Fagerland et al. 2013, eq. 2).

    Raises:
        ValueError: The outcomes differ in shape or are not all 0 or 1.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape or not (is_binary(first) and is_binary(second)):
        raise ValueError("McNemar's test needs two arrays of 0/1 outcomes of the same samples")
    only_first = int(np.sum((first == 1) & (second == 0)))
    only_second = int(np.sum((first == 0) & (second == 1)))
    if only_first + only_second == 0:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second, 0.5).pvalue)


def resampled_means(outcomes: Floats, *, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Return bootstrap means, (resamples, backbones): every backbone is scored on the same resampled test samples."""
    matrix = np.atleast_2d(np.asarray(outcomes, dtype=float))
    samples = matrix.shape[1]
    drawn = resampled_counts(samples, seed=seed, resamples=resamples)
    return np.concatenate([(counts / samples) @ matrix.T for counts in drawn])


def bootstrap_p_values(scores: Floats, replicates: Floats, best: int) -> Floats:
    """Return for each backbone the two-sided p-value of "it scores as the best one does", by a paired bootstrap.

    The differences on resampled test sets are taken around the observed difference, which is what the null hypothesis
    says (Efron and Tibshirani 1993, ch. 16); the observed one counts as one resample, so no p-value is zero.

    Args:
        scores: (backbones,).
        replicates: (resamples, backbones).
        best: Index of the best.
    """
    observed = scores - scores[best]
    moved = replicates - replicates[:, [best]] - observed
    extreme = np.abs(moved) >= np.abs(observed) - 1e-12
    return (extreme.sum(axis=0) + 1) / (len(replicates) + 1)


def holm(p_values: Floats) -> Floats:
    """Return p-values adjusted for their number by Holm's step-down method (Holm 1979)."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(values.size, 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def compare_to_best(
    scores: Floats, replicates: Floats, *, best: int | None = None, outcomes: Floats | None = None
) -> Floats:
    """Return Holm-adjusted p-values of each backbone against the best one (1 for the best itself).

    Args:
        scores: (backbones,).
        replicates: (resamples, backbones).
        best: Index of the best; by default the one of the highest score.
        outcomes: (backbones, samples) 0/1 outcomes of single runs, which take McNemar's exact test; None where there
            are none: that takes the paired bootstrap.
    """
    best = int(np.argmax(scores)) if best is None else best
    others = [row for row in range(len(scores)) if row != best]
    adjusted = np.ones(len(scores))
    if not others:
        return adjusted
    if outcomes is not None:
        raw = np.array([mcnemar_exact(outcomes[row], outcomes[best]) for row in others])
    else:
        raw = bootstrap_p_values(scores, replicates, best)[others]
    adjusted[others] = holm(raw)
    return adjusted


def rank_intervals(replicates: Floats, *, level: float = 0.95) -> NDArray[np.int64]:
    """Return (backbones, 2): the central interval of each backbone's rank over the resampled test sets."""
    drawn = stats.rankdata(-replicates, method="min", axis=1)
    tail = (1 - level) / 2
    low = np.quantile(drawn, tail, axis=0, method="inverted_cdf")
    high = np.quantile(drawn, 1 - tail, axis=0, method="inverted_cdf")
    return np.stack([low, high], axis=1).astype(np.int64)


def score_intervals(replicates: Floats, *, level: float = 0.95) -> Floats:
    """Return (backbones, 2): the percentile interval of each backbone's score."""
    tail = (1 - level) / 2
    return np.quantile(replicates, [tail, 1 - tail], axis=0).T


def pareto_front(scores: Floats, costs: Floats) -> NDArray[np.bool_]:
    """Return which backbones no other beats: none scores at least as high at no more cost, one of the two strictly.

    A backbone whose cost is not known (NaN) is not on the front.
    """
    scores, costs = np.asarray(scores, dtype=float), np.asarray(costs, dtype=float)
    no_worse = (scores[None, :] >= scores[:, None]) & (costs[None, :] <= costs[:, None])
    better = (scores[None, :] > scores[:, None]) | (costs[None, :] < costs[:, None])
    return ~np.any(no_worse & better, axis=1) & np.isfinite(costs)


def is_binary(values: NDArray[np.generic]) -> bool:
    """Tell whether all values are 0 or 1."""
    return bool(np.all((values == 0) | (values == 1)))
