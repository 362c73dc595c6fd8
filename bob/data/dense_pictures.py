"""The pictures of one split with boxes, masks or a class for each pixel, ready to be read; what is bad is left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import ConfigError, DataError, did_you_mean
from bob.data.annotations import Instances
from bob.data.class_presence import first_present
from bob.data.dataset import DatasetSpec
from bob.data.faults import LEFT_OUT, NO_MASK, NO_PICTURE, NOTED, REPAIRED, Fault
from bob.data.judge import MAX_BAD_SHARE
from bob.data.pictures import (
    NAMED_AT_MOST,
    choose_good,
    load_rgb,
    part_of,
    report_bad,
    require_annotation,
)
from bob.data.readers.base import DenseSamples
from bob.data.stored import open_stored_dense

log = logging.getLogger(__name__)

KINDS = ("boxes", "instances", "semantic")


@dataclass(frozen=True, kw_only=True)
class DensePictures:
    """One split, or a part of it, with annotations of one kind. Cheap to pickle; threads may read at once.

    Attributes:
        annotation: What is known about each picture: "boxes", "instances" (boxes with masks) or "semantic".
        classes: Class names in label order; for "semantic" with the background where the data have one.
        ids: A stable name for each picture, unique in the data set.
        sizes: int64 (n, 2): height and width of each original picture, as ``load`` gives it.
        dropped: Names of bad pictures, which are left out.
        faults: How many annotations were left out, by reason.
        repaired: How many were kept after something was put right (a box clipped, say), by reason.
        frequencies: As ``DenseSamples`` has them.
    """

    annotation: str
    classes: tuple[str, ...]
    ids: tuple[str, ...]
    sizes: np.ndarray
    dropped: tuple[str, ...]
    faults: dict[str, int]
    repaired: dict[str, int]
    frequencies: tuple[str, ...] = ()
    _source: DenseSamples
    _indices: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> Image.Image:
        """Return picture ``index`` as 8-bit RGB, lying as its annotations do.

        Raises:
            DataError: The file changed or vanished after it was checked.
        """
        return load_rgb(self._source.pictures, int(self._indices[index]))

    def instances(self, index: int) -> Instances:
        """Return the objects of picture ``index``; with masks if the annotation is "instances".

        Raises:
            ConfigError: These pictures were opened with a class for each pixel.
        """
        if self.annotation == "semantic":
            raise ConfigError("these pictures were opened as 'semantic': they have no instances.")
        return self._source.annotate(int(self._indices[index]))

    def semantic(self, index: int) -> np.ndarray:
        """Return the class of each pixel of picture ``index``: uint8 (H, W), IGNORE (255) where none counts.

        Raises:
            ConfigError: These pictures were opened with boxes.
            DataError: The mask changed or vanished after it was checked.
        """
        if self.annotation != "semantic":
            raise ConfigError(f"these pictures were opened as {self.annotation!r}: they have no class for each pixel.")
        return self._source.annotate(int(self._indices[index]))


def open_dense(
    spec: DatasetSpec, split: str, *, annotation: str, cap: int | None = None, cache_dir: Path
) -> DensePictures:
    """Open a split ("train", "val" or "test") with annotations of one kind, or at most ``cap`` of its pictures.

    The same ``cap`` always chooses the same pictures, by their ids. Pictures are checked as ``open_split`` checks them;
    an annotation that cannot be right is left out with a warning that names it, or raises, as the spec's option
    ``policy`` says.

    Raises:
        ConfigError: ``annotation`` is not known.
        DataError: The data set has no such annotation or split; it changed since it was resolved; more than 5 % of the
            pictures or of their annotations are bad; or one is bad and the policy is "error".
    """
    chosen = choose_dense(spec, split, annotation=annotation, cap=cap, cache_dir=cache_dir)
    source, indices = chosen.source, chosen.indices
    return DensePictures(
        annotation=annotation,
        classes=source.classes,
        ids=tuple(source.pictures.ids[index] for index in indices),
        sizes=np.ascontiguousarray(source.sizes[indices], dtype=np.int64),
        dropped=chosen.dropped,
        faults=_counted(chosen.faults, LEFT_OUT, NO_MASK),
        repaired=_counted(chosen.faults, REPAIRED),
        frequencies=source.frequencies,
        _source=replace(source, faults=(), counts=None, presence=None),
        _indices=indices,
    )


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The pictures of a split that are used, unopened.

    Attributes:
        source: The stored split that they come from.
        indices: Which of its pictures they are, int64 (n,).
        dropped: Names of bad pictures, which are left out.
        faults: What is wrong with their annotations.
    """

    source: DenseSamples
    indices: np.ndarray
    dropped: tuple[str, ...]
    faults: list[Fault]


def choose_dense(
    spec: DatasetSpec, split: str, *, annotation: str, cap: int | None, cache_dir: Path, by_presence: bool = False
) -> Chosen:
    """Choose the pictures of a split that ``open_dense`` opens, and say what is wrong with them.

    With ``by_presence`` a cap balances the first classes that the pictures show, in place of their labels. The whole
    split is the same.

    Raises:
        ConfigError, DataError: As ``open_dense``.
    """
    if annotation not in KINDS:
        raise ConfigError(
            f"annotation {annotation!r} is not one of {', '.join(KINDS)}.{did_you_mean(annotation, KINDS)}"
        )
    require_annotation(spec, annotation)
    stored = open_stored_dense(spec, annotation, cache_dir=cache_dir)
    whole = {part: source.pictures for part, source in stored.items()}
    name, indices, holds_first = part_of(spec, split, whole, annotation=annotation, cache_dir=cache_dir)
    source = stored[name]
    # Pictures with boxes are checked alike with and without masks; a class for each pixel is one more file to check.
    checked_as = f"{name}-semantic" if annotation == "semantic" else name
    pictures = source.pictures
    if by_presence:
        pictures = replace(pictures, labels=first_present(source.require_presence()))
    chosen, bad = choose_good(spec, pictures, checked_as, indices, cap, cache_dir)
    report_bad(spec, split, bad, source.pictures.ignored, asked=len(chosen) + len(bad))
    faults = _faults_of(source, chosen, holds_first=holds_first)
    _report_faults(spec, split, faults, asked=None if source.counts is None else int(source.counts[chosen].sum()))
    return Chosen(source=source, indices=chosen, dropped=tuple(bad), faults=faults)


def _faults_of(source: DenseSamples, chosen: np.ndarray, *, holds_first: bool) -> list[Fault]:
    """Return the faults of the chosen pictures.

    What belongs to no picture is counted once: with the part of the stored split that holds its first picture.
    """
    pictures = set(chosen.tolist()) | ({NO_PICTURE} if holds_first else set())
    return [fault for fault in source.faults if fault.picture in pictures]


def _counted(faults: Sequence[Fault], *effects: str) -> dict[str, int]:
    return dict(sorted(Counter(fault.reason for fault in faults if fault.effect in effects).items()))


def _report_faults(spec: DatasetSpec, split: str, faults: Sequence[Fault], *, asked: int | None) -> None:
    place = f"data set {spec.name!r}, split {split!r}"
    noted = [fault for fault in faults if fault.effect == NOTED]
    if noted:
        log.warning("D%s: %s.", place[1:], _named(noted))
    faults = [fault for fault in faults if fault.effect != NOTED]
    if not faults:
        return
    if dict(spec.options).get("policy") == "error":
        raise DataError(
            f"{place}: {len(faults)} annotations are faulty: {_named(faults)}.",
            hint="Repair them, or use the policy 'skip', which leaves out what cannot be right.",
        )
    lost = [fault for fault in faults if fault.effect != REPAIRED]
    placed = [fault for fault in lost if fault.picture != NO_PICTURE]
    if asked is not None and len(placed) > MAX_BAD_SHARE * (asked + sum(fault.effect == LEFT_OUT for fault in placed)):
        raise DataError(
            f"{place}: {len(placed)} annotations cannot be right, more than {MAX_BAD_SHARE:.0%}: {_named(placed)}.",
            hint="Repair them: with this many left out a score would describe other data.",
        )
    if lost:
        log.warning("D%s: %d annotations left out: %s.", place[1:], len(lost), _named(lost))
    repaired = [fault for fault in faults if fault.effect == REPAIRED]
    if repaired:
        log.warning("D%s: %d annotations put right: %s.", place[1:], len(repaired), _named(repaired))


def _named(faults: Sequence[Fault]) -> str:
    shown = "; ".join(f"{fault.where}: {fault.reason}" for fault in faults[:NAMED_AT_MOST])
    return shown + (" ..." if len(faults) > NAMED_AT_MOST else "")
