"""Resampled test sets: which pictures each one draws, the same for every backbone that is tested on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bob.core.errors import DataError

RESAMPLES = 1000
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


def percentile_interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval of the score over resampled test sets (the percentile method).

    Args:
        replicates: (resamples,) the score on each; NaN where a test set has nothing to score (no object at all),
            which is left out.
        level: Coverage aimed at, in (0, 1).

    Raises:
        DataError: No resampled test set has a score.
    """
    values = np.asarray(replicates, dtype=np.float64)
    values = values[~np.isnan(values)]
    if values.size == 0:
        raise DataError("no resampled test set has anything to score: expected labelled objects or pixels in test.")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
