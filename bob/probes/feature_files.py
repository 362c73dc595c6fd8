"""Pooled features of a data set's splits, as they lie on disk: plain numpy files, read without being copied."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bob.core.files import naming, write_text
from bob.data.dataset import SPLITS

META = "meta.json"


class Labelled(Protocol):
    """What is known of the pictures of a split: labels, ids, and sets of labels where several are right."""

    @property
    def labels(self) -> np.ndarray:
        """(n,) int64."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """Sample ids, n of them."""
        ...

    @property
    def label_sets(self) -> tuple[tuple[int, ...], ...] | None:
        """As in ``SplitFeatures``."""
        ...

    @property
    def values(self) -> np.ndarray | None:
        """As in ``SplitFeatures``."""
        ...


@dataclass(frozen=True, kw_only=True)
class SplitFeatures:
    """One split.

    Attributes:
        features: (n, width) float32, memory-mapped and read-only.
        labels: (n,) int64.
        ids: Sample ids, n of them.
        label_sets: For each sample every class that is right; None where ``labels`` says all.
        values: What else is known of each sample, float32 (n, ...); None where there is nothing.
    """

    features: np.ndarray
    labels: np.ndarray
    ids: tuple[str, ...]
    label_sets: tuple[tuple[int, ...], ...] | None = None
    values: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """Splits of one data set, or corruptions of one split, and what is to be known about them.

    Attributes:
        splits: By name: "train", "val", "test"; or as ``corrupted_split`` calls them.
        classes: Class names in label order.
        meta: ``width``, ``pooling``, ``precision``, ``dropped``, ``pictures_per_s``, ``infer_peak_mb``, ...
    """

    splits: Mapping[str, SplitFeatures]
    classes: tuple[str, ...]
    meta: Mapping[str, Any]

    def __getitem__(self, split: str) -> SplitFeatures:
        return self.splits[split]


def corrupted_split(corruption: str, severity: int) -> str:
    """Return what the test split is called after a corruption."""
    return f"{corruption}-{severity}"


def features_file(folder: Path, split: str, *, count: int, width: int) -> np.memmap:
    """Create a split's feature file, to be filled row by row: (count, width) float32.

    Raises:
        OSError: The disk has no room for it. A file whose blocks are only found as the rows come would then end the
            process by a SIGBUS that names nothing.
    """
    path = folder / f"{split}.npy"
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, width))
    if hasattr(os, "posix_fallocate"):
        with naming(path), path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return rows


def write_labels(folder: Path, split: str, pictures: Labelled) -> None:
    """Write what is known of a split's pictures beside its features."""
    np.save(folder / f"{split}-labels.npy", pictures.labels)
    write_text(folder / f"{split}-ids.json", json.dumps(pictures.ids))
    if pictures.label_sets is not None:
        write_text(folder / f"{split}-label-sets.json", json.dumps(pictures.label_sets))
    if pictures.values is not None:
        np.save(folder / f"{split}-values.npy", pictures.values)


def write_meta(folder: Path, classes: tuple[str, ...], meta: Mapping[str, Any]) -> None:
    """Write what is to be known about the features."""
    write_text(folder / META, json.dumps({"classes": classes, **meta}, indent=1))


def load_features(folder: Path) -> FeatureSet:
    """Read a features artifact; its arrays stay on disk until they are used."""
    meta = json.loads((folder / META).read_text())
    splits = {split: _load_split(folder, split) for split in meta.get("splits", SPLITS)}
    return FeatureSet(splits=splits, classes=tuple(meta["classes"]), meta=meta)


def _load_split(folder: Path, split: str) -> SplitFeatures:
    sets, values = folder / f"{split}-label-sets.json", folder / f"{split}-values.npy"
    return SplitFeatures(
        features=np.load(folder / f"{split}.npy", mmap_mode="r"),
        labels=np.load(folder / f"{split}-labels.npy"),
        ids=tuple(json.loads((folder / f"{split}-ids.json").read_text())),
        label_sets=tuple(map(tuple, json.loads(sets.read_text()))) if sets.is_file() else None,
        values=np.load(values) if values.is_file() else None,
    )
