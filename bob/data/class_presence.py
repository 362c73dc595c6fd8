"""Which classes each picture shows, from the objects that are annotated in it. Numpy only."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from bob.data.splits import Listing, arrange


def presence(
    pictures: np.ndarray,
    labels: np.ndarray,
    crowd: np.ndarray,
    *,
    shape: tuple[int, int],
    doubtful: Collection[int] = (),
) -> np.ndarray:
    """Return float32 ``shape`` (pictures, classes): 1 where a class is there, 0 where it is not, NaN where unknown.

    Unknown is a class of which there are only regions that neither count nor punish (COCO's crowds, VOC's difficult
    objects, which VOC's own classification task ignores too), and in a doubtful picture every class of which no object
    is known: one whose annotation was left out may be there.

    Args:
        pictures: (objects,) whose each object is.
        labels: (objects,) its class.
        crowd: bool (objects,).
        shape: How many pictures and classes there are.
        doubtful: Pictures of which not all that is annotated is known.
    """
    values = np.zeros(shape, dtype=np.float32)
    values[sorted(doubtful)] = np.nan
    values[pictures[crowd], labels[crowd]] = np.nan
    values[pictures[~crowd], labels[~crowd]] = 1
    return values


def first_present(values: np.ndarray) -> np.ndarray:
    """Return int64 (n,): the first class that each picture shows, or 0; for balance, never for scores."""
    return (values == 1).argmax(axis=1).astype(np.int64)


def contrasted(values: np.ndarray) -> int:
    """Return how many classes some pictures are known to show and others to lack: those that can be learned, scored."""
    return int(((values == 1).any(axis=0) & (values == 0).any(axis=0)).sum())


def contrast_of(stored: Mapping[str, Listing], values: Mapping[str, np.ndarray]) -> list[tuple[str, int]]:
    """Return ``contrasted`` of each split, after missing splits are split off.

    Args:
        stored: Sample ids and labels of each stored split.
        values: What each of its pictures shows, (n, classes).
    """
    return [(split, contrasted(values[name][indices])) for split, (name, indices) in arrange(stored).items()]
