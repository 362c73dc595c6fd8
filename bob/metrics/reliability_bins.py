"""The bars of a reliability diagram and their error: what a report draws. No torch: reports import this."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from bob.core.errors import DataError, NumericalError

ECE_BINS = 15
SUM_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ReliabilityBins:
    """The bars of a reliability diagram: equal-width bins of confidence, B of them.

    Attributes:
        edges: float64 (B + 1,) from 0 to 1.
        counts: int64 (B,): samples with a confidence in [low, high); in the last bin, up to and with 1.
        confidence: float64 (B,): their mean confidence; NaN in an empty bin.
        accuracy: float64 (B,): the share of them that is right; NaN in an empty bin.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(confidence: ArrayLike, correct: ArrayLike, *, bins: int = ECE_BINS) -> ReliabilityBins:
    """Return the bars of a reliability diagram (Guo et al. 2017, arXiv 1706.04599, figure 1).

    The edges are those of ``expected_calibration_error`` to the last bit, so that the diagram's gaps, weighted by
    counts, add up to it, but for one thing: torchmetrics gives a confidence of exactly 1 a bin of its own, the diagram
    does not. ``diagram_error`` counts as torchmetrics does.

    Args:
        confidence: (n,) in [0, 1].
        correct: (n,) booleans, or 0 and 1.
        bins: How many bins.

    Raises:
        DataError: There is no sample.
        NumericalError: A confidence is NaN or infinite.
        ValueError: The shapes or values are not as above.
    """
    sure, right = check_confidence(confidence, correct, bins)
    edges = _edges(bins)
    at = np.minimum(np.searchsorted(edges, sure, side="right") - 1, bins - 1)
    counts = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        return ReliabilityBins(
            edges=edges,
            counts=counts,
            confidence=np.bincount(at, weights=sure, minlength=bins) / counts,
            accuracy=np.bincount(at, weights=right, minlength=bins) / counts,
        )


def diagram_error(confidence: ArrayLike, correct: ArrayLike, *, bins: int = ECE_BINS) -> float:
    """Return what ``expected_calibration_error`` does, torchmetrics' L1 norm, without torch.

    Arguments and errors are those of ``reliability``.
    """
    sure, right = check_confidence(confidence, correct, bins)
    at = np.searchsorted(_edges(bins), sure, side="right") - 1  # a confidence of exactly 1: a bin of its own
    return float(np.abs(np.bincount(at, weights=right - sure)).sum() / len(sure))


def check_confidence(confidence: ArrayLike, correct: ArrayLike, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 (n,), or raise what ``reliability`` documents."""
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if sure.ndim != 1 or sure.shape != right.shape or bins < 1:
        raise ValueError(f"confidence {sure.shape} and correct {right.shape} must be (n,), and bins {bins} at least 1.")
    if sure.size == 0:
        raise DataError("there is no sample to score: expected at least one.", hint="Check the data set's test split.")
    if not np.isfinite(sure).all():
        raise NumericalError(f"{int((~np.isfinite(sure)).sum())} of {sure.size} confidences are not finite.")
    if sure.min() < 0 or sure.max() > 1 + SUM_TOLERANCE or not np.isin(right, (0, 1)).all():
        raise ValueError("confidences must lie in [0, 1], and correct must be booleans.")
    return np.minimum(sure, 1.0), right


def _edges(bins: int) -> np.ndarray:
    """Return what ``torch.linspace(0, 1, bins + 1)`` gives: steps counted from both ends, each edge rounded once.

    A processor without fused multiply-add rounds twice there, which moves an edge by 1e-16 at most.
    """
    step = Fraction(1 / bins)
    exact = [step * i if i < (bins + 1) // 2 else 1 - step * (bins - i) for i in range(bins + 1)]
    return np.array([float(edge) for edge in exact])
