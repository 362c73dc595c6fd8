"""Intervals of a score by resampling test samples, and the exact bound where resampling has no width."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from bob.core.errors import DataError, NumericalError

CHUNK_VALUES = 4_000_000


def bootstrap_interval(
    outcomes: ArrayLike, *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval (Efron and Tibshirani 1993, chapter 13) of the mean of ``outcomes``.

    Args:
        outcomes: (n,) each test sample's contribution to the score, in [0, 1].
        seed: Of the resampling; the same outcomes always give the same interval.
        resamples: How many times the n samples are drawn with replacement.
        level: Coverage aimed at, in (0, 1).

    Returns:
        (low, high). Resamples of equal outcomes are all equal, which would say "certain" after one picture: there the
        exact Clopper-Pearson interval is given (for k of n, the beta quantiles Beta(k, n - k + 1) and
        Beta(k + 1, n - k), with k = the sum of the outcomes).

    Raises:
        DataError: There is no outcome.
        NumericalError: An outcome is NaN or infinite.
        ValueError: ``outcomes`` is not one-dimensional, or has values outside [0, 1].
    """
    values = _checked(outcomes, dimensions=1)
    distinct, counts = np.unique(values, return_counts=True)
    n = len(values)
    if len(distinct) == 1:
        return clopper_pearson(float(distinct[0]) * n, n, level=level)
    # Drawing how often each distinct value comes up is the same experiment as drawing n samples, and far cheaper.
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK_VALUES // len(distinct))
    means = [
        rng.multinomial(n, counts / n, size=min(rows, resamples - start)) @ distinct / n
        for start in range(0, resamples, rows)
    ]
    return _percentiles(np.concatenate(means), level=level)


def crossed_bootstrap_interval(
    outcomes: ArrayLike, *, seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Return the interval of the mean of ``outcomes`` (draws, n), resampling draws and test samples independently.

    Both are random in a few-shot score, and they cross: each draw is scored on the same n samples (the two-way
    resampling of Owen 2007, "The pigeonhole bootstrap"). With one draw, or equal outcomes everywhere, this is
    ``bootstrap_interval`` of the samples' means. Errors as there.
    """
    values = _checked(outcomes, dimensions=2)
    draws, n = values.shape
    if draws == 1 or values.min() == values.max():
        return bootstrap_interval(values.mean(axis=0), seed=seed, resamples=resamples, level=level)
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK_VALUES // (n + draws))
    means = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        draw_counts = rng.multinomial(draws, np.full(draws, 1 / draws), size=size)
        sample_counts = rng.multinomial(n, np.full(n, 1 / n), size=size)
        means.append(((draw_counts @ values) * sample_counts).sum(axis=1) / (draws * n))
    return _percentiles(np.concatenate(means), level=level)


def clopper_pearson(successes: float, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the exact binomial interval for ``successes`` of ``n`` (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if successes <= 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def _percentiles(means: np.ndarray, *, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _checked(outcomes: ArrayLike, *, dimensions: int) -> np.ndarray:
    values = np.asarray(outcomes, dtype=np.float64)
    if values.ndim != dimensions:
        raise ValueError(f"outcomes must have {dimensions} dimension(s), got shape {values.shape}.")
    if values.size == 0:
        raise DataError("there is no outcome to resample: expected at least one test sample.")
    if not np.isfinite(values).all():
        raise NumericalError(f"{int((~np.isfinite(values)).sum())} of {values.size} outcomes are not finite.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"outcomes must lie in [0, 1], got {values.min()} to {values.max()}.")
    return values
