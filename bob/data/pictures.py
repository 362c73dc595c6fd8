"""The pictures of one split of a data set, ready to be read: labels, stable ids, bad ones left out."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from bob.core.errors import ConfigError, DataError
from bob.data.check import check_samples
from bob.data.dataset import DatasetSpec
from bob.data.decode import BROKEN_PICTURE, to_rgb
from bob.data.judge import MAX_BAD_SHARE
from bob.data.left_out import left_out_of
from bob.data.readers.base import Samples
from bob.data.splits import arrange, balanced_subset
from bob.data.stored import open_stored

log = logging.getLogger(__name__)

NAMED_AT_MOST = 20
POLICIES = ("skip", "error")
MEANING = {
    "label": "a class",
    "boxes": "boxes",
    "instances": "boxes with masks",
    "semantic": "a class of each pixel",
    "label_sets": "every class that is right",
    "multilabel": "which classes it shows",
    "retrieval": "what its queries should find",
    "federated": "classes that are not annotated",
}
# What is known of the objects or pixels of a picture: ``open_dense`` opens these, ``open_split`` the others.
DENSE = ("boxes", "instances", "semantic")


class Part(NamedTuple):
    """The pictures of a split.

    Attributes:
        stored: The stored split that they come from.
        indices: Which of its pictures they are.
        holds_first: Whether the stored split's first picture belongs to them, be it left out or not.
    """

    stored: str
    indices: np.ndarray
    holds_first: bool


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """One split, or a class-balanced part of it. It can be pickled into worker processes and read from threads.

    Attributes:
        classes: Class names in label order.
        labels: Class indices, int64 (n,).
        ids: A stable name for each sample, unique in the data set.
        dropped: Names of bad pictures, which are left out; files that are no pictures by their names do not count.
        label_sets: Every class that is right for each sample, where there may be several: a prediction is right if it
            is among them, and ``labels`` (the first of each) is not to be scored. None elsewhere.
        values: What else is known of each sample, float32 (n, ...), such as an attribute; None where there is none.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    ids: tuple[str, ...]
    dropped: tuple[str, ...]
    label_sets: tuple[tuple[int, ...], ...] | None = None
    values: np.ndarray | None = None
    _samples: Samples
    _indices: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    def among(self, chosen: np.ndarray) -> Pictures:
        """Return those pictures alone for which ``chosen``, bool (n,), is true."""
        places = np.flatnonzero(chosen)
        return replace(
            self,
            labels=self.labels[places],
            ids=tuple(self.ids[place] for place in places),
            label_sets=None if self.label_sets is None else tuple(self.label_sets[place] for place in places),
            values=None if self.values is None else self.values[places],
            _indices=self._indices[places],
        )

    def load(self, index: int) -> Image.Image:
        """Return picture ``index`` as 8-bit RGB, the right way up.

        Raises:
            DataError: The file changed or vanished after it was checked.
        """
        return load_rgb(self._samples, int(self._indices[index]))


def open_split(
    spec: DatasetSpec, split: str, *, annotation: str = "label", cap: int | None = None, cache_dir: Path
) -> Pictures:
    """Open a split ("train", "val" or "test"), or at most ``cap`` of its pictures, balanced over classes.

    The same ``cap`` always chooses the same pictures. Every picture is decoded once before the first use of a data
    set; bad ones are dropped with a warning that names them, or raise, as the spec's option ``policy`` says.

    Args:
        spec: The data set.
        split: The split's name.
        annotation: What must be known of the pictures: "label"; "label_sets" (several classes may be right);
            "retrieval" (labels 0 are the gallery, 1 the queries); or what a plug-in's reader and task agree on. Of data
            with boxes "multilabel" is opened by ``bob.data.multilabel_pictures``.
        cap: How many pictures at most; None for all.
        cache_dir: Where answers about pictures are kept.

    Raises:
        ConfigError: ``annotation`` is of objects or pixels, or ``cap`` is below 1.
        DataError: The data set has no such annotation or split; it changed since it was resolved; more than 5 % of the
            pictures asked for are bad; or one is bad and the policy is "error".
    """
    if annotation in DENSE:
        raise ConfigError(f"annotation {annotation!r} is of objects or pixels: expected one of whole pictures.")
    require_annotation(spec, annotation)
    return _opened(spec, split, annotation, cap, cache_dir)


def open_unlabelled(spec: DatasetSpec, split: str, *, cap: int | None = None, cache_dir: Path) -> Pictures:
    """Open a split as ``open_split`` does, whatever is known about its pictures: every label is -1."""
    pictures = _opened(spec, split, spec.annotations[0], cap, cache_dir)
    return replace(pictures, labels=np.full(len(pictures), -1, dtype=np.int64))


def _opened(spec: DatasetSpec, split: str, annotation: str, cap: int | None, cache_dir: Path) -> Pictures:
    stored = open_stored(spec, cache_dir=cache_dir)
    name, indices, _ = part_of(spec, split, stored, annotation=annotation, cache_dir=cache_dir)
    samples = stored[name]
    chosen, bad = choose_good(spec, samples, name, indices, cap, cache_dir)
    report_bad(spec, split, bad, samples.ignored, asked=len(chosen) + len(bad))
    return Pictures(
        classes=spec.classes,
        labels=np.ascontiguousarray(samples.labels[chosen]),
        ids=tuple(samples.ids[index] for index in chosen),
        dropped=tuple(bad),
        label_sets=None if samples.label_sets is None else tuple(samples.label_sets[index] for index in chosen),
        values=None if samples.values is None else np.asarray(samples.values, dtype=np.float32)[chosen],
        _samples=samples,
        _indices=chosen,
    )


def load_rgb(samples: Samples, index: int) -> Image.Image:
    """Return sample ``index`` of a stored split as 8-bit RGB, the right way up.

    Raises:
        DataError: The file changed or vanished after it was checked.
    """
    try:
        with samples.read(index) as image:
            rgb = to_rgb(image)
            rgb.load()
            return rgb
    except BROKEN_PICTURE as error:
        raise DataError(
            f"picture {samples.ids[index]!r} could be read when it was checked, but not now: {error}.",
            hint="Restore the file and run again: only this job is repeated.",
        ) from error


def meaning(annotation: str) -> str:
    """Return what an annotation is, in words; the name itself of one that a plug-in brings."""
    return MEANING.get(annotation, annotation)


def known_of(spec: DatasetSpec) -> str:
    """Return what a data set knows about its pictures, in words, without what follows from its boxes."""
    follows = {"multilabel"} if "boxes" in spec.annotations else set()
    return " and ".join(meaning(name) for name in spec.annotations if name not in follows)


def require_annotation(spec: DatasetSpec, annotation: str) -> None:
    """Raise DataError if the data set does not know this about its pictures."""
    if annotation not in spec.annotations:
        raise DataError(
            f"data set {spec.name!r} has {known_of(spec)} for each picture, not {meaning(annotation)}.",
            hint=f"Give it to a task that needs {' or '.join(spec.annotations)}; 'bob list tasks' shows them.",
        )


def part_of(spec: DatasetSpec, split: str, stored: Mapping[str, Samples], *, annotation: str, cache_dir: Path) -> Part:
    """Return the pictures of a split, without the copies that the plan leaves out: these are named in a warning.

    Raises:
        DataError: The data set has no such split, or the list of what is left out is gone.
    """
    parts = arrange({name: (samples.ids, samples.labels) for name, samples in stored.items()})
    require_split(spec, split, parts)
    name, indices = parts[split]
    holds_first = bool(indices.size and indices[0] == 0)
    left_out = left_out_of(spec, split, annotation=annotation, cache_dir=cache_dir)
    if not left_out:
        return Part(name, indices, holds_first)
    ids = stored[name].ids
    kept = np.array([index for index in indices.tolist() if ids[index] not in left_out], dtype=np.int64)
    shown = "; ".join(sorted(left_out)[:NAMED_AT_MOST]) + (" ..." if len(left_out) > NAMED_AT_MOST else "")
    log.warning("Data set %r, split %r: %d copies left out: %s.", spec.name, split, len(indices) - len(kept), shown)
    return Part(name, kept, holds_first)


def require_split(spec: DatasetSpec, split: str, has: Collection[str]) -> None:
    """Raise DataError if a split is not among those that the data set has."""
    if split not in has:
        raise DataError(
            f"data set {spec.name!r} has no split {split!r}, only {', '.join(has)}.",
            hint="A folder CLASS/*.jpg named as folder:PATH is divided into train, val and test.",
        )


def choose_good(
    spec: DatasetSpec, samples: Samples, stored: str, indices: np.ndarray, cap: int | None, cache_dir: Path
) -> tuple[np.ndarray, dict[str, str]]:
    """Return at most ``cap`` good samples and the bad ones met on the way.

    Only candidates are decoded; a bad one is replaced by the next of its class, which gives what checking the whole
    data set first would give, without decoding a million pictures to use four hundred.

    Raises:
        ConfigError: ``cap`` is below 1.
    """
    if cap is not None and cap < 1:
        raise ConfigError(f"cap is {cap}; at least one picture, or None for all, is expected.")
    bad: dict[str, str] = {}
    stored_as = spec.as_stored().fingerprint
    while True:
        good = np.array([index for index in indices.tolist() if samples.ids[index] not in bad], dtype=np.int64)
        picked = balanced_subset([samples.ids[index] for index in good], samples.labels[good], cap)
        chosen = good[picked]
        found = check_samples(samples, chosen, fingerprint=stored_as, stored=stored, cache_dir=cache_dir)
        if not found:
            return chosen, bad
        bad |= found


def report_bad(spec: DatasetSpec, split: str, bad: Mapping[str, str], ignored: tuple[str, ...], *, asked: int) -> None:
    """Warn of the pictures left out, by name; DataError if they are too many, or if the policy is "error"."""
    if not bad and not ignored:
        return
    lines = [f"{name} ({reason})" for name, reason in bad.items()] + [f"{name} (no picture file)" for name in ignored]
    shown = "; ".join(lines[:NAMED_AT_MOST]) + (" ..." if len(lines) > NAMED_AT_MOST else "")
    if dict(spec.options).get("policy") == "error":
        raise DataError(
            f"data set {spec.name!r}, split {split!r}: {len(lines)} files are no good pictures: {shown}.",
            hint="Repair or remove them, or use the policy 'skip', which leaves them out.",
        )
    if len(bad) > MAX_BAD_SHARE * asked:
        raise DataError(
            f"data set {spec.name!r}, split {split!r}: {len(bad)} of {asked} pictures are bad, "
            f"more than {MAX_BAD_SHARE:.0%}: {shown}.",
            hint="Repair or remove them: with this many left out a score would describe other data.",
        )
    log.warning("Data set %r, split %r: %d files left out: %s.", spec.name, split, len(lines), shown)
