"""What a reader of data sets must offer, and what it hands back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from bob.core.errors import DataError
from bob.data.dataset import SPLITS, DatasetSpec
from bob.data.faults import Fault
from bob.data.splits import Listing, arrange

log = logging.getLogger(__name__)

UNTESTED_NAMED = 10


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The pictures of one stored split, unopened.

    Attributes:
        ids: A stable name for each sample, unique in the data set.
        labels: Class indices, int64 (n,).
        read: Opens sample ``i`` in any mode Pillow knows; it must be picklable (worker processes) and thread-safe.
        ignored: Names of files found among the pictures whose suffix is not that of a picture.
        trusted: True if no picture can be bad (rendered, or stored as checked arrays): no decoding check is run.
        check: Tells what else is wrong with sample ``i`` once its picture is decoded (its mask, say), or None.
        label_sets: Every class that is right for each sample, at least one; None where ``labels`` says all. ``labels``
            then holds the first of each, for splits and subsets, never for scoring.
        values: What else is known of each sample, float32 (n, ...); None where there is nothing. ``labels`` then only
            says which samples splits and subsets keep in balance, and may be all 0.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[int], Image.Image]
    ignored: tuple[str, ...] = ()
    trusted: bool = False
    check: Callable[[int], str | None] | None = None
    label_sets: tuple[tuple[int, ...], ...] | None = None
    values: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class DenseSamples:
    """The pictures of one stored split with their annotations of one kind, unopened.

    Attributes:
        classes: Class names in label order, of this kind of annotation.
        pictures: The pictures, opened so that they lie as their annotations do; labels are all 0 if they have none.
        sizes: int64 (n, 2): height and width of each picture as it is loaded; of one that cannot be read, anything.
        annotate: Returns the Instances, or the uint8 (H, W) map, of picture ``i``; picklable and thread-safe.
        counts: int64 (n,): how many annotations each picture has; None where they are not counted.
        per_class: Returns how many objects of each class some pictures have, int64 (classes,), without asking each;
            None where that cannot be had.
        faults: What is wrong with the annotations.
        presence: Returns float32 (n, classes), which classes each picture shows, see ``bob.data.class_presence``; None
            where the annotations do not say that.
        frequencies: "rare", "common" or "frequent" of each class, where each picture has some classes annotated alone
            (LVIS); empty where every object of every class is.
    """

    classes: tuple[str, ...]
    pictures: Samples
    sizes: np.ndarray
    annotate: Callable[[int], Any]
    counts: np.ndarray | None = None
    per_class: Callable[[np.ndarray], np.ndarray] | None = None
    faults: tuple[Fault, ...] = ()
    frequencies: tuple[str, ...] = ()
    presence: Callable[[], np.ndarray] | None = None

    def require_presence(self) -> np.ndarray:
        """Return what ``presence`` does; DataError if there is none."""
        if self.presence is None:
            raise DataError("these annotations do not say which classes each picture shows.")
        return self.presence()


class Reader(Protocol):
    """A way of storing data sets. A plug-in adds its own to ``READERS``.

    ``resolve`` must not import torch, torchvision, datasets, pandas or pyarrow.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the data set ``target`` without opening pictures; DataMissingError if it is not here."""
        ...

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Bring the data set to this machine if it can be downloaded; return at once if it is here."""
        ...

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits: "train", "val", "test", or "all" if the data are undivided."""
        ...


class DenseReader(Reader, Protocol):
    """A reader whose data sets have boxes, masks or a class for each pixel."""

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits with annotations of one kind, which is among ``spec.annotations``."""
        ...


def dense_pictures(reader: DenseReader, spec: DatasetSpec, cache_dir: Path) -> dict[str, Samples]:
    """Return the pictures alone of each stored split of a data set that has no labels."""
    stored = reader.open_dense(spec, spec.annotations[0], cache_dir=cache_dir)
    return {name: source.pictures for name, source in stored.items()}


def split_sizes(stored: Mapping[str, Listing], *, classes: Sequence[str] = ()) -> tuple[tuple[str, int], ...]:
    """Return the spec's ``sizes`` for stored splits of (ids, labels), after missing splits are split off.

    Of data without a test split of their own, ``classes`` that the drawn one has nothing of are said.
    """
    parts = arrange(stored)
    if classes and not {"test", "val"} & stored.keys() and "train" in parts and "test" in parts:
        has = {split: set(stored[name][1][indices].tolist()) for split, (name, indices) in parts.items()}
        untested = [classes[label] for label in sorted(has["train"] - has["test"])]
        if untested:
            log.warning(
                "Classes of one picture alone, %d of them, are never tested: %s.",
                *(len(untested), ", ".join(untested[:UNTESTED_NAMED]) + (" ..." if untested[UNTESTED_NAMED:] else "")),
            )
    return tuple((name, len(parts[name][1])) for name in SPLITS if name in parts)


def require_same(spec: DatasetSpec, fingerprint: str) -> None:
    """Raise DataError if the data changed since ``spec`` was resolved: the job's id would be wrong."""
    if fingerprint != spec.fingerprint:
        raise DataError(
            f"data set {spec.name!r} at {spec.root} changed since the job was planned "
            f"(fingerprint {fingerprint[:12]}, expected {spec.fingerprint[:12]}).",
            hint="Run the suite again: the changed data are a new job.",
        )
