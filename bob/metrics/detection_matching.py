"""Which detection found which object, per class, and the exact average precision of resampled test sets from that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)
_EPSILON = np.spacing(1)  # pycocotools adds it to every count that it divides by
_BLOCK_CELLS = 8_000_000


@dataclass(frozen=True, kw_only=True)
class ClassMatches:
    """The detections of one class in all pictures, the surest first, and how many objects each picture has.

    D detections, T thresholds of IoU, n pictures. Equal scores keep the order of the pictures.

    Attributes:
        picture: int64 (D,): the picture of each detection.
        found: bool (T, D): whether it found an object that counts.
        ignored: bool (T, D): whether it counts neither as right nor as wrong (it lies on a crowd).
        objects: int64 (n,): objects that count.
    """

    picture: np.ndarray
    found: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def matches_by_class(records: Iterable[Mapping[str, Any]], pictures: int) -> dict[int, ClassMatches]:
    """Return each class that has truth, by index, from the engine's records (``evalImgs`` of one range of areas).

    Args:
        records: One per picture and class that has an object or a detection, in any order, ids counted from 1.
        pictures: How many pictures there are.
    """
    by_class: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        by_class.setdefault(record["category_id"] - 1, []).append(record)
    found = {index: _class_matches(by_class[index], pictures) for index in sorted(by_class)}
    return {index: matches for index, matches in found.items() if matches.objects.any()}


def _class_matches(records: list[Mapping[str, Any]], pictures: int) -> ClassMatches:
    records.sort(key=lambda record: record["image_id"])
    at = np.array([record["image_id"] - 1 for record in records])
    objects = np.zeros(pictures, dtype=np.int64)
    objects[at] = [record["gtIgnore"].count(False) for record in records]
    scores = _joined(record["dtScores"] for record in records)
    order = np.argsort(-scores, kind="stable")
    matched, ignored = (_stacked(records, name)[:, order] for name in ("dtMatched", "dtIgnore"))
    return ClassMatches(
        picture=np.repeat(at, [len(record["dtScores"]) for record in records])[order],
        found=matched & ~ignored,
        ignored=ignored,
        objects=objects,
    )


def _stacked(records: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    thresholds = range(len(records[0][name]))
    return np.stack([_joined(record[name][t] for record in records).astype(bool) for t in thresholds])


def _joined(lists: Iterator[Sequence[float]]) -> np.ndarray:
    return np.array(list(chain.from_iterable(lists)), dtype=np.float64)


def average_precisions(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    """Return the class's average precision on resampled test sets, exactly as COCO's metric gives it.

    A picture drawn k times counts as k pictures. Precision only rises, and recall only changes, at a detection that
    finds an object: so the 101-point sum needs the running counts at those alone. Each of them takes the recall
    levels between the recall before it and its own.

    Args:
        matches: The class.
        counts: int (resamples, n): how often each picture is drawn.

    Returns:
        float64 (resamples,): the mean over the thresholds of IoU; NaN where no object of the class is drawn.
    """
    block = max(1, _BLOCK_CELLS // (len(matches.picture) + 1))
    parts = [_average_precisions(matches, counts[start : start + block]) for start in range(0, len(counts), block)]
    return np.concatenate(parts)


def _average_precisions(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    objects = counts @ matches.objects
    # A row per detection: cumulative sums then add whole rows, which is what memory likes.
    weights = np.ascontiguousarray(counts.T.astype(np.int32))[matches.picture]
    running = np.cumsum(weights, axis=0, dtype=np.int32)
    total = np.zeros(len(counts))
    for found, ignored in zip(matches.found, matches.ignored, strict=True):
        at = np.flatnonzero(found)
        if at.size:
            right = np.cumsum(weights[at], axis=0, dtype=np.int32)
            counted = running[at] - _running_ignored(weights, np.flatnonzero(ignored), at)
            total += _interpolated(right, counted, objects)
    with np.errstate(invalid="ignore"):
        return np.where(objects > 0, total / len(matches.found), np.nan)


def _running_ignored(weights: np.ndarray, ignored: np.ndarray, at: np.ndarray) -> np.ndarray | int:
    """Return how many ignored detections stand before each position of ``at``, by weight."""
    if ignored.size == 0:
        return 0
    running = np.zeros((ignored.size + 1, weights.shape[1]), dtype=np.int32)
    np.cumsum(weights[ignored], axis=0, out=running[1:])
    return running[np.searchsorted(ignored, at)]


def _interpolated(right: np.ndarray, counted: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the mean precision over the recall levels from the running counts (hits, resamples)."""
    precision = right / (counted + _EPSILON)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    levels = np.searchsorted(RECALLS, right / np.maximum(objects, 1), side="right")
    levels[1:] -= levels[:-1].copy()
    return np.einsum("hr,hr->r", envelope, levels.astype(np.float64)) / len(RECALLS)
