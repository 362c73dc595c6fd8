"""What a reader of data sets must offer, and what it hands back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from bob.data.spec import SPLITS, DatasetSpec
from bob.data.splits import Listing, arrange
from bob.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The pictures of one stored split, unopened.

    Attributes:
        ids: A stable name for each sample, unique in the data set.
        labels: Class indices, int64 (n,).
        read: Opens sample ``i`` in any mode Pillow knows; it must be picklable (worker processes) and thread-safe.
        ignored: Names of files found among the pictures that are none by their suffix.
        trusted: True if no picture can be bad (rendered, or stored as checked arrays): no decoding check is run.
    """

    ids: tuple[str, ...]
    labels: np.ndarray
    read: Callable[[int], Image.Image]
    ignored: tuple[str, ...] = ()
    trusted: bool = False


class Reader(Protocol):
    """A way of storing data sets. A package adds its own under the entry-point group ``bob.datasets``.

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


def split_sizes(stored: Mapping[str, Listing]) -> tuple[tuple[str, int], ...]:
    """Return the spec's ``sizes`` for stored splits of (ids, labels), after missing splits are split off."""
    parts = arrange(stored)
    return tuple((name, len(parts[name][1])) for name in SPLITS if name in parts)


def require_same(spec: DatasetSpec, fingerprint: str) -> None:
    """Raise DataError if the data changed since ``spec`` was resolved: the job's id would be wrong."""
    if fingerprint != spec.fingerprint:
        raise DataError(
            f"data set {spec.name!r} at {spec.root} changed since the job was planned "
            f"(fingerprint {fingerprint[:12]}, expected {spec.fingerprint[:12]}).",
            hint="Run the suite again: the changed data are a new job.",
        )
