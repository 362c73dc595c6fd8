"""The folded table: one explicit schema over all rows, and the record of what it covers. Imports pyarrow."""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from bob.files import digest, replacing
from bob.row import COLUMNS, ROW_SCHEMA_VERSION
from bob.store.layout import parse_record
from bob.store.records import DamagedError, refuse_newer

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

_ARROW = {"string": pa.string(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
# Nullable pandas types, so that a missing seed does not turn every seed into a float.
_PANDAS = {
    "string": ("unicode", "object"),
    "float64": ("float64", "float64"),
    "int64": ("int64", "Int64"),
    "bool": ("bool", "boolean"),
}
_INT64_LIMIT = 2**63


@dataclass
class Folded:
    """What results.parquet holds.

    Attributes:
        rows: One row per job, by job id.
        covered: File names of the records that were looked at.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    covered: set[str] = field(default_factory=set)


def value_dtype(value: Any) -> str | None:
    """Return the column type that one value asks for; None for null."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -_INT64_LIMIT <= value < _INT64_LIMIT else "float64"
    return "float64" if isinstance(value, float) else "string"


def widened(first: str | None, second: str | None) -> str | None:
    """Return the narrowest type that holds both: integers and floats become floats, all else becomes text."""
    if first is None or second is None or first == second:
        return first or second
    return "float64" if {first, second} == {"int64", "float64"} else "string"


def unify(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return every column with its type: the known ones first, then those of plug-ins by name.

    A value that does not fit widens its column, with a warning if text is all that is left.
    """
    known = {column.name: column.dtype for column in COLUMNS}
    found: dict[str, str | None] = dict(known)
    for row in rows:
        for name, value in row.items():
            found[name] = widened(found.get(name), value_dtype(value))
    for name, dtype in found.items():
        if name in known and dtype != known[name]:
            log.warning("Column %r is %s by its definition; its values made it %s.", name, known[name], dtype)
    extras = sorted(set(found) - set(known))
    return {name: found[name] or "string" for name in [*known, *extras]}


def to_arrow(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Build the table of the rows under the unified schema."""
    columns = unify(rows)
    arrays = {name: _array(name, [row.get(name) for row in rows], dtype) for name, dtype in columns.items()}
    return pa.table(arrays, schema=pa.schema([(name, _ARROW[dtype]) for name, dtype in columns.items()]))


def _array(name: str, values: list[Any], dtype: str) -> pa.Array:
    if dtype == "string" and not all(value is None or isinstance(value, str) for value in values):
        log.warning("Column %r has values of several types: it is stored as text.", name)
        values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    if dtype == "float64":
        values = [None if value is None else float(value) for value in values]
    return pa.array(values, type=_ARROW[dtype], from_pandas=False)


def described_table(folded: Folded) -> pa.Table:
    """Build the table with its metadata: what it covers, and how pandas reads its types; rows in a stable order."""
    keys = ("task", "dataset", "protocol", "backbone", "seed", "job_id")
    rows = sorted(folded.rows.values(), key=lambda row: tuple(str(row.get(key) or "") for key in keys))
    table = to_arrow(rows)
    names = sorted(folded.covered)
    bob = {
        "schema_version": ROW_SCHEMA_VERSION,
        "records": len(names),
        "records_digest": digest(names),
        "record_names": base64.b85encode(zlib.compress("\n".join(names).encode())).decode(),
    }
    return table.replace_schema_metadata({"bob": json.dumps(bob), "pandas": json.dumps(_pandas_metadata(table))})


def write_table(path: Path, folded: Folded) -> None:
    """Write results.parquet atomically."""
    with replacing(path) as temporary:
        pq.write_table(described_table(folded), temporary, compression="zstd")


def to_pandas(folded: Folded) -> pd.DataFrame:
    """Return the rows with the types that ``pandas.read_parquet`` gives them."""
    return described_table(folded).to_pandas()


def _pandas_metadata(table: pa.Table) -> dict[str, Any]:
    text_of = {kind: text for text, kind in _ARROW.items()}
    columns = []
    for entry in table.schema:
        pandas_type, numpy_type = _PANDAS[text_of[entry.type]]
        columns.append(
            {
                "name": entry.name,
                "field_name": entry.name,
                "pandas_type": pandas_type,
                "numpy_type": numpy_type,
                "metadata": None,
            }
        )
    return {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}


def read_arrow(path: Path) -> pa.Table:
    """Read a table from one opening of the file, so that a replace meanwhile does not matter.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It is not a readable Parquet file.
    """
    try:
        return pq.ParquetFile(pa.BufferReader(path.read_bytes())).read()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError(f"it is not a readable Parquet file ({str(error).splitlines()[0]})") from error


def covered_names(table: pa.Table, path: Path) -> set[str]:
    """Return the file names of the records that a folded table covers.

    Raises:
        DamagedError: The table does not say, or contradicts itself.
        StoreError: A newer version of BoB wrote it.
    """
    try:
        bob = json.loads((table.schema.metadata or {})[b"bob"])
        refuse_newer(path, int(bob["schema_version"]))
        names = zlib.decompress(base64.b85decode(bob["record_names"])).decode().split("\n")
        names = [name for name in names if name]
        whole = len(names) == bob["records"] and digest(names) == bob["records_digest"]
    except (KeyError, ValueError, TypeError, zlib.error) as error:
        raise DamagedError(f"it does not say which records it covers ({error!r})") from error
    if not whole or any(parse_record(name) is None for name in names):
        raise DamagedError("its list of records contradicts itself")
    return set(names)


def read_folded(path: Path) -> Folded:
    """Read results.parquet back as rows; raises what ``read_arrow`` and ``covered_names`` raise."""
    table = read_arrow(path)
    covered = covered_names(table, path)
    rows = {row["job_id"]: {k: v for k, v in row.items() if v is not None} for row in table.to_pylist()}
    return Folded(rows=rows, covered=covered)
