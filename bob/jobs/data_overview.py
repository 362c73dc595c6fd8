"""What a data set holds, before any model: layout, splits, classes, sizes, faults, and which tasks can use it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bob.core.errors import DataError
from bob.core.settings import Settings
from bob.data.dataset import DatasetSpec
from bob.data.decode import BROKEN_PICTURE
from bob.data.layouts import reason_of
from bob.data.left_out import left_out_of
from bob.data.pictures import DENSE
from bob.data.readers.base import DenseSamples, Samples
from bob.data.resolve import resolve_dataset
from bob.data.splits import Parts, arrange
from bob.data.stored import open_stored, open_stored_dense
from bob.jobs.plan_data import why_unfit
from bob.tasks.spec import TASKS

LOOKED_AT = 300  # pictures whose headers are read
MAPS_LOOKED_AT = 40  # maps of each split whose pixels are counted


@dataclass(frozen=True, kw_only=True)
class SplitOverview:
    """One split as jobs use it.

    Attributes:
        name: "train", "val" or "test".
        pictures: How many there are.
        taken_from: The stored split that they are part of; empty where the split is stored as it is.
    """

    name: str
    pictures: int
    taken_from: str = ""


@dataclass(frozen=True, kw_only=True)
class ClassOverview:
    """One class.

    Attributes:
        name: Its name.
        counts: Per split its pictures, objects, or percent of the pixels, as ``Overview.counted`` says.
    """

    name: str
    counts: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class PictureSizes:
    """What the headers of some pictures say.

    Attributes:
        looked_at: How many were opened, evenly spaced over the data.
        widths: Least, median and greatest width in pixels.
        heights: The same of heights.
        formats: How many of each file format and mode ("JPEG RGB").
        unreadable: Those that cannot be opened, with the reason.
    """

    looked_at: int
    widths: tuple[int, int, int]
    heights: tuple[int, int, int]
    formats: dict[str, int]
    unreadable: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A data set, described.

    Attributes:
        text: How it was named.
        spec: Its description.
        reason: Why it is read as it is.
        splits: Those that jobs use.
        counted: What ``classes`` counts: "pictures", "objects" (crowds apart) or "% of pixels".
        classes: All classes in label order.
        imbalance: The largest class of train over the smallest that train has; None where nothing is counted.
        sizes: Of the pictures.
        copies: What the plan says of pictures that are there more than once; empty if nothing.
        faults: Kinds of fault in annotations with their number, by what becomes of them.
        ignored: Files among the pictures that are no pictures by name.
        tasks: Each task with what it would use; why it cannot use the data stands behind "no: ".
    """

    text: str
    spec: DatasetSpec
    reason: str
    splits: tuple[SplitOverview, ...]
    counted: str
    classes: tuple[ClassOverview, ...]
    imbalance: float | None
    sizes: PictureSizes
    copies: str
    faults: dict[str, int]
    ignored: tuple[str, ...]
    tasks: dict[str, str]


def describe_data(text: str, settings: Settings, *, follow_links: bool = False) -> Overview:
    """Describe a data set on this machine: annotations are read, of the pictures some headers, no pixels but maps'.

    Args:
        text: How it is named.
        settings: Where data lie, and where answers are kept.
        follow_links: Whether links may lead out of a folder.

    Raises:
        DataError: It is not as its reader expects; the message is the one that a plan gives.
    """
    spec = resolve_dataset(text, cache_dir=settings.cache_dir, data_dir=settings.data_dir, follow_links=follow_links)
    annotation = spec.annotations[0]
    dense: Mapping[str, DenseSamples] = {}
    if annotation in DENSE:
        dense = open_stored_dense(spec, annotation, cache_dir=settings.cache_dir)
    stored = {name: one.pictures for name, one in dense.items()} or open_stored(spec, cache_dir=settings.cache_dir)
    parts = arrange({name: (samples.ids, samples.labels) for name, samples in stored.items()})
    parts = {split: _without_copies(spec, split, part, stored, settings) for split, part in parts.items()}
    counted, classes = _classes(spec, annotation, stored, dense, parts)
    faults = Counter(f"{fault.reason}: {fault.effect}" for one in dense.values() for fault in one.faults)
    return Overview(
        text=text,
        spec=spec,
        reason=reason_of(text, spec.kind),
        splits=tuple(_split(name, part, stored) for name, part in parts.items()),
        counted=counted,
        classes=classes,
        imbalance=_imbalance(classes, parts),
        sizes=_sizes(list(stored.values())),
        copies=spec.copies.said if spec.copies else "",
        faults=dict(faults.most_common()),
        ignored=tuple(name for samples in stored.values() for name in samples.ignored),
        tasks={name: _use(name, spec) for name in TASKS.names()},
    )


def _without_copies(
    spec: DatasetSpec, split: str, part: tuple[str, np.ndarray], stored: Mapping[str, Samples], settings: Settings
) -> tuple[str, np.ndarray]:
    """Return the pictures of a split that jobs use."""
    gone = left_out_of(spec, split, annotation=spec.annotations[0], cache_dir=settings.cache_dir)
    name, indices = part
    ids = stored[name].ids
    return name, indices[[ids[index] not in gone for index in indices.tolist()]] if gone else indices


def _split(name: str, part: tuple[str, np.ndarray], stored: Mapping[str, Samples]) -> SplitOverview:
    source, indices = part
    is_whole = source == name and len(indices) == len(stored[source].ids)
    return SplitOverview(name=name, pictures=len(indices), taken_from="" if is_whole else source)


def _classes(
    spec: DatasetSpec,
    annotation: str,
    stored: Mapping[str, Samples],
    dense: Mapping[str, DenseSamples],
    parts: Parts,
) -> tuple[str, tuple[ClassOverview, ...]]:
    """Return what is counted, and of each class how much of it each split has."""
    names = next(iter(dense.values())).classes if dense else spec.classes
    if annotation == "semantic":
        counts = {split: _pixel_shares(dense[name], indices, len(names)) for split, (name, indices) in parts.items()}
        counted = "% of pixels"
    elif dense:
        counts = {split: _object_counts(dense[name], indices, len(names)) for split, (name, indices) in parts.items()}
        counted = "objects"
    else:
        counts = {split: _picture_counts(stored[name], indices, len(names)) for split, (name, indices) in parts.items()}
        counted = "pictures"
    rows = (
        ClassOverview(name=name, counts={split: float(found[place]) for split, found in counts.items()})
        for place, name in enumerate(names)
    )
    return counted, tuple(rows)


def _picture_counts(samples: Samples, indices: np.ndarray, classes: int) -> np.ndarray:
    if samples.values is not None:
        return np.nansum(samples.values[indices], axis=0)
    if samples.label_sets is not None:
        labels = np.array([label for index in indices for label in samples.label_sets[index]], dtype=np.int64)
        return np.bincount(labels, minlength=classes)
    return np.bincount(samples.labels[indices], minlength=classes)


def _object_counts(samples: DenseSamples, indices: np.ndarray, classes: int) -> np.ndarray:
    if samples.per_class is not None:
        return samples.per_class(indices)
    found = (samples.annotate(int(index)) for index in indices)
    labels = [objects.labels[~objects.crowd] for objects in found]
    return np.bincount(np.concatenate(labels) if labels else np.zeros(0, dtype=np.int64), minlength=classes)


def _pixel_shares(samples: DenseSamples, indices: np.ndarray, classes: int) -> np.ndarray:
    """Return the percent of the scored pixels that each class has in some evenly spaced maps."""
    total = np.zeros(256, dtype=np.int64)
    for index in _spread(indices, MAPS_LOOKED_AT):
        try:
            total += np.bincount(samples.annotate(int(index)).ravel(), minlength=256)
        except (*BROKEN_PICTURE, DataError):  # the check of pictures names it
            continue
    return 100 * total[:classes] / max(1, total[:classes].sum())


def _spread(indices: np.ndarray, count: int) -> np.ndarray:
    """Return at most ``count`` of some indices, evenly spaced."""
    places = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return indices[np.unique(places.round().astype(np.int64))] if len(indices) else indices


def _imbalance(classes: Sequence[ClassOverview], parts: Parts) -> float | None:
    split = "train" if "train" in parts else next(iter(parts))
    found = [one.counts[split] for one in classes if one.counts.get(split)]
    return max(found) / min(found) if found else None


def _sizes(stored: Sequence[Samples]) -> PictureSizes:
    places = [(samples, index) for samples in stored for index in range(len(samples.ids))]
    chosen = _spread(np.arange(len(places)), LOOKED_AT)
    sides: list[tuple[int, int]] = []
    formats: Counter[str] = Counter()
    unreadable: dict[str, str] = {}
    for place in chosen:
        samples, index = places[place]
        try:
            with samples.read(index) as image:
                sides.append(image.size)
                formats[f"{image.format or 'rendered'} {image.mode}"] += 1
        except BROKEN_PICTURE as error:
            unreadable[samples.ids[index]] = f"{type(error).__name__}: {error}"
    columns = np.array(sides, dtype=np.int64).reshape(-1, 2)
    return PictureSizes(
        looked_at=len(chosen),
        widths=_range(columns[:, 0]),
        heights=_range(columns[:, 1]),
        formats=dict(formats.most_common()),
        unreadable=unreadable,
    )


def _range(values: np.ndarray) -> tuple[int, int, int]:
    return (int(values.min()), int(np.median(values)), int(values.max())) if len(values) else (0, 0, 0)


def _use(name: str, spec: DatasetSpec) -> str:
    """Return what a task would use of a data set, or why it cannot."""
    task = TASKS.get(name)
    reason = why_unfit(task, spec)
    if reason:
        return f"no: {reason}"
    counts = spec.counts(task.annotation_of(spec) or "")
    beside = f", and data beside it (--{' or --'.join(map(_flag, task.roles))})" if task.needs_others else ""
    return ", ".join(f"{count} {split}" for split, count in counts.items()) + beside


def _flag(role: str) -> str:
    return role.removesuffix("s")
