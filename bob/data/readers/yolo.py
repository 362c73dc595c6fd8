"""YOLO's format: a .txt of boxes or polygons for each picture, and a YAML file that names classes and splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bob.core.errors import DataMissingError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.fingerprint import fingerprint_files
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same
from bob.data.splits import SPLIT_VERSION
from bob.data.table_cache import Parsed, Tables, tables
from bob.data.yolo_description import find_description
from bob.data.yolo_places import YoloFound, find_splits

log = logging.getLogger(__name__)

PARSER_VERSION = 1
FILE = "description"  # the spec's option: the YAML file, where one was named instead of its folder


@dataclass(frozen=True)
class _Set:
    """A data set's folder, what lies in it, the names of its class ids (None: nothing names them), its fingerprint."""

    root: Path
    found: YoloFound
    names: Mapping[int, str] | None
    fingerprint: str

    def tables(self, cache_dir: Path) -> Tables:
        """Return the parsed labels."""
        return tables("yolo", self.fingerprint, partial(_parse, self), root=self.root, cache_dir=cache_dir)


class YoloReader:
    """Reads ``yolo:FOLDER`` and ``data.yaml``; the layouts are those of ``bob.data.yolo_places``."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The labels, and the pictures' headers for their sizes, are read once per content."""
        place = Path(target).expanduser().resolve()
        if not place.exists():
            raise DataMissingError(
                f"{target!r} is not there; a folder with images/ and labels/, or its data.yaml, is expected.",
                hint=f"Look for it: ls '{place.parent}'",
            )
        file = None if place.is_dir() else place.name
        data = _read(place if file is None else place.parent, file, cache_dir)
        read = data.tables(cache_dir)
        if data.names is None:
            log.warning(
                "%s: nothing names the classes: they are called %s. 'names' in data.yaml, or classes.txt, names them.",
                *(data.root, ", ".join(read.classes[:3])),
            )
        return DatasetSpec(
            name=data.root.name,
            kind="yolo",
            root=str(data.root),
            options=() if file is None else ((FILE, file),),
            fingerprint=read.marked(data.fingerprint),
            classes=read.classes,
            sizes=read.sizes,
            annotations=read.annotations,
            contrasted=read.contrasted,
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        file = dict(spec.options).get(FILE)
        data = _read(Path(str(spec.root)), None if file is None else str(file), cache_dir)
        read = data.tables(cache_dir)
        require_same(spec, read.marked(data.fingerprint))
        masks = annotation == "instances"
        return {split: read.samples(split, data.root, said_by="its header", masks=masks) for split in read.stored}


READER = YoloReader()


def _read(root: Path, file: str | None, cache_dir: Path) -> _Set:
    said = find_description(root, file)
    found = find_splits(root, said)
    names = said.names or found.names
    if names is None and said.count is not None:
        names = {number: f"class_{number}" for number in range(said.count)}
    labels = {path for part in found.splits.values() for path in (*part.labels.values(), *part.strays)}
    content = fingerprint_files(root, found.entries, cache_dir=cache_dir, whole=labels.__contains__)
    splits = sorted((split, list(part.pictures)) for split, part in found.splits.items())
    named = None if names is None else list(names.items())
    fingerprint = digest(["yolo", SPLIT_VERSION, PARSER_VERSION, named, splits, content], length=64)
    return _Set(root, found, names, fingerprint)


def _parse(data: _Set) -> Parsed:
    from bob.data.yolo_parse import parse_yolo

    log.info("Reading the labels of %s (once).", data.root)
    present = frozenset(entry.path for entry in data.found.entries)
    return parse_yolo(data.root, data.found.splits, data.names, present)
