"""Folders of pictures and of masks: ``SPLIT/images/*.jpg`` and ``SPLIT/masks/*.png`` with the class of each pixel."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.colour_tables import CLASSES_FILE, IGNORE_LINE, class_lines, colour_rows, packed
from bob.data.dataset import DatasetSpec
from bob.data.judge import classes_present, require_trained
from bob.data.mask_contents import MaskContents, mask_contents
from bob.data.mask_labels import BINARY, labels_of
from bob.data.mask_layouts import mask_places, without_masks
from bob.data.mask_lines import label_lines, written
from bob.data.mask_meaning import Labels
from bob.data.pairing import Pairing, fingerprint_pairs, open_pairs, pair_place, pair_sizes
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same

log = logging.getLogger(__name__)

LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")


class MasksReader:
    """Reads ``masks:FOLDER``: class numbers, or colours with a table of them; see ``docs/data.md``."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The masks are opened once per content, for the values that they hold."""
        root = Path(target).expanduser().resolve()
        stored = _scan(root)
        fingerprint = _fingerprint(root, stored, cache_dir)
        contents = _contents(root, stored, fingerprint, cache_dir)
        labels = labels_of(root, contents)
        for sentence in (*_left_out(root), *labels.said):
            log.warning("%s", sentence)
        present = {split: labels.present(part) for split, part in contents.items()}
        require_trained(str(root), labels.classes, present, what="pixel", hint=_hint(root, labels, present))
        return DatasetSpec(
            name=root.name,
            kind="masks",
            root=str(root),
            fingerprint=_marked(fingerprint, labels),
            classes=labels.classes,
            sizes=pair_sizes(stored),
            annotations=("semantic",),
            classes_present=classes_present(present),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed, or a mask is not of its picture's size."""
        root = Path(str(spec.root))
        stored = _scan(root)
        fingerprint = _fingerprint(root, stored, cache_dir)
        labels = labels_of(root, _contents(root, stored, fingerprint, cache_dir))
        require_same(spec, _marked(fingerprint, labels))
        return open_pairs(
            root,
            stored,
            labels.classes,
            labels.table,
            fingerprint=spec.fingerprint,
            cache_dir=cache_dir,
            colours=labels.colours,
        )


READER = MasksReader()


def _scan(root: Path) -> dict[str, Pairing]:
    if not root.is_dir():
        raise DataMissingError(
            f"folder {root} is not there; one with SPLIT/images and SPLIT/masks is expected.",
            hint=f"Look for it: ls '{root.parent}'",
        )
    places = mask_places(root)
    if not places:
        raise DataError(
            f"{root} holds no SPLIT/images with SPLIT/masks, no images/SPLIT with masks/SPLIT, no SPLIT with "
            "SPLIT_labels, and no NAME.jpg with NAME_mask.png; SPLIT is train, val or test.",
            hint=f"Look at the names: ls '{root}'. docs/data.md lists those that are known",
        )
    stored = {name: pair_place(root, place) for name, place in places.items()}
    lossy = [name for part in stored.values() for name in part.masks if Path(name).suffix.lower() in LOSSY]
    if lossy:
        raise DataError(
            f"{root}: {len(lossy)} masks are JPEG files ({lossy[0]}, ...): compression changes the labels at edges.",
            hint="Export the masks anew as PNG; from JPEG files the labels cannot be had back. If its folders are "
            f"classes of pictures: folder:{root}",
        )
    return stored


def _fingerprint(root: Path, stored: Mapping[str, Pairing], cache_dir: Path) -> str:
    return fingerprint_pairs("masks", root, stored, cache_dir=cache_dir, more=class_lines(root))


def _contents(root: Path, stored: Mapping[str, Pairing], fingerprint: str, cache_dir: Path) -> dict[str, MaskContents]:
    rows = colour_rows(root)
    known = None if rows is None else frozenset(packed(colour) for _, colour in rows.rows)
    masks = {split: [name for name in part.masks if name] for split, part in stored.items()}
    key = fingerprint if known is None else digest([fingerprint, sorted(known)], length=64)
    return mask_contents(root, masks, known, key=key, cache_dir=cache_dir)


def _marked(fingerprint: str, labels: Labels) -> str:
    """Return the fingerprint of the data as they are read.

    Of masks of 0 and 255 the 255 was ignored before, and no table of colours was read.
    """
    marks = ["binary"] if labels.classes == BINARY else []
    marks += ["colours", *labels.file] if labels.file else []
    return digest([fingerprint, *marks], length=64) if marks else fingerprint


def _left_out(root: Path) -> list[str]:
    """Say which splits have no masks."""
    return [f"{folder} has pictures and no masks: it is not read." for folder in without_masks(root, mask_places(root))]


def _hint(root: Path, labels: Labels, present: Mapping[str, set[int]]) -> str:
    """Return what to do about classes that train has not: divide anew, or leave them out by these lines."""
    divide = "Divide the pictures so that train has every class"
    if labels.file:
        return f"{divide}, or call the class '{IGNORE_LINE}' in {root / labels.file[0]}."
    lacking = set().union(*present.values()) - present.get("train", set())
    if (root / CLASSES_FILE).is_file():
        named = ", ".join(labels.classes[label] for label in sorted(lacking)[:10])
        return f"{divide}, or write '{IGNORE_LINE}' in place of {named} in {root / CLASSES_FILE}."
    lines = written(label_lines(len(labels.classes) - 1, lacking), "lines")
    return f"{divide}, or leave the class out by these lines in {root / CLASSES_FILE}:{lines} The names are yours."
