"""Which differences between backbones are beyond noise, with one error rate for all of them: arrays in, numbers out.

Whoever looks for the best of several backbones compares more than one pair, and chooses the pair after a look at the
scores. Here the largest of all differences, in standard errors, is held against its distribution where all backbones
are equal: whichever pairs a reader picks, a false claim has the stated probability in total (Tukey's method, with the
covariance of the backbones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

MOST_DRAWS, LEAST_DRAWS = 20_000, 4_000
_CELLS, _BLOCK_CELLS = 20_000_000, 2_000_000


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How the scores of k backbones vary.

    Attributes:
        pictures: (k, k) covariance of their scores by the test pictures, which they share.
        floor: Variance added to that of each difference: what two more pictures, on which the two disagree, would add
            (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions"). Where few
            pictures tell two backbones apart, their variance is known badly.
        seeds: (k,) variance of each score by the seeds; seeds of different backbones are independent.
        freedom: Degrees of freedom of ``seeds``.
    """

    pictures: Floats
    floor: float
    seeds: Floats
    freedom: float


def pair_p_values(scores: Floats, noise: Noise) -> Floats:
    """Return (k, k): the p-value of "these two score the same", adjusted for all pairs; 1 on the diagonal.

    Args:
        scores: (k,).
        noise: Of them.
    """
    k = len(scores)
    first, second = np.triu_indices(k, 1)
    found = np.ones((k, k))
    values = _adjusted(np.asarray(scores, dtype=float), noise, first, second, two_sided=True)
    found[first, second] = found[second, first] = values
    return found


def above_p_values(scores: Floats, noise: Noise, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Return (pairs,): the p-value of "the first does not score above the second", adjusted for these pairs."""
    if not pairs:
        return np.empty(0)
    first, second = np.array(pairs).T
    return _adjusted(np.asarray(scores, dtype=float), noise, first, second, two_sided=False)


def rank_intervals(scores: Floats, p_values: Floats, *, alpha: float) -> NDArray[np.int64]:
    """Return (k, 2): the ranks that each backbone may have, all right at once with probability 1 - alpha or more.

    A backbone stands behind those that score significantly higher, and ahead of those that score significantly lower
    (Mogstad et al. 2024, "Inference for Ranks").

    Args:
        scores: (k,).
        p_values: Of ``pair_p_values``.
        alpha: Error rate of all of them together.
    """
    higher = scores[:, None] > scores
    significant = p_values < alpha
    ahead = (higher & significant).sum(axis=0)  # of those in rows, how many beat the one in the column
    behind = (higher & significant).sum(axis=1)
    return np.stack([1 + ahead, len(scores) - behind], axis=1).astype(np.int64)


def _adjusted(
    scores: Floats, noise: Noise, first: NDArray[np.int64], second: NDArray[np.int64], *, two_sided: bool
) -> Floats:
    """Return a p-value for each difference ``first - second``: how often the largest of all would be as large."""
    if not len(first):
        return np.empty(0)
    diagonal = np.diag(noise.pictures)
    by_pictures = np.maximum(diagonal[first] + diagonal[second] - 2 * noise.pictures[first, second], 0)
    by_seeds = noise.seeds[first] + noise.seeds[second]
    difference, error = scores[first] - scores[second], np.sqrt(by_pictures + noise.floor + by_seeds)
    # Two backbones with the same outcome everywhere differ by nothing, and so by no standard error.
    ratio = np.where(difference == 0, 0.0, np.copysign(np.inf, difference))
    np.divide(difference, error, out=ratio, where=error > 0)
    ratio = _normal(np.abs(ratio) if two_sided else ratio, by_pictures + noise.floor, by_seeds, noise.freedom)
    largest = np.sort(_largest(noise, first, second, by_pictures + by_seeds, two_sided=two_sided))
    as_large = len(largest) - np.searchsorted(largest, ratio - 1e-9)
    adjusted = (as_large + 1) / (len(largest) + 1)
    # A pair that nearly agrees hardly moves in the draws: its own test is then the stricter one.
    return np.maximum(adjusted, stats.norm.sf(ratio) * (2 if two_sided else 1))


def _normal(ratio: Floats, by_pictures: Floats, by_seeds: Floats, freedom: float) -> Floats:
    """Return the normal quantiles of Student's, whose degrees of freedom are those of the sum of both variances.

    Those of the seeds are few; those of the pictures are taken as infinite (Satterthwaite 1946).
    """
    if not by_seeds.any():
        return ratio
    total = by_pictures + by_seeds
    own = freedom * np.divide(total, by_seeds, out=np.full_like(total, np.inf), where=by_seeds > 0) ** 2
    tail = stats.t.sf(np.abs(ratio), np.minimum(own, 1e9))
    return np.sign(ratio) * stats.norm.isf(np.clip(tail, 1e-300, 0.5))


def _largest(
    noise: Noise, first: NDArray[np.int64], second: NDArray[np.int64], variances: Floats, *, two_sided: bool
) -> Floats:
    """Return (draws,): the largest difference, in standard errors, of scores that all have the same expectation."""
    values, vectors = np.linalg.eigh(noise.pictures + np.diag(noise.seeds))
    factor = vectors * np.sqrt(np.maximum(values, 0))
    scale = np.divide(1.0, np.sqrt(variances), out=np.zeros_like(variances), where=variances > 0)
    generator = np.random.default_rng(0)
    draws = min(MOST_DRAWS, max(LEAST_DRAWS, _CELLS // len(first)))
    block = max(1, min(draws, _BLOCK_CELLS // len(first)))
    found = np.empty(draws)
    for start in range(0, draws, block):
        drawn = generator.standard_normal((min(block, draws - start), len(values))) @ factor.T
        ratios = (drawn[:, first] - drawn[:, second]) * scale
        found[start : start + block] = (np.abs(ratios) if two_sided else ratios).max(axis=1)
    return found
