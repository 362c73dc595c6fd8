"""What is known about a picture beyond one label: instances, or a class per pixel. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

IGNORE = 255  # the label of pixels that neither train nor score
FEDERATED = "federated"  # beside boxes: of each picture some classes alone are annotated, as in LVIS
ANNOTATIONS = ("label", "boxes", "instances", "semantic", "multilabel")
Rle = dict[str, Any]  # COCO's compressed run lengths: {"size": [height, width], "counts": bytes}


@dataclass(frozen=True, kw_only=True)
class Instances:
    """The annotated objects of one picture, n of them, in the pixels of the original picture.

    Attributes:
        boxes: float64 (n, 4): left, top, right, bottom; right and bottom exclusive.
        labels: int64 (n,): indices into the data set's classes.
        crowd: bool (n,): a region of many objects, which COCO's metric neither counts nor punishes.
        area: float64 (n,): as the file states it, in square pixels; decides whether an object is small or large.
        masks: Run lengths of each object's pixels; None where only boxes are known.
        absent: int64 (k,): labels that the picture is known to lack, where not every class is annotated; of a label
            that is neither here nor in ``labels`` nothing is known. None where every object of every class is.
        partial: int64 (k,): labels of which the picture may have more objects; None likewise.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    masks: tuple[Rle, ...] | None = None
    absent: np.ndarray | None = None
    partial: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Detections:
    """What a model found in one picture, n objects, in the pixels of the original picture.

    Attributes:
        boxes: float64 (n, 4): left, top, right, bottom.
        scores: float64 (n,): confidence, the higher the surer.
        labels: int64 (n,): indices into the data set's classes.
        masks: Run lengths of each object's pixels; None for a detector of boxes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: tuple[Rle, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)
