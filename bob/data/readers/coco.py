"""COCO instances: a JSON file per split with boxes, and polygons or run lengths of masks, beside its pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bob.core.files import digest
from bob.data.coco_layout import (
    ANNOTATION_FOLDERS,
    ROBOFLOW,
    coco_files,
    coco_splits,
    picture_places,
    require_boxes,
)
from bob.data.coco_places import CocoFile
from bob.data.dataset import SPLITS, DatasetSpec
from bob.data.dense_places import known_or_folder
from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.known import KNOWN
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same
from bob.data.splits import SPLIT_VERSION, UNDIVIDED
from bob.data.table_cache import Parsed, Tables, tables

log = logging.getLogger(__name__)

PARSER_VERSION = 1


@dataclass(frozen=True)
class _Found:
    """What lies in the folder: the JSON file of each split, where its pictures may be, and all files that count."""

    files: dict[str, Path]
    folders: dict[str, tuple[str, ...]]
    entries: tuple[FileEntry, ...]


class CocoReader:
    """Reads ``coco``, ``coco:FOLDER`` and one JSON file; ``bob.data.coco_layout`` finds the files of a folder."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The annotations are read once per content; pictures are not opened."""
        file = _named_file(target)
        root = _root_of(file) if file else known_or_folder("coco", target, cache_dir=cache_dir, data_dir=data_dir)
        found = _scan(root, file)
        fingerprint = _fingerprint(root, found, cache_dir)
        read = _tables(root, found, fingerprint, cache_dir)
        known = KNOWN.get("coco") if target == "coco" else None
        return DatasetSpec(
            name="coco" if known else f"{root.name}-{file.stem}" if file else root.name,
            kind="coco",
            root=str(root),
            options=(("file", file.relative_to(root).as_posix()),) if file else (),
            fingerprint=read.marked(fingerprint),
            classes=read.classes,
            sizes=read.sizes,
            license=known.license if known else "unknown",
            overlaps=known.overlaps if known else (),
            annotations=read.annotations,
            contrasted=read.contrasted,
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Say how to get COCO if it is not here: 20 GB come from its own site, after its terms of use."""
        if not _named_file(target):
            known_or_folder("coco", target, cache_dir=cache_dir, data_dir=data_dir)

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        root, file = Path(str(spec.root)), dict(spec.options).get("file")
        found = _scan(root, root / str(file) if file else None)
        fingerprint = _fingerprint(root, found, cache_dir)
        read = _tables(root, found, fingerprint, cache_dir)
        require_same(spec, read.marked(fingerprint))
        masks = annotation == "instances"
        return {split: read.samples(split, root, said_by=found.files[split].name, masks=masks) for split in read.stored}


READER = CocoReader()


def _tables(root: Path, found: _Found, fingerprint: str, cache_dir: Path) -> Tables:
    return tables("coco", fingerprint, partial(_parse, root, found), root=root, cache_dir=cache_dir)


def _parse(root: Path, found: _Found) -> Parsed:
    from bob.data.coco_parse import parse_coco

    log.info("Reading the annotations of %s (once).", root)
    for path in found.files.values():
        if path.name.lower().startswith("person_keypoints"):
            log.warning("%s: the boxes are read, the keypoints are not.", path)
    present = frozenset(entry.path for entry in found.entries)
    return parse_coco(root, {s: CocoFile(path, found.folders[s], s) for s, path in found.files.items()}, present)


def _named_file(target: str) -> Path | None:
    """Return the JSON file that a target names, if it names one."""
    path = Path(target).expanduser()
    return path.resolve() if path.is_file() else None


def _root_of(file: Path) -> Path:
    return file.parent.parent if file.parent.name.lower() in ANNOTATION_FOLDERS else file.parent


def _scan(root: Path, file: Path | None = None) -> _Found:
    """Find the files; one that is named itself is the whole data set, whatever else lies beside it."""
    if file is not None:
        require_boxes(root, file)
    found = {UNDIVIDED: file} if file is not None else coco_splits(root)
    files = {split: Path(inside(root, found[split])) for split in (UNDIVIDED, *SPLITS) if split in found}
    if file is None and coco_files(root):
        folders = {split: _folders(root, split, path) for split, path in files.items()}
    else:  # these may lie in several folders at once
        folders = {split: (picture_places(root, split, path), "") for split, path in files.items()}
    return _Found(files, {split: names for split, (names, _) in folders.items()}, _entries(root, files, folders))


def _folders(root: Path, split: str, path: Path) -> tuple[tuple[str, ...], str]:
    """Return where a split's pictures may lie, best first, and the folder to list: the first of them that is there."""
    if path.name == ROBOFLOW:
        folder = path.parent.relative_to(root).as_posix() + "/"
        return (folder, ""), folder
    name = path.stem.removeprefix("instances_")
    places = (f"{name}/", f"images/{name}/", f"{split}/", f"images/{split}/", "images/")
    there = tuple(place for place in places if (root / place).is_dir())
    return (*there, ""), (there[0] if there else "")


def _entries(
    root: Path, files: Mapping[str, Path], folders: Mapping[str, tuple[tuple[str, ...], str]]
) -> tuple[FileEntry, ...]:
    found: dict[str, FileEntry] = {}
    for listed in {folder for _, folder in folders.values()}:
        place = root / listed if listed else root
        inside(root, place)
        found |= {entry.path: entry for entry in list_files(root, place) if is_picture(entry.path)}
    for path in files.values():
        status = path.stat()
        relative = path.relative_to(root).as_posix()
        found[relative] = FileEntry(relative, status.st_size, status.st_mtime_ns)
    return tuple(sorted(found.values()))


def _fingerprint(root: Path, found: _Found, cache_dir: Path) -> str:
    annotations = {path.relative_to(root).as_posix() for path in found.files.values()}
    content = fingerprint_files(root, found.entries, cache_dir=cache_dir, whole=annotations.__contains__)
    splits = sorted((split, path.relative_to(root).as_posix()) for split, path in found.files.items())
    return digest(["coco", SPLIT_VERSION, PARSER_VERSION, splits, content], length=64)
