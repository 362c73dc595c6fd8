"""Folders of pictures and of masks: ``SPLIT/images/*.jpg`` and ``SPLIT/masks/*.png`` with the class of each pixel."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.annotations import IGNORE
from bob.data.dataset import DatasetSpec
from bob.data.decode import BROKEN_PICTURE, open_picture
from bob.data.fingerprint import inside
from bob.data.judge import classes_present, require_trained
from bob.data.kept import kept
from bob.data.layouts import mask_folders
from bob.data.mask_pictures import MAX_CLASSES, THREADS, label_table, read_indices
from bob.data.pairing import Pairing, fingerprint_pairs, open_pairs, pair_files, pair_sizes
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same

log = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"
IGNORE_LINE = "ignore"
HINT_COLOURS = "Colours: export the masks with class numbers (grey or palette); every tool that draws them can."
LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif")
BINARY = ("background", "foreground")  # of masks that hold 0 and 255 alone
LEAST_FAR, SPARSE = 8, 4  # labels up to 8 or above, of which less than a quarter occur


class MasksReader:
    """Reads ``masks:FOLDER``. Line k of ``classes.txt`` (from 0) names label k; see ``docs/data.md``."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The masks are opened once per content, for the labels that they hold."""
        root = Path(target).expanduser().resolve()
        stored = _scan(root)
        fingerprint = _fingerprint(root, stored, cache_dir)
        classes, table = _labels(root, stored, fingerprint, cache_dir)
        _check_ignored(root, len(classes), stored, fingerprint, cache_dir)
        present = _present(classes, table, _label_sets(root, stored, fingerprint, cache_dir))
        hint = "Divide the pictures so that train has every class, or leave the class out of the masks (255)."
        require_trained(str(root), classes, present, what="pixel", hint=hint)
        return DatasetSpec(
            name=root.name,
            kind="masks",
            root=str(root),
            fingerprint=_marked(fingerprint, classes),
            classes=classes,
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
        classes, table = _labels(root, stored, fingerprint, cache_dir)
        require_same(spec, _marked(fingerprint, classes))
        return open_pairs(root, stored, classes, table, fingerprint=spec.fingerprint, cache_dir=cache_dir)


READER = MasksReader()


def _scan(root: Path) -> dict[str, Pairing]:
    if not root.is_dir():
        raise DataMissingError(
            f"folder {root} is not there; one with SPLIT/images and SPLIT/masks is expected.",
            hint=f"Look for it: ls '{root.parent}'",
        )
    folders = mask_folders(root)
    if not folders:
        raise DataError(
            f"{root} holds no SPLIT/images with SPLIT/masks; SPLIT is train, val or test.",
            hint=f"Look at the names: ls '{root}'",
        )
    stored = {name: pair_files(root, *pair) for name, pair in folders.items()}
    lossy = [name for part in stored.values() for name in part.masks if Path(name).suffix.lower() in LOSSY]
    if lossy:
        raise DataError(
            f"{root}: {len(lossy)} masks are JPEG files ({lossy[0]}, ...): compression changes the labels at edges.",
            hint="Export the masks anew as PNG; from JPEG files the labels cannot be had back.",
        )
    return stored


def _fingerprint(root: Path, stored: Mapping[str, Pairing], cache_dir: Path) -> str:
    return fingerprint_pairs("masks", root, stored, cache_dir=cache_dir, more=_class_lines(root))


def _class_lines(root: Path) -> list[str] | None:
    path = root / CLASSES_FILE
    if not path.is_file():
        return None
    try:
        return inside(root, path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}.", hint="One class name a line is expected.") from error


def _labels(
    root: Path, stored: Mapping[str, Pairing], fingerprint: str, cache_dir: Path
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names and the table from stored labels to classes."""
    lines = _class_lines(root)
    sets = _label_sets(root, stored, fingerprint, cache_dir)
    found = set().union(*sets.values())
    for split, labels_of in sets.items():
        if labels_of == {0, IGNORE} and (found != {0, IGNORE} or (lines is not None and len(lines) > 1)):
            raise DataError(
                f"{root}: the masks of {split} hold 0 and 255 alone, and 255 is ignored: class 0 is all that is left.",
                hint="Where 255 means a class, store it as that class's number (1 for the foreground).",
            )
    if lines is not None:
        return _named_labels(root, [line.strip() for line in lines])
    if not found:
        raise DataError(f"{root}: no mask holds a class number: {_why_not(root, stored)}.", hint=HINT_COLOURS)
    if found == {0, IGNORE}:
        return BINARY, label_table({0: 0, IGNORE: 1})
    labels = sorted(found - {IGNORE}) or [0]
    _require_close(root, labels, found)
    _require_few(root, labels[-1] + 1)
    if labels[0] > 0:
        log.warning(
            "%s: no mask has a label below %d, so that class 0 has no pixel. A line '%s' first in %s leaves it out.",
            *(root, labels[0], IGNORE_LINE, CLASSES_FILE),
        )
    names = tuple(str(label) for label in range(labels[-1] + 1))
    return names, label_table({label: label for label in range(len(names))})


def _why_not(root: Path, stored: Mapping[str, Pairing]) -> str:
    """Return what is wrong with the first mask that there is."""
    name = next(name for part in stored.values() for name in part.masks if name)
    try:
        with open_picture(root / name) as image:
            read_indices(image)
    except BROKEN_PICTURE as error:
        return f"{name}: {error}"
    return f"{name} is empty"


def _require_close(root: Path, labels: list[int], found: set[int]) -> None:
    """Refuse labels so far apart that they are grey levels for the eye, or numbers of another list of classes.

    Raises:
        DataError: They are.
    """
    if labels[-1] < LEAST_FAR or labels[-1] + 1 < SPARSE * len(labels):
        return
    shown = ", ".join(map(str, sorted(found)[:12])) + (" ..." if len(found) > 12 else "")
    raise DataError(
        f"{root}: the masks hold the labels {shown} alone: so few so far apart look stretched for the eye, or taken "
        "from a longer list of classes.",
        hint=f"Renumber them from 0, or name every label up to {max(found)} in {CLASSES_FILE}, one a line.",
    )


def _present(classes: tuple[str, ...], table: np.ndarray, labels: Mapping[str, set[int]]) -> dict[str, set[int]]:
    """Return the classes that each stored split's masks hold."""
    return {name: {int(table[one]) for one in found if table[one] < len(classes)} for name, found in labels.items()}


def _marked(fingerprint: str, classes: tuple[str, ...]) -> str:
    """Return the fingerprint of the data as they are read: of masks of 0 and 255 the 255 was ignored before."""
    return digest([fingerprint, "binary"], length=64) if classes == BINARY else fingerprint


def _named_labels(root: Path, lines: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    path = root / CLASSES_FILE
    for number, line in enumerate(lines, start=1):
        if not line:
            raise DataError(f"{path}, line {number}: a class without a name.", hint=f"Name label {number - 1} there.")
    names = [line for line in lines if line.lower() != IGNORE_LINE]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or not names:
        what = f"the name {doubled[0]!r} twice" if doubled else "no class"
        raise DataError(f"{path} holds {what}.", hint="One class name a line is expected, label 0 first.")
    _require_few(root, len(lines))
    labels: dict[int, int] = {}
    for label, line in enumerate(lines):
        labels[label] = IGNORE if line.lower() == IGNORE_LINE else len(labels) - list(labels.values()).count(IGNORE)
    if IGNORE not in labels.values():
        labels[len(lines)] = IGNORE
    return tuple(names), label_table(labels)


def _require_few(root: Path, count: int) -> None:
    if count > MAX_CLASSES - 1:
        raise DataError(f"{root}: {count} classes; at most {MAX_CLASSES - 1} fit an 8-bit mask.", hint=None)


def _check_ignored(root: Path, classes: int, stored: Mapping[str, Pairing], fingerprint: str, cache_dir: Path) -> None:
    """Say which label is ignored without a word, and refuse masks that count from 1: they would lose a class.

    Raises:
        DataError: No mask has label 0, some have the one after the last class, and no line says what is ignored.
    """
    lines = _class_lines(root)
    if lines is None or any(line.strip().lower() == IGNORE_LINE for line in lines):
        return
    lowest, highest = _label_range(root, stored, fingerprint, cache_dir)
    path = root / CLASSES_FILE
    if highest != classes:
        return
    if lowest > 0:
        raise DataError(
            f"{path} names labels 0 to {classes - 1}, but the masks hold {lowest} to {highest}: they count from 1.",
            hint=f"Put a line '{IGNORE_LINE}' (or the name of label 0) first in {path}.",
        )
    log.warning(
        "%s names %d classes and no label to ignore: label %d is ignored. A line '%s' there says which label it is.",
        *(path, classes, classes, IGNORE_LINE),
    )


def _label_range(root: Path, stored: Mapping[str, Pairing], fingerprint: str, cache_dir: Path) -> tuple[int, int]:
    """Return the lowest and the highest label but IGNORE in all masks."""
    labels = set().union(*_label_sets(root, stored, fingerprint, cache_dir).values()) - {IGNORE}
    return min(labels, default=0), max(labels, default=0)


def _label_sets(root: Path, stored: Mapping[str, Pairing], fingerprint: str, cache_dir: Path) -> dict[str, set[int]]:
    """Return the labels of each stored split, IGNORE too; a mask that cannot be read is found by the check."""

    def find() -> dict[str, list[int]]:
        found = {}
        with ThreadPoolExecutor(THREADS) as pool:
            for split, part in stored.items():
                names = [root / name for name in part.masks if name]
                found[split] = sorted(set().union(*pool.map(_labels_in, names)))
        return found

    answer = kept(cache_dir, ["mask labels", fingerprint], find)
    return {split: set(labels) for split, labels in answer.items()}


def _labels_in(path: Path) -> set[int]:
    try:
        with open_picture(path) as image:
            return set(np.flatnonzero(np.bincount(read_indices(image).ravel(), minlength=256)).tolist())
    except BROKEN_PICTURE:
        return set()
