"""A data set reader: pictures listed in a CSV file, with one label or several each.

    file,split,labels
    streets/001.jpg,train,car;person
    streets/002.jpg,test,car

``split`` is train, val or test, or empty for data that BoB is to divide. Several labels are separated by ";"::

    bob run --plugin csv_reader.py --data csv:photos.csv --backbone resnet50.a1_in1k
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.fingerprint import FileEntry, fingerprint_files, inside
from bob.data.readers import READERS
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.readers.imagefolder import FileOpener

KIND = "csv"
COLUMNS = ("file", "split", "labels")
UNDIVIDED = "all"


@dataclass(frozen=True)
class Row:
    """One picture: its path relative to the CSV file's folder, its split, and its labels."""

    path: str
    split: str
    labels: tuple[str, ...]


class CsvReader:
    """Reads ``csv:FILE``. Pictures with one label each serve classification; with several, multi-label tasks."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the data set; no picture is opened."""
        file = Path(target).expanduser().resolve()
        if not file.is_file():
            raise DataMissingError(f"CSV file {target!r} is not there.", hint=f"Look for it: ls '{file.parent}'")
        rows = read_rows(file)
        classes = tuple(sorted({label for row in rows for label in row.labels}))
        single = all(len(row.labels) == 1 for row in rows)
        stored = stored_splits(file.parent, rows, classes)
        return DatasetSpec(
            name=file.stem,
            kind=KIND,
            root=str(file),
            fingerprint=fingerprint(file, rows, cache_dir),
            classes=classes,
            sizes=split_sizes({name: (samples.ids, samples.labels) for name, samples in stored.items()}),
            annotations=("label", "label_sets") if single else ("label_sets",),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: the file is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits; DataError if a file changed since the data set was described."""
        file = Path(str(spec.root))
        rows = read_rows(file)
        require_same(spec, fingerprint(file, rows, cache_dir))
        return stored_splits(file.parent, rows, spec.classes)


def read_rows(file: Path) -> list[Row]:
    """Return the lines of the file.

    Raises:
        DataError: A column is missing, a picture has no label, or a path leads out of the file's folder.
    """
    with file.open(newline="", encoding="utf-8") as lines:
        table = csv.DictReader(lines)
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise DataError(f"{file} has no column {missing[0]!r}: expected {', '.join(COLUMNS)}.")
        rows = []
        for line in table:
            labels = tuple(sorted({label.strip() for label in line["labels"].split(";") if label.strip()}))
            if not labels:
                raise DataError(f"{file}, line {table.line_num}: the picture {line['file']!r} has no label.")
            inside(file.parent, file.parent / line["file"])
            rows.append(Row(line["file"], line["split"].strip() or UNDIVIDED, labels))
        return rows


def fingerprint(file: Path, rows: list[Row], cache_dir: Path) -> str:
    """Return a digest of what the rows say and of the pictures' content."""
    files = []
    for row in rows:
        try:
            status = (file.parent / row.path).stat()
        except FileNotFoundError as error:
            raise DataError(f"{file} lists the picture {row.path!r}, which is not there.") from error
        files.append(FileEntry(row.path, status.st_size, status.st_mtime_ns))
    said = [[row.path, row.split, list(row.labels)] for row in rows]
    return digest([KIND, said, fingerprint_files(file.parent, files, cache_dir=cache_dir)], length=64)


def stored_splits(root: Path, rows: list[Row], classes: tuple[str, ...]) -> dict[str, Samples]:
    """Return the pictures of each split, unopened."""
    place = {name: index for index, name in enumerate(classes)}
    splits: dict[str, list[Row]] = {}
    for row in rows:
        splits.setdefault(row.split, []).append(row)
    return {name: _samples(root, own, place) for name, own in splits.items()}


def _samples(root: Path, rows: list[Row], place: Mapping[str, int]) -> Samples:
    paths = tuple(row.path for row in rows)
    sets = tuple(tuple(place[label] for label in row.labels) for row in rows)
    return Samples(
        ids=paths,
        labels=np.array([own[0] for own in sets], dtype=np.int64),
        read=FileOpener(root, paths),
        label_sets=sets,
    )


READERS.add(KIND, CsvReader())
