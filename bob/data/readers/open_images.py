"""Open Images: boxes in a CSV file for each split, class names in another, and pictures named by their ids."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.dense_places import known_or_folder
from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.open_images_layout import EXPECTED, open_images_files
from bob.data.open_images_parse import BoxFile, parse_open_images
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same
from bob.data.splits import SPLIT_VERSION
from bob.data.table_cache import Parsed, Tables, tables

log = logging.getLogger(__name__)

PARSER_VERSION = 1


@dataclass(frozen=True)
class _Found:
    """What lies in the folder: each split's boxes and pictures, the class names, and all files that count."""

    files: dict[str, BoxFile]
    names: Path
    entries: tuple[FileEntry, ...]


class OpenImagesReader:
    """Reads ``open_images:FOLDER``, whole or the part of the pictures that was downloaded."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The CSV files and the pictures' headers are read once per content."""
        root = known_or_folder("open_images", target, cache_dir=cache_dir, data_dir=data_dir)
        found = _scan(root)
        fingerprint = _fingerprint(root, found, cache_dir)
        read = _tables(root, found, fingerprint, cache_dir)
        return DatasetSpec(
            name=root.name,
            kind="open_images",
            root=str(root),
            fingerprint=read.marked(fingerprint),
            classes=read.classes,
            sizes=read.sizes,
            # Classes without a box were not all looked for: which classes a picture lacks is not known.
            annotations=("boxes",),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Say how to get Open Images if it is not here: a part of its 561 GB must be chosen."""
        known_or_folder("open_images", target, cache_dir=cache_dir, data_dir=data_dir)

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        root = Path(str(spec.root))
        found = _scan(root)
        fingerprint = _fingerprint(root, found, cache_dir)
        read = _tables(root, found, fingerprint, cache_dir)
        require_same(spec, read.marked(fingerprint))
        return {split: read.samples(split, root, said_by="its header", masks=False) for split in read.stored}


READER = OpenImagesReader()


def _scan(root: Path) -> _Found:
    there = open_images_files(root)
    entries: list[FileEntry] = []
    files: dict[str, BoxFile] = {}
    for split, path in there.boxes.items():
        pictures: dict[str, FileEntry] = {}
        for folder in there.folders[split]:
            inside(root, folder)
            for entry in list_files(root, folder):
                if is_picture(entry.path):
                    entries.append(entry)
                    _enter(root, pictures, entry)
        if pictures:
            files[split] = BoxFile(inside(root, path), {number: entry.path for number, entry in pictures.items()})
        else:
            log.warning("%s: there is no picture of %s: the split %s is left out.", root, path.name, split)
    if not files:
        raise DataError(f"{root} holds no pictures of Open Images: expected is {EXPECTED}.", hint=f"ls '{root}'")
    for path in (*(file.path for file in files.values()), inside(root, there.names)):
        status = path.stat()
        entries.append(FileEntry(path.relative_to(root.resolve()).as_posix(), status.st_size, status.st_mtime_ns))
    return _Found(files, inside(root, there.names), tuple(sorted(entries)))


def _enter(root: Path, pictures: dict[str, FileEntry], entry: FileEntry) -> None:
    """Enter a picture by its id; one that lies in several folders, as downloads by class leave it, is one picture."""
    known = pictures.setdefault(PurePosixPath(entry.path).stem, entry)
    if known.size != entry.size:
        raise DataError(
            f"{root}: {known.path} and {entry.path} have the same ImageID and another content.",
            hint="Keep one of them.",
        )


def _fingerprint(root: Path, found: _Found, cache_dir: Path) -> str:
    content = fingerprint_files(root, found.entries, cache_dir=cache_dir, whole=lambda path: path.endswith(".csv"))
    splits = {split: file.path.relative_to(root.resolve()).as_posix() for split, file in found.files.items()}
    return digest(["open_images", SPLIT_VERSION, PARSER_VERSION, splits, content], length=64)


def _tables(root: Path, found: _Found, fingerprint: str, cache_dir: Path) -> Tables:
    return tables("open_images", fingerprint, partial(_parse, root, found), root=root, cache_dir=cache_dir)


def _parse(root: Path, found: _Found) -> Parsed:
    log.info("Reading the boxes of %s (once).", root)
    return parse_open_images(root, found.names, found.files)
