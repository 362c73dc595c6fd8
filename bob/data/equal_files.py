"""Which pictures of a data set are the same file twice: equal in every byte, whatever they are called."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from bob.core.files import digest, sha256_file
from bob.data.dataset import DatasetSpec
from bob.data.fingerprint import EDGE_BYTES, FileEntry, edge_digests
from bob.data.readers import READERS
from bob.data.readers.base import Samples
from bob.data.splits import arrange
from bob.data.stored import open_stored, open_stored_dense

SEMANTIC = "semantic"
BOXED = ("boxes", "instances")
HEAVY = ("torchvision", "huggingface")  # readers that import their libraries to open data


@runtime_checkable
class OpensFiles(Protocol):
    """A ``Samples.read`` whose pictures are whole files below a root, by index; "" where there is none."""

    @property
    def root(self) -> Path:
        """The folder the paths start from."""
        ...

    @property
    def paths(self) -> tuple[str, ...]:
        """The files' paths."""
        ...


class Place(NamedTuple):
    """One picture.

    Attributes:
        split: "train", "val" or "test".
        id: Its id.
        labels: The classes that are right for it; None where it has none.
        key: What its content is known by; equal where size, head and tail are.
        path: Its file.
        is_whole: Whether ``key`` stands for every byte.
    """

    split: str
    id: str
    labels: frozenset[int] | None
    key: str
    path: Path
    is_whole: bool


def is_looked_at(spec: DatasetSpec) -> bool:
    """Tell whether copies can be looked for while planning: data of BoB's own light readers, a query's crops apart."""
    return opens_lightly(spec) and "retrieval" not in spec.annotations


def opens_lightly(spec: DatasetSpec) -> bool:
    """Tell whether a data set may be opened while planning: files on this machine, without torch, pandas or pyarrow."""
    is_light = spec.kind in READERS.built_in() and spec.kind not in HEAVY and spec.root is not None
    return is_light and not (spec.kind == "table" and any(Path(str(spec.root)).rglob("*.parquet")))


@lru_cache(maxsize=4)  # a source is compared with each set beside it
def places_of(spec: DatasetSpec, cache_dir: Path) -> Mapping[str, tuple[Place, ...]]:
    """Return the pictures of a data set by annotation, where they are files that are there.

    Raises:
        DataError: The data cannot be opened.
    """
    found: dict[str, tuple[Place, ...]] = {}
    spec = spec.as_stored()
    for annotation in spec.annotations:
        if annotation in BOXED and set(BOXED) & found.keys():
            found[annotation] = found[next(name for name in BOXED if name in found)]
        else:
            found[annotation] = tuple(_places(_opened(spec, annotation, cache_dir), annotation, cache_dir))
    return found


def _opened(spec: DatasetSpec, annotation: str, cache_dir: Path) -> Mapping[str, Samples]:
    plain = replace(spec.as_read(), options=spec.options)  # openers of files, whatever their grey levels
    if annotation not in (*BOXED, SEMANTIC):
        return open_stored(plain, cache_dir=cache_dir)
    stored = open_stored_dense(plain, annotation, cache_dir=cache_dir)
    return {name: source.pictures for name, source in stored.items()}


def _places(stored: Mapping[str, Samples], annotation: str, cache_dir: Path) -> Iterable[Place]:
    parts = arrange({name: (part.ids, part.labels) for name, part in stored.items()})
    there = [
        (split, stored[name], index, entry)
        for split, (name, indices) in parts.items()
        for index, entry in _there(stored[name].read, indices)
    ]
    openers: list[object] = [samples.read for samples in stored.values()]
    if not there:
        return
    (root,) = {opener.root for opener in openers if isinstance(opener, OpensFiles)}  # one folder holds all splits
    digests = edge_digests(root, [entry for *_, entry in there], cache_dir=cache_dir)
    has_classes = annotation in ("label", "label_sets")
    for (split, samples, index, entry), content in zip(there, digests, strict=True):
        yield Place(
            split=split,
            id=samples.ids[index],
            labels=_labels(samples, index) if has_classes else None,
            key=f"{entry.size}:{content}",
            path=root / entry.path,
            is_whole=entry.size <= 2 * EDGE_BYTES,
        )


def _labels(samples: Samples, index: int) -> frozenset[int] | None:
    if samples.values is not None:
        return None
    if samples.label_sets is not None:
        return frozenset(samples.label_sets[index])
    return frozenset((int(samples.labels[index]),))


def _there(opener: object, indices: np.ndarray) -> list[tuple[int, FileEntry]]:
    """Return the files of pictures that are there; the check of pictures names the others, and empty files."""
    found: list[tuple[int, FileEntry]] = []
    if not isinstance(opener, OpensFiles):
        return found
    root = str(opener.root)
    for index in indices.tolist():
        path = opener.paths[index]
        try:
            status = os.stat(f"{root}/{path}")  # noqa: PTH116 - ten times as fast, for a million files
        except (OSError, ValueError):
            continue
        if path and status.st_size and stat.S_ISREG(status.st_mode):
            found.append((index, FileEntry(path, status.st_size, status.st_mtime_ns)))
    return found


def equal_groups(places: Sequence[Place]) -> list[list[Place]]:
    """Return groups of two or more pictures that are equal in every byte, in the order of their first."""
    seen = Counter(place.key for place in places)
    alike: dict[str, list[Place]] = {}
    for place in places:
        if seen[place.key] > 1:
            alike.setdefault(place.key, []).append(place)
    groups: dict[str, list[Place]] = {}
    for place in (place for group in alike.values() for place in group):
        groups.setdefault(whole_key(place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def whole_key(place: Place) -> str:
    """Return what every byte of a picture is known by; a file above 128 KiB is read for it."""
    return place.key if place.is_whole else digest([place.key, sha256_file(place.path)], length=32)
