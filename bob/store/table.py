"""The folded table: what it holds, what it covers, and how it is read and written. Imports pyarrow."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from bob.core.files import digest, read_regular, replacing
from bob.jobs.row import ROW_SCHEMA_VERSION
from bob.store.amendments import is_amendment
from bob.store.columns import DTYPE_OF, rows_to_table
from bob.store.layout import RecordName, parse_record
from bob.store.records import DamagedError, refuse_newer

if TYPE_CHECKING:
    import pandas as pd

# Nullable pandas types, so that a missing seed does not turn every seed into a float.
_PANDAS = {
    "string": ("unicode", "object"),
    "float64": ("float64", "float64"),
    "int64": ("int64", "Int64"),
    "bool": ("bool", "boolean"),
}
_RECORD = ("job_id", "attempt", "status")
_ORDER = ("task", "dataset", "protocol", "backbone", "seed", "job_id")


@dataclass
class Folded:
    """What results.parquet holds.

    Attributes:
        table: One row per job.
        covered: File names of the records and amendments that were looked at.
    """

    table: pa.Table = field(default_factory=lambda: rows_to_table([]))
    covered: set[str] = field(default_factory=set)


def write_table(path: Path, folded: Folded) -> None:
    """Write results.parquet atomically, rows in a stable order, with what it covers in its metadata."""
    names = sorted(folded.covered)
    bob = {
        "schema_version": ROW_SCHEMA_VERSION,
        "records": len(names),
        "records_digest": digest(names),
        "record_names": base64.b85encode(zlib.compress("\n".join(names).encode())).decode(),
    }
    table = _ordered(folded.table)
    table = table.replace_schema_metadata({"bob": json.dumps(bob), "pandas": json.dumps(_pandas_metadata(table))})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def to_pandas(folded: Folded) -> pd.DataFrame:
    """Return the rows in the order and with the types that ``pandas.read_parquet`` gives them."""
    table = _ordered(folded.table)
    return table.replace_schema_metadata({"pandas": json.dumps(_pandas_metadata(table))}).to_pandas(use_threads=False)


def _ordered(table: pa.Table) -> pa.Table:
    return table.sort_by([(name, "ascending") for name in _ORDER]).combine_chunks()


def _pandas_metadata(table: pa.Table) -> dict[str, Any]:
    columns = []
    for entry in table.schema:
        pandas_type, numpy_type = _PANDAS[DTYPE_OF[entry.type]]
        names = {"name": entry.name, "field_name": entry.name}
        columns.append({**names, "pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": None})
    return {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}


def read_arrow(path: Path, columns: Collection[str] | None = None) -> pa.Table:
    """Read a table from one opening of the file, so that a replace meanwhile does not matter.

    Args:
        path: The file.
        columns: Read these alone, where they are there; None reads all.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It is not a readable Parquet file.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(read_regular(path)))
        present = file.schema_arrow.names
        chosen = None if columns is None else [name for name in present if name in columns]
        # A pool thread that lets go of the Python bytes after the interpreter's end would abort the process.
        return file.read(columns=chosen, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DamagedError(f"it is not a readable Parquet file ({str(error).splitlines()[0]})") from error


def read_folded(path: Path) -> Folded:
    """Read results.parquet back.

    Raises:
        FileNotFoundError: There is none.
        DamagedError: It is not readable, or does not say what it covers, or contradicts itself.
        StoreError: A newer version of BoB wrote it.
    """
    table = read_arrow(path)
    covered = _covered_names(table, path)
    odd = [entry.name for entry in table.schema if entry.type not in DTYPE_OF]
    if odd or not {*_ORDER, "attempt", "status"} <= set(table.column_names):
        raise DamagedError(f"its columns are not those of a result table ({', '.join(odd) or 'some are missing'})")
    if (
        not {_record_of(*values) for values in zip(*(table[name].to_pylist() for name in _RECORD), strict=True)}
        <= covered
    ):
        raise DamagedError("it has rows of jobs that it does not say it covers")
    return Folded(table=table.replace_schema_metadata(None), covered=covered)


def _record_of(job_id: Any, attempt: Any, status: Any) -> str:
    return RecordName(job_id, attempt, status).file if isinstance(attempt, int) else ""


def _covered_names(table: pa.Table, path: Path) -> set[str]:
    try:
        bob = json.loads((table.schema.metadata or {})[b"bob"])
        refuse_newer(path, int(bob["schema_version"]))
        names = zlib.decompress(base64.b85decode(bob["record_names"])).decode().split("\n")
        names = [name for name in names if name]
        is_whole = len(names) == bob["records"] and digest(names) == bob["records_digest"]
    except (KeyError, ValueError, TypeError, zlib.error) as error:
        raise DamagedError(f"it does not say which records it covers ({error!r})") from error
    if not is_whole or any(parse_record(name) is None and not is_amendment(name) for name in names):
        raise DamagedError("its list of records contradicts itself")
    return set(names)
