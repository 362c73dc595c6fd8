"""Confidence intervals of a score: what it would be on all pictures that the test set is a sample of.

How often these intervals cover that number was simulated, see ``docs/results.md``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from bob.core.errors import DataError, NumericalError

LEVEL = 0.95


def score_interval(
    score: float,
    variance: float,
    *,
    samples: int,
    bias: float = 0.0,
    freedom: float = math.inf,
    level: float = LEVEL,
) -> tuple[float, float]:
    """Return Wilson's interval (Wilson 1927) of any score in [0, 1], from its variance over test sets.

    The ends are the values p with (c - p)^2 = t^2 p (1 - p) / m, where c is the score less its bias, t the quantile of
    Student's distribution, and m = c (1 - c) / variance the number of yes-or-no samples whose mean varies as much.
    Of the share of 0/1 outcomes that is Wilson's interval itself. Unlike score +- t standard errors it stays in [0, 1]
    and has a width at 0 and 1.

    Args:
        score: The score on the test set, in [0, 1].
        variance: Of the score over test sets of this size. Where it is 0, all outcomes are alike and m is ``samples``.
        samples: Independent test samples.
        bias: Expected difference between the score on such a test set and the number that is asked for.
        freedom: Degrees of freedom of the variance; infinite for the normal distribution.
        level: Coverage aimed at, in (0, 1).

    Returns:
        (low, high), which include the score.
    """
    quantile = _quantile(freedom, level)
    centre = min(max(score - bias, 0.0), 1.0)
    if variance > 0:
        # At 0 and 1 itself the centre would say that no sample was seen; one standard error away it says how many.
        error = min(math.sqrt(variance), 0.5)
        inner = min(max(centre, error), 1 - error)
        m = inner * (1 - inner) / variance
    else:
        m = float(samples)
    weight = quantile**2 / m
    middle = (centre + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (centre * (1 - centre) + weight / 4)) / (1 + weight)
    return min(max(middle - half, 0.0), score), max(min(middle + half, 1.0), score)


def mean_interval(outcomes: ArrayLike, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a score that is the mean of its test samples' outcomes.

    Args:
        outcomes: (n,) each test sample's contribution to the score, in [0, 1].
        level: Coverage aimed at, in (0, 1).

    Raises:
        DataError: There is no outcome.
        NumericalError: An outcome is NaN or infinite.
        ValueError: ``outcomes`` is not one-dimensional, or has values outside [0, 1].
    """
    values = _checked(outcomes, dimensions=1)
    variance = 0.0 if alike(values) else float(values.var()) / len(values)
    return score_interval(float(values.mean()), variance, samples=len(values), level=level)


def alike(values: np.ndarray) -> bool:
    """Tell whether all values are the same up to rounding, so that their computed variance is noise."""
    return float(np.ptp(values)) <= 1e-12


def crossed_interval(outcomes: ArrayLike, *, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of a mean over draws and test samples, both of which are random, as few-shot scores are.

    Args:
        outcomes: (draws, n): each draw is scored on the same n samples.
        level: Coverage aimed at, in (0, 1).

    Raises:
        As ``mean_interval``.
    """
    values = _checked(outcomes, dimensions=2)
    pictures = mean_interval(values.mean(axis=0), level=level)
    if len(values) == 1:
        return pictures
    return widened(pictures, float(values.mean()), seed_variance(values), freedom=len(values) - 1, level=level)


def seed_variance(outcomes: np.ndarray) -> float:
    """Return the variance of a mean over runs (seeds, draws) that the runs add to that by their common samples.

    By the analysis of variance of two crossed random factors: the variance of the runs' means holds the interaction of
    run and sample, which the variance of the samples' means holds as well; see ``seed_part``.

    Args:
        outcomes: (runs, n), at least two runs.
    """
    runs, n = outcomes.shape
    by_run = outcomes.mean(axis=1)
    residual = outcomes - by_run[:, None] - outcomes.mean(axis=0) + by_run.mean()
    return seed_part(by_run, float((residual**2).sum()) / max((runs - 1) * (n - 1), 1) / (runs * n))


def seed_part(scores: np.ndarray, interaction: float) -> float:
    """Return the part of the variance of a mean over runs that the runs add; 0 where chance makes it negative.

    Args:
        scores: (runs,) the score of each.
        interaction: The part of that variance by the interaction of run and sample. Of ``runs`` it is subtracted
            (runs - 1) / runs times: with few runs its estimate is too rough to take all of it away.
    """
    runs = len(scores)
    return max(float(scores.var(ddof=1)) / runs - interaction * (runs - 1) / runs, 0.0)


def widened(
    interval: tuple[float, float], score: float, by_seeds: float, *, freedom: float, level: float = LEVEL
) -> tuple[float, float]:
    """Return an interval by test samples, widened by the noise of training.

    The distance of each end from the score is the root of the sum of squares of both parts' distances (Zou and Donner
    2008, "Construction of confidence limits about effect measures"); that of the seeds is Student's.

    Args:
        interval: By test samples.
        score: Within it.
        by_seeds: Variance of the score (the mean over runs) by the runs.
        freedom: Degrees of freedom of ``by_seeds``.
        level: Of ``interval``.
    """
    own = _quantile(freedom, level) * math.sqrt(by_seeds)
    low, high = interval
    return max(score - math.hypot(score - low, own), 0.0), min(score + math.hypot(high - score, own), 1.0)


def _quantile(freedom: float, level: float) -> float:
    tail = (1 - level) / 2
    return float(stats.norm.isf(tail) if math.isinf(freedom) else stats.t.isf(tail, freedom))


def _checked(outcomes: ArrayLike, *, dimensions: int) -> np.ndarray:
    values = np.asarray(outcomes, dtype=np.float64)
    if values.ndim != dimensions:
        raise ValueError(f"outcomes must have {dimensions} dimension(s), got shape {values.shape}.")
    if values.size == 0:
        raise DataError("there is no outcome to average: expected at least one test sample.")
    if not np.isfinite(values).all():
        raise NumericalError(f"{int((~np.isfinite(values)).sum())} of {values.size} outcomes are not finite.")
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"outcomes must lie in [0, 1], got {values.min()} to {values.max()}.")
    return values
