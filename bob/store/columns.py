"""Rows to typed columns, and tables of different columns to one: no column is lost, no type is guessed twice."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from bob.jobs.row import COLUMNS

log = logging.getLogger(__name__)

ARROW = {"string": pa.string(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_()}
DTYPE_OF = {kind: name for name, kind in ARROW.items()}
KNOWN = {column.name: ARROW[column.dtype] for column in COLUMNS}
_INT64_LIMIT = 2**63


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


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Build the table of the rows: the known columns first, in order, then a plug-in's by name.

    A value that does not fit its column widens it, with a warning if text is all that is left. A column of a plug-in
    that has no value at all is left out: nothing gives it a type.
    """
    extras = sorted({name for row in rows for name, value in row.items() if value is not None} - KNOWN.keys())
    arrays = {name: column_of(name, [row.get(name) for row in rows]) for name in [*KNOWN, *extras]}
    return pa.table(arrays)


def column_of(name: str, values: list[Any]) -> pa.Array:
    """Return values as a column: of its own type, or wider where one does not fit."""
    try:
        array = pa.array(values, type=KNOWN.get(name))
        if array.type in DTYPE_OF:
            return array
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        log.debug("Column %r has values of several types.", name)
    known = DTYPE_OF.get(KNOWN.get(name))
    dtype = functools.reduce(widened, map(value_dtype, values), known) or "string"
    _warn_of(name, known, dtype)
    if dtype == "string":
        return pa.array([as_text(value) for value in values], type=pa.string())
    return pa.array([None if value is None else float(value) for value in values], type=pa.float64()).cast(ARROW[dtype])


def as_text(value: Any) -> str | None:
    """Return the text of a value in a column whose values are of several types."""
    text = value if value is None or isinstance(value, str) else json.dumps(value)
    return None if text is None else text.encode(errors="backslashreplace").decode()


def merged(old: pa.Table, new: pa.Table) -> pa.Table:
    """Return the rows of both under the columns of both, widened where their types differ."""
    extras = sorted((set(old.column_names) | set(new.column_names)) - KNOWN.keys())
    columns = {name: _merged_column(name, old, new) for name in [*KNOWN, *extras]}
    return pa.table({name: column for name, column in columns.items() if name in KNOWN or _has_value(column)})


def _has_value(column: pa.ChunkedArray) -> bool:
    return column.null_count < len(column)


def _merged_column(name: str, old: pa.Table, new: pa.Table) -> pa.ChunkedArray:
    parts = [table[name] if name in table.column_names else None for table in (old, new)]
    dtypes = [None if part is None or not _has_value(part) else DTYPE_OF[part.type] for part in parts]
    known = DTYPE_OF.get(KNOWN.get(name))
    dtype = functools.reduce(widened, dtypes, known) or "string"
    if dtype != known and len({*dtypes} - {None}) > 1:
        _warn_of(name, known, dtype)
    chunks = [_as(part, dtype, len(table)) for part, table in zip(parts, (old, new), strict=True)]
    return pa.chunked_array([chunk for part in chunks for chunk in part.chunks], type=ARROW[dtype])


def _as(part: pa.ChunkedArray | None, dtype: str, length: int) -> pa.ChunkedArray:
    if part is None or not _has_value(part):
        return pa.chunked_array([pa.nulls(length, type=ARROW[dtype])])
    if dtype == "string" and part.type != pa.string():
        return pa.chunked_array([pa.array(map(as_text, part.to_pylist()), type=pa.string())])
    return part.cast(ARROW[dtype])


def _warn_of(name: str, known: str | None, dtype: str) -> None:
    if known is not None and dtype != known:
        log.warning("Column %r is %s by its definition, and its values made it %s.", name, known, dtype)
    elif dtype == "string":
        log.warning("Column %r has values of several types: it is stored as text.", name)
