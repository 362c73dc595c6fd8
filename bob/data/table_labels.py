"""What the cells of a table say about a picture's classes: always a set, of one class or of several."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bob.core.errors import DataError
from bob.data.table_rows import Rows, shown
from bob.data.typed_values import TRUE, whole_number

NOTHING = frozenset(("", "nan", "null"))
BETWEEN = re.compile(r"[|;]")
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d{0,17}))(?:\.0*)?")
LONGEST_LIST = 100_000  # characters of a list in a cell


class RowLabels(NamedTuple):
    """The classes of one picture.

    Attributes:
        present: Those it has, each once, in the order in which they are written.
        unknown: Those of which nobody says whether it has them.
    """

    present: tuple[str, ...]
    unknown: tuple[str, ...] = ()


def is_signed(tables: Sequence[Rows], columns: Sequence[str]) -> bool:
    """Tell whether no cell of the classes' columns in any table says 0: then -1 means absent, else not known."""
    cells = (rows.cells.get(name) for rows in tables for name in columns)
    return not any(flag(value) == 0 for column in cells if column is not None for value in column)


def row_labels(rows: Rows, columns: Sequence[str], *, one_hot: bool, signed: bool = False) -> list[RowLabels | None]:
    """Return the classes of each row; None where it says nothing.

    Args:
        rows: The table.
        columns: The label column; with ``one_hot`` the column of each class. Those that the table lacks say nothing.
        one_hot: Whether each class has a column, with 1 for present, 0 for absent, and nothing for unknown.
        signed: Whether -1 is absent, as ``is_signed`` says of all tables, and not unknown.

    Raises:
        DataError: A cell is no class; the message names the line.
    """
    if not one_hot:
        column = rows.cells.get(columns[0])
        return (
            [None] * len(rows.lines) if column is None else [_of_cell(rows, n, cell) for n, cell in enumerate(column)]
        )
    cells = [rows.cells.get(name) for name in columns]
    if all(column is None for column in cells):
        return [None] * len(rows.lines)
    return [_of_flags(rows, n, columns, cells, signed) for n in range(len(rows.lines))]


def flag(value: Any) -> int | None:
    """Return what a cell of a class's column says: 1, 0 or -1; None for anything else."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("true", "false"):
            return int(text in TRUE)
        match = _WHOLE.fullmatch(text)
        value = int(match[1]) if match else None
    number = whole_number(value)
    return number if number in (-1, 0, 1) else None


def is_nothing(value: Any) -> bool:
    """Tell whether a cell is empty."""
    if isinstance(value, str):
        return value.strip().lower() in NOTHING
    return value is None or (isinstance(value, float) and math.isnan(value))


def class_name(value: Any) -> str | None:
    """Return a class's name: 3, 3.0, "3" and "3.0" are one. None for what is no name: a list, an infinite number."""
    if isinstance(value, str):
        match = _WHOLE.fullmatch(value.strip())
        return match[1] if match else value.strip()
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int | float) and math.isfinite(value):
        number = whole_number(value)
        return repr(value) if number is None else str(number)
    return None


def _of_cell(rows: Rows, row: int, cell: Any) -> RowLabels | None:
    if is_nothing(cell):
        return None
    parts = _parts(cell)
    names = None if parts is None else [class_name(part) for part in parts if not is_nothing(part)]
    if names is None or None in names:
        raise DataError(
            f"{rows.place(row)}: {shown(cell)} is no class; a name, a number or a list of them is expected.",
            hint="Mend the line, or name another label column: table:FOLDER?label=COLUMN.",
        )
    return RowLabels(tuple(dict.fromkeys(name for name in names if name is not None)))


def _parts(cell: Any) -> Sequence[Any] | None:
    """Return the labels in a cell: a list, a text with | or ; between them, or a list written as text."""
    if isinstance(cell, list | tuple):
        return cell
    if not isinstance(cell, str):
        return [cell]
    text = cell.strip()
    if text.startswith("[") and text.endswith("]"):
        return _written_list(text)
    return BETWEEN.split(text) if BETWEEN.search(text) else [text]


def _written_list(text: str) -> list[Any] | None:
    if len(text) > LONGEST_LIST:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)  # as Python writes lists of names
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            return None
    return found if isinstance(found, list) else None


def _of_flags(
    rows: Rows, row: int, columns: Sequence[str], cells: Sequence[Sequence[Any] | None], signed: bool
) -> RowLabels | None:
    present: list[str] = []
    unknown: list[str] = []
    for name, column in zip(columns, cells, strict=True):
        value = None if column is None else column[row]
        said = flag(value)
        if said is None and not is_nothing(value):
            raise DataError(
                f"{rows.place(row)}: column {name!r} holds {shown(value)}; 1 or 0 is expected.", hint="Mend the line."
            )
        if said == 1:
            present.append(name)
        elif said is None or (said == -1 and not signed):
            unknown.append(name)
    return None if len(unknown) == len(columns) else RowLabels(tuple(present), tuple(unknown))


def class_order(names: Mapping[str, Any] | set[str]) -> tuple[str, ...]:
    """Return class names in label order: by number where all are whole numbers, else by name."""
    if all(_WHOLE.fullmatch(name) for name in names):
        return tuple(sorted(names, key=int))
    return tuple(sorted(names))
