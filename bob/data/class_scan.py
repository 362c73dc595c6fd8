"""What folders of classes hold: the pictures of each split and their classes, on disk or in archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bob.core.errors import DataError
from bob.core.text import printable
from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry, list_files
from bob.data.folder_splits import P, class_folders, require_inside, split_folders_of
from bob.data.folder_suspicion import require_classes
from bob.data.imagenet import are_wnids
from bob.data.judge import require_distinct_names, require_trained
from bob.data.member_paths import MemberPath
from bob.data.splits import UNDIVIDED


@dataclass(frozen=True)
class StoredSplit:
    """One stored split.

    Attributes:
        files: Its picture files.
        classes: The class of each.
        ignored: The names of files that are no pictures.
        nested: Whether the split is a folder in one of the same name.
    """

    files: tuple[FileEntry, ...]
    classes: tuple[str, ...]
    ignored: tuple[str, ...]
    nested: bool = False


def scan(root: P, layout: str) -> dict[str, StoredSplit]:
    """Return the stored splits of a folder, by its reader's layout ("auto", "divide" or "test_only").

    Raises:
        DataError: The layout is not known.
    """
    splits = split_folders_of(root, layout)
    if splits:
        return {name: _scan_split(root, folder) for name, folder in splits.items()}
    flat = _scan_split(root, root)
    alone = layout == "test_only" or (layout == "auto" and are_wnids(sorted(set(flat.classes))))
    return {"test" if alone else UNDIVIDED: flat}


def suspect(root: P, stored: Mapping[str, StoredSplit]) -> None:
    """Refuse what looks like something else than folders of classes.

    Raises:
        DataError: It does.
    """
    paths = {name: [entry.path for entry in part.files] for name, part in stored.items()}
    require_classes(root, {name: (paths[name], part.classes, part.ignored) for name, part in stored.items()})


def tests_on_training_pictures(stored: Mapping[str, StoredSplit]) -> bool:
    """Tell whether test is split off pictures that may be training pictures of whoever else used the data set.

    A folder with a test or val split of its own, or one that is all test, keeps its test pictures apart.
    """
    return UNDIVIDED in stored or set(stored) == {"train"}


def classes_of(root: P, stored: Mapping[str, StoredSplit], layout: str) -> tuple[str, ...]:
    """Return the sorted classes of all splits.

    Raises:
        DataError: Two differ in case alone, or train lacks one.
    """
    classes = tuple(sorted(set().union(*(part.classes for part in stored.values()))))
    if layout == "auto":
        require_distinct_names(str(root), classes)
    present = {name: set(listing(part, classes)[1].tolist()) for name, part in stored.items()}
    hint = "Make the class folders of every split the same."
    require_trained(str(root), classes, present, what="picture", hint=hint)
    return classes


def listing(part: StoredSplit, classes: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the samples' ids, which any text file can hold, and their labels, int64 (n,)."""
    index = {name: place for place, name in enumerate(classes)}
    labels = np.array([index[name] for name in part.classes], dtype=np.int64)
    return tuple(printable(entry.path) for entry in part.files), labels


def _scan_split(root: P, folder: P) -> StoredSplit:
    files: list[FileEntry] = []
    classes: list[str] = []
    ignored: list[str] = []
    for class_folder in class_folders(folder):
        require_inside(root, class_folder)
        name = printable(class_folder.name)
        for entry in _files_of(root, class_folder):
            if is_picture(entry.path):
                files.append(entry)
                classes.append(name)
            else:
                ignored.append(printable(entry.path))
    if not files:
        raise DataError(
            f"{folder} holds no class folder with pictures; CLASS/*.jpg is expected in it.",
            hint="Put each class's pictures in a folder named after the class.",
        )
    nested = folder not in (root, root / folder.name)
    return StoredSplit(tuple(files), tuple(classes), tuple(ignored), nested)


def _files_of(root: P, class_folder: P) -> list[FileEntry]:
    if isinstance(root, Path) and isinstance(class_folder, Path):
        return list_files(root, class_folder)
    assert isinstance(class_folder, MemberPath), "a folder in an archive"
    return class_folder.entries_below()
