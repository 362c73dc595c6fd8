"""How well a score tells in-distribution samples from others: OpenOOD's numbers, and AUROC on resampled test sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bob.core.errors import DataError, NumericalError
from bob.metrics.resampling import RESAMPLES, resampled_counts, spread_of

TPR = 0.95


def ood_metrics(inside: ArrayLike, outside: ArrayLike) -> dict[str, float]:
    """Compute ``auroc``, ``aupr_in``, ``aupr_out`` and ``fpr95`` of scores; HIGHER means more in-distribution.

    The conventions are those of OpenOOD v1.5 (Zhang et al. 2023, arXiv 2306.09301; its ``auc_and_fpr_recall``), which
    are scikit-learn's functions with out-of-distribution as the positive class, on the negated score. Equal scores
    share one threshold: they are called alike.

    - ``auroc``: area under ``roc_curve``; the probability that a sample from inside scores above one from outside, a
      tie counting half. The same whichever class is positive.
    - ``aupr_in``, ``aupr_out``: area under ``precision_recall_curve`` by the trapezoid rule (``auc``; not average
      precision), with inside, or outside on the negated score, as positive; the curve starts at recall 0, precision 1.
      Both depend on how many samples each side has.
    - ``fpr95``: the lowest share of inside samples called outside by a threshold that calls at least 95 % of the
      outside ones so. (Much of the older literature has it the other way round: 95 % of inside kept, the share of
      outside kept with them.) This is the exact curve, ``drop_intermediate=False``: OpenOOD leaves points within equal
      diagonal steps out, which ties can make, and then reads a higher value.

    Args:
        inside: (n,) scores of in-distribution samples.
        outside: (m,) scores of the others.

    Raises:
        DataError: One side has no sample.
        NumericalError: A score is NaN or infinite.
        ValueError: A side is not one-dimensional.
    """
    kept, rejected = _checked(inside, "inside"), _checked(outside, "outside")
    inside_at, outside_at = _threshold_counts(kept, rejected)
    inside_below, outside_below = np.cumsum(inside_at), np.cumsum(outside_at)
    return {
        "auroc": _auroc(inside_at, outside_below - outside_at, outside_at),
        "aupr_in": _aupr(inside_at[::-1], outside_at[::-1]),
        "aupr_out": _aupr(outside_at, inside_at),
        "fpr95": float(inside_below[np.argmax(outside_below / len(rejected) >= TPR)] / len(kept)),
    }


def ood_replicates(inside: ArrayLike, outside: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Return float64 (resamples,): the AUROC on test sets whose two sides are each resampled with replacement.

    As ``mean_auroc_replicates`` of one outside set; arguments and errors as there.
    """
    return mean_auroc_replicates(inside, [outside], seed=seed, resamples=resamples)


def mean_auroc_replicates(
    inside: ArrayLike, outsides: Sequence[ArrayLike], *, seed: int = 0, resamples: int = RESAMPLES
) -> np.ndarray:
    """Return float64 (resamples,): the mean AUROC over outside sets, on resampled test sets, exact also with ties.

    Each replicate resamples the inside once for all sets, since it is the same test set in each AUROC, and every
    outside set by itself. The draws depend on the sizes, the seed and an outside set's position alone, so replicates of
    two backbones pair; the inside's are ``resampled_counts`` of the same seed. One sort serves all replicates: a
    resample only reweights samples. Memory beyond the scores is a million weights a side, or one replicate's where that
    is more.

    Args:
        inside: (n,) scores, higher meaning more in-distribution.
        outsides: One or more arrays (m_i,).
        seed: Of the resampling.
        resamples: How many test sets.

    Raises:
        DataError: A side has no sample, or there is no outside set.
        NumericalError: A score is NaN or infinite.
        ValueError: A side is not one-dimensional.
    """
    kept = _checked(inside, "inside")
    order = np.argsort(kept)
    places = [_places(kept[order], _checked(outside, _name(i, outsides))) for i, outside in enumerate(outsides)]
    if not places:
        raise DataError("there is no out-of-distribution set to resample: expected at least one.")
    inside_rows = _rows(len(kept), seed=seed, resamples=resamples)
    outside_rows = [
        _rows(len(below), seed=_own_seed(seed, i), resamples=resamples) for i, (below, _) in enumerate(places)
    ]
    replicates = np.empty(resamples)
    for at, (weights, *drawn) in enumerate(zip(inside_rows, *outside_rows, strict=True)):
        cumulative = np.concatenate([[0], np.cumsum(weights[order])])
        replicates[at] = np.mean([_weighted_auroc(cumulative, *p, d) for p, d in zip(places, drawn, strict=True)])
    return replicates


def auroc_interval(score: float, replicates: np.ndarray, *, smallest: int, sets: int = 1) -> tuple[float, float]:
    """Return the 95 % interval of a mean AUROC over outside sets.

    The variance is that of the replicates, but at least what that of Hanley and McNeil (1982, "The meaning and use of
    the area under a ROC curve") tends to near 1: A (1 - A) / (2 n). There a test set has a handful of pairs
    in the wrong order, and its resamples know too little of those that it happens to lack.

    Args:
        score: The mean AUROC.
        replicates: Of ``mean_auroc_replicates``.
        smallest: Pictures of the smallest set, n. Where no resample changes the score, it is the interval of so many
            samples: there are as many independent groups of one picture of each set.
        sets: How many outside sets the mean is over.
    """
    spread = spread_of(score, replicates)
    least = score * (1 - score) / (2 * smallest * sets)
    return replace(spread, variance=max(spread.variance, least)).interval(score, samples=smallest)


def _weighted_auroc(cumulative: np.ndarray, below: np.ndarray, upto: np.ndarray, drawn: np.ndarray) -> float:
    """Return the AUROC from how many inside samples lie below, and up to, each outside score, in whole numbers."""
    pairs = int(cumulative[-1]) * int(drawn.sum())
    lost_twice = int(drawn @ (cumulative[below] + cumulative[upto]))
    return (2 * pairs - lost_twice) / (2 * pairs)


def _places(inside_sorted: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.searchsorted(inside_sorted, outside, "left"), np.searchsorted(inside_sorted, outside, "right")


def _rows(samples: int, *, seed: int, resamples: int) -> Iterator[np.ndarray]:
    for block in resampled_counts(samples, seed=seed, resamples=resamples):
        yield from block


def _own_seed(seed: int, position: int) -> int:
    """Return a seed whose draws are independent of the inside's, also where both sides are of one size."""
    return int(np.random.SeedSequence([seed, position + 1]).generate_state(1, np.uint64)[0])


def _name(position: int, outsides: Sequence[ArrayLike]) -> str:
    return "outside" if len(outsides) == 1 else f"outside set {position}"


def _threshold_counts(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return int64 (t,) each: how many samples of each side have each of the t distinct scores, the lowest first."""
    scores = np.concatenate([inside, outside])
    order = np.argsort(scores)
    ranked, is_inside = scores[order], order < len(inside)
    first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    inside_at = np.add.reduceat(is_inside.astype(np.int64), first)
    return inside_at, np.diff(first, append=len(ranked)) - inside_at


def _auroc(inside_at: np.ndarray, outside_below: np.ndarray, outside_at: np.ndarray) -> float:
    won_twice = int(inside_at @ (2 * outside_below + outside_at))
    return won_twice / (2 * int(inside_at.sum()) * int(outside_at.sum()))


def _aupr(positive_at: np.ndarray, negative_at: np.ndarray) -> float:
    """Return the trapezoid area from counts per threshold, the first the one that finds the fewest."""
    true, false = np.cumsum(positive_at), np.cumsum(negative_at)
    precision = np.concatenate([[1.0], true / (true + false)])
    recall = np.concatenate([[0.0], true / true[-1]])
    return float(np.sum(np.diff(recall) * (precision[1:] + precision[:-1])) / 2)


def _checked(scores: ArrayLike, side: str) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"the scores of {side} must have one dimension, got shape {values.shape}.")
    if values.size == 0:
        raise DataError(
            f"there is no {side} sample to score: expected at least one.", hint="Check that data set's test split."
        )
    broken = int((~np.isfinite(values)).sum())
    if broken:
        raise NumericalError(
            f"{broken} of {values.size} {side} scores are not finite.",
            hint="Try precision fp32, or look at the features that the scores come from.",
        )
    return values
