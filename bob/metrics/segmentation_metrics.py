"""Mean intersection over union and pixel accuracies, from the pixels that each class shares with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.metrics.resampling import RESAMPLES, Spread, left_out_counts, resampled_counts, spread_of

_INTERSECTION, _PREDICTED, _TRUE = range(3)


@dataclass(frozen=True, kw_only=True)
class SegScores:
    """The numbers of one test set.

    Attributes:
        metrics: ``miou``, ``pixel_accuracy``, ``mean_accuracy``, in [0, 1].
        per_class: IoU by class index; None for a class that occurs neither in truth nor in prediction.
        replicates: float64 (resamples,): the mIoU on each test set of ``resampled_counts``; NaN on one without a
            labelled pixel.
        left_out: float64 (groups,): likewise on each of ``left_out_counts``; empty without replicates.
    """

    metrics: dict[str, float]
    per_class: dict[int, float | None]
    replicates: np.ndarray
    left_out: np.ndarray

    def spread(self) -> Spread:
        """Return how the mIoU varies over test sets."""
        return spread_of(self.metrics["miou"], self.replicates, self.left_out)


def areas(prediction: np.ndarray, truth: np.ndarray, *, classes: int) -> np.ndarray:
    """Return int64 (3, classes) of one picture: pixels that are right, predicted, true, by class.

    Args:
        prediction: int (H, W): a class per pixel, in [0, classes).
        truth: uint8 (H, W): likewise, or ``IGNORE``; such pixels are left out of all three.
        classes: How many classes there are.

    Raises:
        DataError: A true label is neither a class nor ``IGNORE``.
        ValueError: The shapes differ, or a predicted label is no class.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction and truth differ in shape: {prediction.shape} and {truth.shape}.")
    labelled = truth != IGNORE
    true, predicted = truth[labelled].astype(np.int64), prediction[labelled].astype(np.int64)
    if true.size and true.max() >= classes:
        raise DataError(f"a mask has the label {true.max()}: expected 0 to {classes - 1}, or {IGNORE} for no class.")
    if predicted.size and (predicted.min() < 0 or predicted.max() >= classes):
        raise ValueError(f"predictions must lie in 0 to {classes - 1}, got {predicted.min()} to {predicted.max()}.")
    parts = (true[true == predicted], predicted, true)
    return np.stack([np.bincount(part, minlength=classes) for part in parts]).astype(np.int64)


def segmentation_scores(picture_areas: np.ndarray, *, resamples: int = RESAMPLES) -> SegScores:
    """Score a test set from ``areas`` of its pictures, all pixels of all pictures pooled.

    IoU of a class: right pixels / (predicted + true - right), after Everingham et al. 2015 (the Pascal VOC challenge).
    mIoU is the mean over the classes that occur in truth or prediction: a class that occurs in neither says nothing,
    and one that is only predicted counts as 0. torchmetrics' ``MulticlassJaccardIndex`` with its macro average does
    the same. Mean accuracy is the mean over the classes that occur in truth, as scikit-learn's balanced accuracy.

    Args:
        picture_areas: int (n, 3, classes), pictures in the order of their ids, so that resamples pair.
        resamples: How many resampled test sets the mIoU is computed on; 0 for none.

    Raises:
        DataError: There is no picture, or no labelled pixel in any.
    """
    stacked = np.asarray(picture_areas)
    if stacked.ndim != 3 or stacked.shape[1] != 3:
        raise ValueError(f"areas must have the shape (pictures, 3, classes), got {stacked.shape}.")
    total = stacked.sum(axis=0)
    if not total[_TRUE].any():
        raise DataError(f"no test picture has a labelled pixel ({len(stacked)} pictures): there is nothing to score.")
    right, true = total[_INTERSECTION], total[_TRUE]
    union = total[_PREDICTED] + true - right
    occurring = true > 0
    replicates, left_out = _resampled(stacked, resamples)
    return SegScores(
        metrics={
            "miou": float(mean_iou(total[None])[0]),
            "pixel_accuracy": float(right.sum() / true.sum()),
            "mean_accuracy": float(np.mean(right[occurring] / true[occurring])),
        },
        per_class={c: float(right[c] / union[c]) if union[c] else None for c in range(len(union))},
        replicates=replicates,
        left_out=left_out,
    )


def mean_iou(totals: np.ndarray) -> np.ndarray:
    """Return the mIoU (sets,) of pooled areas (sets, 3, classes); NaN where no class occurs."""
    right = totals[:, _INTERSECTION]
    union = totals[:, _PREDICTED] + totals[:, _TRUE] - right
    present = (union > 0).sum(axis=1)
    summed = (right / np.maximum(union, 1)).sum(axis=1)
    return np.where(present > 0, summed / np.maximum(present, 1), np.nan)


def _resampled(stacked: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mIoU on resampled test sets and on those that leave pictures out."""
    if resamples == 0:
        return np.empty(0), np.empty(0)
    n, _, classes = stacked.shape
    # In float64, for whole numbers below 2**53 are exact in it and its products are far faster.
    flat = stacked.reshape(n, -1).astype(np.float64)
    blocks = [*resampled_counts(n, resamples=resamples), left_out_counts(n)]
    parts = [mean_iou((counts.astype(np.float64) @ flat).reshape(-1, 3, classes)) for counts in blocks]
    return np.concatenate(parts[:-1]), parts[-1]
