"""Where the CSV files of Open Images and its pictures lie. Names tell; nothing is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bob.core.errors import DataError
from bob.data.dataset import SPLITS
from bob.data.file_names import SPLIT_NAMES, is_picture

# Where people put the CSV files, below the data set's folder.
TABLE_FOLDERS = ("", "annotations", "csv_folder", "csv", "metadata", "labels")
PICTURE_FOLDERS = ("", "data", "images")  # below a split's folder
_BOXES = re.compile(r"(?:oidv\d+-)?(train|validation|test)-annotations-bbox\.csv")
_NAMES = re.compile(r"(?:oidv\d+-)?class-descriptions(-boxable)?\.csv")
_SPLIT = re.compile(r"(train|val|valid|validation|test)(?:_[0-9a-f])?")  # train_0 ... train_f come as archives
EXPECTED = (
    "SPLIT-annotations-bbox.csv and class-descriptions-boxable.csv beside SPLIT/*.jpg (or SPLIT/data/*.jpg), where "
    "SPLIT is train, validation or test"
)


@dataclass(frozen=True)
class OpenImagesFiles:
    """What lies in a folder.

    Attributes:
        boxes: The CSV file of boxes of each stored split.
        names: The CSV file of class names.
        folders: The folders of pictures of each stored split, none where there is none.
    """

    boxes: dict[str, Path]
    names: Path
    folders: dict[str, list[Path]]


def is_open_images(root: Path) -> bool:
    """Tell whether this holds Open Images' boxes, and pictures that lie in their splits, not in folders of classes."""
    if not any(_tables(root, _BOXES)):
        return False
    splits = (folder for folders in _picture_folders(root).values() for folder in folders)
    return any(_holds_picture(folder / name) for folder in splits for name in PICTURE_FOLDERS)


def open_images_files(root: Path) -> OpenImagesFiles:
    """Return the files of Open Images in a folder.

    Raises:
        DataError: One is missing, or there are two for one split.
    """
    boxes: dict[str, Path] = {}
    for path in _tables(root, _BOXES):
        match = _BOXES.fullmatch(path.name)
        assert match is not None, "others are not listed"
        split = SPLIT_NAMES[match[1]]
        if split in boxes:
            raise DataError(
                f"{root} holds both {boxes[split].name} and {path.name}: one file a split is expected.",
                hint="Keep one of them.",
            )
        boxes[split] = path
    if not boxes:
        raise DataError(f"{root} holds no boxes of Open Images: expected is {EXPECTED}.", hint=f"ls '{root}'")
    names = sorted(_tables(root, _NAMES), key=lambda path: ("-boxable" not in path.name, path))
    if not names:
        raise DataError(
            f"{root} holds no class names: class-descriptions-boxable.csv is expected beside {boxes[min(boxes)].name}.",
            hint="It is on storage.googleapis.com/openimages/web, with the boxes.",
        )
    folders = _picture_folders(root)
    order = [split for split in SPLITS if split in boxes]
    return OpenImagesFiles(
        {split: boxes[split] for split in order}, names[0], {split: folders.get(split, []) for split in order}
    )


def _tables(root: Path, form: re.Pattern[str]) -> Iterator[Path]:
    for name in TABLE_FOLDERS:
        folder = root / name
        if folder.is_dir():
            with os.scandir(folder) as entries:
                found = sorted(entry.name for entry in entries if entry.name.endswith(".csv"))
            yield from (folder / name for name in found if form.fullmatch(name) and (folder / name).is_file())


def _picture_folders(root: Path) -> dict[str, list[Path]]:
    """Return the folders named as splits, in the root, or else in its folder ``images``."""
    found: dict[str, list[Path]] = {}
    for place in (root, root / "images"):
        for path in sorted(place.iterdir()) if place.is_dir() and not found else ():
            match = _SPLIT.fullmatch(path.name.lower())
            if match and path.is_dir():
                found.setdefault(SPLIT_NAMES[match[1]], []).append(path)
    return found


def _holds_picture(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(is_picture(entry.name) for entry in entries)
