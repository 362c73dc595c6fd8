"""Folders of pictures: ``SPLIT/CLASS/*.jpg``, or ``CLASS/*.jpg`` without splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.decode import open_picture
from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.folder_splits import class_folders, split_folders_of
from bob.data.folder_suspicion import require_classes
from bob.data.imagenet import are_wnids
from bob.data.judge import require_distinct_names, require_trained
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.splits import SPLIT_VERSION, UNDIVIDED

IMAGENETS = ("ImageNet-1k", "ImageNet-21k", "ImageNet-22k")


@dataclass(frozen=True)
class _Stored:
    """One stored split: its picture files with a label each, the names of files that are no pictures, and whether the
    split is a folder in one of the same name.
    """

    files: tuple[FileEntry, ...]
    classes: tuple[str, ...]
    ignored: tuple[str, ...]
    nested: bool = False


@dataclass(frozen=True)
class FileOpener:
    """Opens the pictures of a list of paths below a root."""

    root: Path
    paths: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``, its header read and its pixels not yet."""
        return open_picture(self.root / self.paths[index])


class ImageFolderReader:
    """Reads class folders. Option ``layout``: "auto", "divide" (a flat folder is split 70/10/20) or "test_only".

    "auto" divides a flat folder too, unless its class folders are ImageNet's WordNet ids: then all of it is test. It
    refuses a folder that looks like another layout.
    """

    def resolve(
        self, target: str, *, cache_dir: Path, data_dir: Path | None, layout: str = "auto", suspected: bool = True
    ) -> DatasetSpec:
        """Describe the folder ``target``; the fingerprint covers its picture files and their split names."""
        root = Path(target).expanduser().resolve()
        if not root.is_dir():
            raise DataMissingError(
                f"folder {target!r} is not there; a folder SPLIT/CLASS/*.jpg or CLASS/*.jpg is expected.",
                hint=f"Look for it: ls '{root.parent}'",
            )
        stored = _scan(root, layout)
        if layout == "auto" and suspected:
            pictures = {name: [entry.path for entry in part.files] for name, part in stored.items()}
            require_classes(root, {name: (pictures[name], part.classes, part.ignored) for name, part in stored.items()})
        classes = _classes(root, stored, layout)
        labels = {name: _listing(part, classes) for name, part in stored.items()}
        return DatasetSpec(
            name=root.name,
            kind="imagefolder",
            root=str(root),
            options=(("layout", layout),),
            fingerprint=_fingerprint(root, stored, cache_dir),
            classes=classes,
            sizes=split_sizes(labels),
            overlaps=IMAGENETS if are_wnids(classes) and _tests_on_training_pictures(stored) else (),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        root = Path(str(spec.root))
        stored = _scan(root, str(dict(spec.options).get("layout", "auto")))
        require_same(spec, _fingerprint(root, stored, cache_dir))
        return {name: _samples(root, part, spec.classes) for name, part in stored.items()}


READER = ImageFolderReader()


def _scan(root: Path, layout: str) -> dict[str, _Stored]:
    """Return the stored splits; DataError where the layout is not known."""
    splits = split_folders_of(root, layout)
    if splits:
        return {name: _scan_split(root, folder) for name, folder in splits.items()}
    flat = _scan_split(root, root)
    alone = layout == "test_only" or (layout == "auto" and are_wnids(sorted(set(flat.classes))))
    return {"test" if alone else UNDIVIDED: flat}


def _tests_on_training_pictures(stored: Mapping[str, _Stored]) -> bool:
    """Tell whether test is split off pictures that may be training pictures of whoever else used the data set.

    A folder with a test or val split of its own, or one that is all test, keeps its test pictures apart.
    """
    return UNDIVIDED in stored or set(stored) == {"train"}


def _scan_split(root: Path, folder: Path) -> _Stored:
    files: list[FileEntry] = []
    classes: list[str] = []
    ignored: list[str] = []
    for class_folder in class_folders(folder):
        inside(root, class_folder)
        for entry in list_files(root, class_folder):
            if is_picture(entry.path):
                files.append(entry)
                classes.append(class_folder.name)
            else:
                ignored.append(entry.path)
    if not files:
        raise DataError(
            f"{folder} holds no class folder with pictures; CLASS/*.jpg is expected in it.",
            hint="Put each class's pictures in a folder named after the class.",
        )
    nested = folder not in (root, root / folder.name)
    return _Stored(tuple(files), tuple(classes), tuple(ignored), nested)


def _classes(root: Path, stored: Mapping[str, _Stored], layout: str) -> tuple[str, ...]:
    classes = tuple(sorted(set().union(*(part.classes for part in stored.values()))))
    if layout == "auto":
        require_distinct_names(str(root), classes)
    present = {name: set(_listing(part, classes)[1].tolist()) for name, part in stored.items()}
    hint = "Make the class folders of every split the same."
    require_trained(str(root), classes, present, what="picture", hint=hint)
    return classes


def _listing(part: _Stored, classes: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    index = {name: place for place, name in enumerate(classes)}
    labels = np.array([index[name] for name in part.classes], dtype=np.int64)
    return tuple(entry.path for entry in part.files), labels


def _samples(root: Path, part: _Stored, classes: tuple[str, ...]) -> Samples:
    paths, labels = _listing(part, classes)
    return Samples(ids=paths, labels=labels, read=FileOpener(root, paths), ignored=part.ignored)


def _fingerprint(root: Path, stored: Mapping[str, _Stored], cache_dir: Path) -> str:
    files = [entry for part in stored.values() for entry in part.files]
    content = fingerprint_files(root, files, cache_dir=cache_dir)
    # The same files were one class before splits that are nested in themselves were read.
    nested = ["nested"] if any(part.nested for part in stored.values()) else []
    # An undivided folder and one that is all test hold the same files but other splits.
    return digest(["imagefolder", SPLIT_VERSION, sorted(stored), content, *nested], length=64)
