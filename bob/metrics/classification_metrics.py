"""Classification metrics: probabilities and labels in, numbers out, in double precision."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torchmetrics.functional.classification import binary_calibration_error, multiclass_f1_score

from bob.core.errors import DataError, NumericalError
from bob.metrics.reliability_bins import ECE_BINS, SUM_TOLERANCE

PROBABILITY_FLOOR = 1e-12


def classification_metrics(probabilities: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Compute ``top1``, ``top5``, ``macro_f1``, ``nll`` and ``ece``.

    Args:
        probabilities: (n, c), rows in [0, 1] that sum to 1.
        labels: (n,) integers in [0, c).

    Returns:
        The metrics as Python floats. ``top5`` counts all classes where there are fewer than five. ``macro_f1`` averages
        over the classes that occur as a label or a prediction, as scikit-learn's ``f1_score(average="macro")`` and
        torchmetrics do. ``nll`` (nats) counts a probability below 1e-12 as 1e-12. ``ece`` is torchmetrics' top-label
        calibration error, 15 equal-width bins, L1 norm (Guo et al. 2017, arXiv 1706.04599, equation 3), in float64.
        Equal probabilities rank by class index, lowest first, so a metric never depends on a sort's whims.

    Raises:
        DataError: There is no sample.
        NumericalError: A probability is NaN or infinite.
        ValueError: The shapes, the labels or the rows' sums are not as above.
    """
    scores, targets = check_probabilities(probabilities, labels)
    predictions = scores.argmax(axis=1)
    own = scores[np.arange(len(targets)), targets]
    correct = predictions == targets
    return {
        "top1": float(correct.mean()),
        "top5": top_k_accuracy(scores, targets, k=5),
        "macro_f1": _macro_f1(predictions, targets, classes=scores.shape[1]),
        "nll": float(-np.log(np.maximum(own, PROBABILITY_FLOOR)).mean()),
        "ece": expected_calibration_error(scores.max(axis=1), correct),
    }


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, *, k: int) -> float:
    """Return the share of rows of ``scores`` (n, c) with the label in the ``k`` highest; ties rank by class index."""
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1]) < labels[:, None]
    rank = (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    return float((rank < k).mean())


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return the ECE of (n,) confidences in [0, 1] against (n,) booleans: 15 equal-width bins, L1 norm."""
    # The binary form is the multiclass one without its cast to single precision.
    value = binary_calibration_error(
        torch.from_numpy(np.minimum(np.asarray(confidence, dtype=np.float64), 1.0)),
        torch.from_numpy(np.asarray(correct, dtype=np.int64)),
        n_bins=ECE_BINS,
        norm="l1",
    )
    return float(value)


def check_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as float64 (n, c) and int64 (n,), or raise what ``classification_metrics`` documents."""
    scores = np.asarray(probabilities, dtype=np.float64)
    targets = np.asarray(labels)
    if scores.ndim != 2 or targets.shape != scores.shape[:1] or scores.shape[1] == 0:
        raise ValueError(f"probabilities {scores.shape} and labels {targets.shape} are not of shapes (n, c) and (n,).")
    if len(targets) == 0:
        raise DataError("there is no sample to score: expected at least one.", hint="Check the data set's test split.")
    _check_rows(scores)
    if targets.dtype.kind not in "iu" or targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise ValueError(f"labels must be integers in [0, {scores.shape[1]}), got {targets.min()} to {targets.max()}.")
    return scores, targets.astype(np.int64)


def _check_rows(scores: np.ndarray) -> None:
    broken = ~np.isfinite(scores).all(axis=1)
    if broken.any():
        raise NumericalError(
            f"the probabilities of {int(broken.sum())} of {len(scores)} samples are not finite "
            f"(first: sample {int(broken.argmax())}).",
            hint="Try precision fp32 or a lower learning rate.",
        )
    if scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > SUM_TOLERANCE:
        raise ValueError("each row of probabilities must be non-negative and sum to 1.")


def _macro_f1(predictions: np.ndarray, labels: np.ndarray, *, classes: int) -> float:
    # torchmetrics wants two classes at least; a class that never occurs has no weight, so one more changes nothing.
    value = multiclass_f1_score(
        torch.from_numpy(predictions.astype(np.int64)),
        torch.from_numpy(labels),
        num_classes=max(classes, 2),
        average="macro",
    )
    return float(value)
