"""Telling data sets in YOLO's format by names, and by the heads of a few small text files. No picture is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from bob.data.file_names import SPLIT_ALIASES, is_picture, split_of

HEAD_BYTES = 1 << 14
LOOKED_AT = 20  # label files that tell what a folder holds
LEAST_COLUMNS = 5
SHARE = 2  # one in so many pictures has a label file beside it
YAMLS = (".yaml", ".yml")
NAME_LISTS = ("classes.txt", "_darknet.labels")
NAMES_SUFFIX = ".names"
# Texts that lie among label files and are none.
OTHER_TEXT = re.compile(r"(?:readme(?:\.[a-z]+)?|licen[cs]e|classes|notes)\.txt", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf(?:inity)?)", re.ASCII | re.IGNORECASE)
TWINS = {"images": "labels", "Images": "Labels", "IMAGES": "LABELS"}


def is_yolo(root: Path) -> bool:
    """Tell whether a folder holds boxes or polygons in YOLO's format: one .txt of numbers for each picture.

    Folders ``images`` and ``labels`` (at the root or in a split's folder) whose labels are such texts; a YAML file that
    names classes and splits; or pictures with such texts beside them, where no folders could be classes.
    """
    holders = [root, *_split_folders(root)]
    if any(_holds_labels(holder / twin) for holder in holders for twin in _twins_in(holder)):
        return True
    if any(is_description(path) for path in yaml_files(root)):
        return True
    pictures = [folder for holder in holders for folder in (holder / name for name in TWINS) if folder.is_dir()]
    holders += [*pictures, *(inner for folder in pictures for inner in _split_folders(folder))]
    if any(_is_class_list(name) for name in _names(root)):
        holders += _folders(root)
    return any(_has_labels_beside(folder) for folder in holders)


def split_meant(name: str) -> str | None:
    """Return the split that a folder's name means, by an alias (``dev``) too, or None."""
    return split_of(name) or SPLIT_ALIASES.get(name.lower())


def yaml_files(root: Path) -> list[Path]:
    """Return the YAML files in a folder, sorted."""
    return sorted(root / name for name in _names(root) if name.lower().endswith(YAMLS))


def is_description(path: Path) -> bool:
    """Tell by its head whether a YAML file names classes and a training split, as YOLO's do."""
    head = _head(path)
    return re.search(rb"^names\s*:", head, re.MULTILINE) is not None and (
        re.search(rb"^train\s*:", head, re.MULTILINE) is not None
    )


def label_apart(path: str) -> str | None:
    """Return where a picture's label file lies if there are folders ``images`` and ``labels``; else None."""
    parts = path.split("/")
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] in TWINS:
            parts[place] = TWINS[parts[place]]
            return label_beside("/".join(parts))
    return None


def label_beside(path: str) -> str:
    """Return the path of a label file in the picture's own folder."""
    return PurePosixPath(path).with_suffix(".txt").as_posix()


def is_label_file(path: str) -> bool:
    """Tell by its name whether a file may hold a picture's labels."""
    return path.lower().endswith(".txt") and not OTHER_TEXT.fullmatch(path.rpartition("/")[2])


def numbers_in(line: str) -> list[float] | None:
    """Return the numbers of a line, or None if something in it is none."""
    words = line.split()
    return [float(word) for word in words] if all(NUMBER.fullmatch(word) for word in words) else None


def _holds_labels(folder: Path) -> bool:
    """Tell whether there are label files in a folder, or in the folders in it."""
    texts = (path for place in (folder, *_folders(folder)) for path in _texts(place))
    return _are_labels(islice(texts, LOOKED_AT))


def _has_labels_beside(folder: Path) -> bool:
    """Tell whether many pictures in a folder have label files beside them, and nothing in it could be a class."""
    names = _names(folder)
    pictures = {os.path.splitext(name)[0] for name in names if is_picture(name)}  # noqa: PTH122 - a million names
    labels = sorted(name for name in names if is_label_file(name) and name[:-4] in pictures)
    if not labels or SHARE * len(labels) < len(pictures):
        return False
    # Folders called as in "images" beside the pictures are no classes, but then their labels were found before.
    if any(is_picture(name) for inner in _folders(folder) for name in _names(inner)):
        return False
    return _are_labels(folder / name for name in labels[:LOOKED_AT])


def _are_labels(paths: Iterable[Path]) -> bool:
    """Tell whether texts are lines of a class and four numbers or more; empty ones say that nothing is there."""
    heads = [_head(path) for path in paths]
    return bool(heads) and all(_is_label_text(head) for head in heads if head.strip())


def _is_label_text(head: bytes) -> bool:
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    whole = lines[:-1] if len(head) == HEAD_BYTES and len(lines) > 1 else lines
    found = [numbers_in(line) for line in whole if line.strip()]
    return all(values is not None and len(values) >= LEAST_COLUMNS for values in found)


def _texts(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_label_file(entry.name) and entry.is_file():
                    yield Path(entry.path)
    except OSError:  # what is not there, or cannot be listed, holds nothing that is read
        return


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file()]
    except OSError:
        return []


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(one.path) for one in entries if not one.name.startswith(".") and one.is_dir())
    except OSError:
        return []


def _split_folders(folder: Path) -> list[Path]:
    return [path for path in _folders(folder) if split_meant(path.name)]


def _twins_in(folder: Path) -> list[str]:
    return [labels for pictures, labels in TWINS.items() if (folder / pictures).is_dir()]


def _is_class_list(name: str) -> bool:
    return name in NAME_LISTS or name.endswith(NAMES_SUFFIX)


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
