"""Parquet tables: their columns without the pictures' bytes, and single pictures out of their row groups."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob.core.errors import DataError
from bob.data.decode import open_picture
from bob.data.table_rows import Rows

PICTURE_NAMES = ("image", "img", "picture", "bytes", "image_bytes", "image_data", "jpg", "png", "data")
HINT = "Write it again, with one row for each picture."
_GROUPS = threading.Lock()


def read_parquet_rows(path: Path, name: str) -> Rows:
    """Read a Parquet file's columns but for those of bytes. Imports pyarrow.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        DataError: It cannot be read, or several columns hold bytes.
    """
    import pyarrow as pa

    try:
        return _rows(path, name)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}", hint=HINT) from error


@dataclass(frozen=True)
class StoredOpener:
    """Opens pictures that are stored in Parquet files. One row group per file is in memory at a time.

    Attributes:
        root: The data set's folder.
        files: The files' paths below it.
        column: The column of bytes, or of structures with ``bytes`` and ``path``.
        places: int64 (n, 2): of each picture the number of its file, and of its row in that.
    """

    root: Path
    files: tuple[str, ...]
    column: str
    places: np.ndarray

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``; ValueError if there are no bytes in its place."""
        import pyarrow as pa

        file, row = (int(number) for number in self.places[index])
        try:
            stored = _cell(self.root / self.files[file], self.column, row)
        except pa.ArrowException as error:
            raise ValueError(f"{self.files[file]} is damaged: {error}") from error
        content = stored.get("bytes") if isinstance(stored, dict) else stored
        if isinstance(content, bytes):
            return open_picture(BytesIO(content))
        # Where other rows have bytes a file's content is in no fingerprint.
        raise ValueError("no bytes are stored, though other rows have some")


def _rows(path: Path, name: str) -> Rows:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
        if len(set(schema.names)) < len(schema.names):
            raise DataError(f"{name}: two columns have the same name.", hint="Rename one of them.")
        stored = _stored_column(file, name)
        apart = [field.name for field in schema if _is_bytes(field.type) or _has_field(field.type, "bytes")]
        plain = [field.name for field in schema if field.name not in apart]
        cells: dict[str, Sequence[Any]] = {
            column: file.read(columns=[column]).column(column).to_pylist() for column in plain
        }
        for column in apart if stored is None else ():
            if _has_field(schema.field(column).type, "path"):
                paths = file.read(columns=[f"{column}.path"]).column(column).to_pylist()
                cells[column] = [None if one is None else one.get("path") for one in paths]
        if not count:
            raise DataError(f"{name} has no rows.", hint="One row for each picture is expected.")
        named = {column: _named(name, column, cells[column], names) for column, names in _class_names(schema).items()
                 if column in cells}  # fmt: skip
    return Rows(name=name, cells={**cells, **named}, lines=range(1, count + 1), stored=stored)


def _stored_column(file: Any, name: str) -> str | None:
    """Return the column that holds the pictures' bytes; None where all its bytes are missing, or there is none."""
    found = [field.name for field in file.schema_arrow if _holds_bytes(file, field)]
    usual = [column for wanted in PICTURE_NAMES for column in found if column.lower() == wanted]
    if len(found) > 1 and not usual:
        raise DataError(
            f"{name}: the columns {', '.join(found)} all hold bytes.", hint="Call the one with the pictures 'image'."
        )
    return (usual or found or [None])[0]


def _holds_bytes(file: Any, field: Any) -> bool:
    if _is_bytes(field.type):
        leaf = field.name
    elif _has_field(field.type, "bytes") and not _is_nothing(field.type.field("bytes").type):
        leaf = f"{field.name}.bytes"
    else:
        return False
    metadata = file.metadata
    place = next((n for n in range(metadata.num_columns) if file.schema.column(n).path == leaf), None)
    if place is None:
        return True
    chunks = [metadata.row_group(group).column(place) for group in range(metadata.num_row_groups)]
    nulls = [chunk.statistics.null_count if _counts_nulls(chunk) else 0 for chunk in chunks]
    return sum(nulls) < metadata.num_rows


def _counts_nulls(chunk: Any) -> bool:
    return chunk.statistics is not None and chunk.statistics.has_null_count


def _is_nothing(kind: Any) -> bool:
    """Tell whether a column has no value at all: of such a one no count of nulls is kept."""
    import pyarrow as pa

    return pa.types.is_null(kind)


def _is_bytes(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _has_field(kind: Any, name: str) -> bool:
    import pyarrow as pa

    return pa.types.is_struct(kind) and any(field.name == name for field in kind)


def _class_names(schema: Any) -> dict[str, list[str]]:
    """Return the names of each column's numbers that Hugging Face writes beside the columns."""
    content = (schema.metadata or {}).get(b"huggingface")
    if not content:
        return {}
    features = json.loads(content)["info"]["features"]
    found: dict[str, list[str]] = {}
    for column, feature in features.items():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else {}
        names = inner.get("names") if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" else None
        if isinstance(names, list):
            found[column] = [str(one) for one in names]
    return found


def _named(file: str, column: str, values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Return names for numbers; -1 and nothing are no label."""

    def name_of(value: Any) -> Any:
        if isinstance(value, list):
            return [name_of(one) for one in value]
        if value is None or value == -1:
            return None
        if isinstance(value, int) and 0 <= value < len(names):
            return names[value]
        raise DataError(f"{file}: column {column!r} holds {value!r} and names {len(names)} classes.", hint=HINT)

    return [name_of(value) for value in values]


def _cell(path: Path, column: str, row: int) -> Any:
    ends = _group_ends(path)
    group = int(np.searchsorted(ends, row, side="right"))
    start = int(ends[group - 1]) if group else 0
    with _GROUPS:  # or each thread would unpack a row group of its own
        chunk = _group(path, column, group)
    return chunk[row - start].as_py()


@functools.lru_cache(maxsize=256)
def _group_ends(path: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)
    return np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])


@functools.lru_cache(maxsize=2)
def _group(path: Path, column: str, group: int) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(group, columns=[column]).column(column)


def stored_opener(root: Path, files: Sequence[str], column: str, places: Sequence[tuple[int, int]]) -> StoredOpener:
    """Return what opens the pictures at these places, (file, row) each."""
    return StoredOpener(root, tuple(files), column, np.array(places, dtype=np.int64).reshape(-1, 2))
