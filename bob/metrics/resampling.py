"""Resampled test sets: which pictures each one draws, the same for every backbone that is tested on them.

A score that is no mean over pictures (AP, mIoU, AUROC) is computed again on each. Its interval follows from how it
varies there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bob.core.errors import DataError
from bob.metrics.interval import LEVEL, alike, score_interval

RESAMPLES = 1000
LEFT_OUT = 200
_BLOCK_CELLS = 1_000_000


def resampled_counts(samples: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Yield blocks of int64 (block, samples): how often each sample is in each resampled test set.

    A test set is ``samples`` draws with replacement (Efron and Tibshirani 1993, chapter 13). The draws depend on
    ``samples`` and ``seed`` alone: fewer resamples are the first of more.

    Raises:
        DataError: There is no sample.
    """
    if samples < 1:
        raise DataError("there is no test sample to resample: expected at least one.")
    generator = np.random.default_rng(seed)
    block = max(1, min(100, _BLOCK_CELLS // samples))
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        # Always a whole block is drawn, so that how many are asked for changes none of them.
        drawn = generator.integers(0, samples, size=(block, samples))[:size]
        drawn += np.arange(size)[:, None] * samples
        yield np.bincount(drawn.ravel(), minlength=size * samples).reshape(size, samples)


def left_out_counts(samples: int, *, groups: int = LEFT_OUT) -> np.ndarray:
    """Return int64 (groups, samples): 0 for the samples that each test set of a jackknife leaves out, 1 for the others.

    Each leaves out one sample, or of more than ``groups`` samples an equal share of them, drawn once.
    """
    groups = min(groups, samples)
    group = np.random.default_rng(0).permutation(samples) % groups
    return (group[None] != np.arange(groups)[:, None]).astype(np.int64)


@dataclass(frozen=True)
class Spread:
    """How a score varies over test sets of its size.

    Attributes:
        variance: Its variance.
        bias: How far it lies on average above what it is on all pictures.
        freedom: Degrees of freedom of the variance.
    """

    variance: float
    bias: float = 0.0
    freedom: float = math.inf

    def interval(self, score: float, *, samples: int, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of the score, of so many test samples; see ``score_interval``."""
        return score_interval(score, self.variance, samples=samples, bias=self.bias, freedom=self.freedom, level=level)


def spread_of(score: float, replicates: np.ndarray, left_out: np.ndarray | None = None) -> Spread:
    """Return how a score varies, from its values on other test sets.

    The bias is the bootstrap's (Efron and Tibshirani 1993, chapter 10). The bootstrap's variance is too small for
    AP and mIoU of few pictures, because a resample never has a rare class that the test set lacks; the jackknife's
    (chapter 11) sees how much hangs on each picture. The larger of the two counts. The fewer pictures carry the
    score, the less is known of its variance: its degrees of freedom are n / (k - 1), k the kurtosis of the n pictures'
    influences. That is half of what the variance of a sample variance gives (Satterthwaite 1946), as k is estimated
    too low.

    Args:
        score: On the test set.
        replicates: (resamples,) on each resampled test set; NaN where one has nothing to score, which is left out.
        left_out: (groups,) on each test set of ``left_out_counts``; None for scores whose bootstrap variance is right.

    Raises:
        DataError: No resampled test set has a score.
    """
    values = np.asarray(replicates, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise DataError("no resampled test set has anything to score: expected labelled objects or pixels in test.")
    variance = 0.0 if alike(values) else float(values.var(ddof=1))
    bias = float(values.mean()) - score
    if left_out is None or len(left_out) < 2:
        return Spread(variance, bias)
    # Without its only objects a test set has no score: such a picture counts as one that changes nothing.
    influences = np.where(np.isnan(left_out), score, left_out)
    influences = influences - influences.mean()
    groups, squares = len(influences), float((influences**2).sum())
    if alike(influences):
        return Spread(variance, bias)
    kurtosis = groups * float((influences**4).sum()) / squares**2
    freedom = max(groups / max(kurtosis - 1, 0.5), 2.0)
    return Spread(max(variance, squares * (groups - 1) / groups), bias, freedom)


def mean_spread(parts: Sequence[Spread]) -> Spread:
    """Return the spread of the mean of scores of independent test sets."""
    count = len(parts)
    variance = sum(part.variance for part in parts)
    # Satterthwaite (1946): the degrees of freedom of a sum of variances.
    known = sum(part.variance**2 / part.freedom for part in parts)
    return Spread(
        variance / count**2, sum(part.bias for part in parts) / count, variance**2 / known if known else math.inf
    )
