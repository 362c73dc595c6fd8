"""Which split each row of a table belongs to: by a column, by its file, or by its picture's folder."""

from __future__ import annotations

from collections.abc import Sequence

from bob.core.errors import DataError
from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES
from bob.data.splits import UNDIVIDED
from bob.data.table_columns import FLAGS, HOW, normal
from bob.data.table_labels import is_nothing
from bob.data.table_pictures import Found, split_of_path
from bob.data.table_rows import Rows, shown
from bob.data.typed_values import truth

SAID_AT_MOST = 10
HINT = f"Write train, val and test. {HOW}"


def said_splits(rows: Rows, columns: Sequence[str], of_file: str | None) -> list[str | None]:
    """Return the split of each row as its columns, or else the table's own name or folder, say; None if neither does.

    Raises:
        DataError: A value is no split's name, two mean one split, or columns and file say different splits.
    """
    if not columns:
        return [of_file] * len(rows.lines)
    is_flag = normal(columns[0]) in FLAGS
    found = _by_flags(rows, columns) if is_flag else _by_names(rows, columns[0])
    for row, split in enumerate(found):
        if of_file is not None and split != of_file:
            raise DataError(
                f"{rows.place(row)}: column {columns[0]!r} says {split}, and the file belongs to {of_file}.", hint=HINT
            )
    return list(found)


def folder_splits(tables: Sequence[Rows], found: Sequence[Sequence[Found]]) -> list[list[str]]:
    """Return the split of each row by its picture's folder; all "all" where no picture lies in a split's folder.

    Raises:
        DataError: Some pictures lie in folders of splits and others do not.
    """
    splits = [[split_of_path(one.path) for one in part] for part in found]
    if not any(split for part in splits for split in part):
        return [[UNDIVIDED] * len(part) for part in found]
    for rows, part, pictures in zip(tables, splits, found, strict=True):
        if None in part:
            row = part.index(None)
            raise DataError(
                f"{rows.place(row)}: {pictures[row].path} lies in no folder of a split, and other pictures do.",
                hint="table:FOLDER?split=none divides the pictures anew, or name the column that says the split.",
            )
    return [[str(split) for split in part] for part in splits]


def _by_names(rows: Rows, column: str) -> list[str]:
    values = rows.cells[column]
    names = ["" if is_nothing(value) or not isinstance(value, str) else value.strip().lower() for value in values]
    present = set(names)
    exact = {name: SPLIT_NAMES[name] for name in present if name in SPLIT_NAMES}
    meant = {**exact, **{name: SPLIT_ALIASES[name] for name in present if name in SPLIT_ALIASES}}
    for split in set(meant.values()):
        alike = sorted(name for name, one in meant.items() if one == split)
        if len(alike) > 1:
            raise DataError(
                f"{rows.name}: {alike[0]!r} and {alike[1]!r} in column {column!r} both mean {split}.", hint=HINT
            )
    unknown = [row for row, name in enumerate(names) if name not in meant]
    if unknown:
        kinds = list(dict.fromkeys(shown(values[row]) for row in unknown))
        named = ", ".join(kinds[:SAID_AT_MOST]) + (" ..." if len(kinds) > SAID_AT_MOST else "")
        raise DataError(f"{rows.place(unknown[0])}: column {column!r} holds {named}: no names of splits.", hint=HINT)
    return [meant[name] for name in names]


def _by_flags(rows: Rows, columns: Sequence[str]) -> list[str]:
    """Return each row's split by columns such as is_valid and is_test, of which one at most is true."""
    kinds = [FLAGS[normal(column)] for column in columns]
    other = {"train": "test"}.get(kinds[0], "train") if len(set(kinds)) == 1 or "train" not in kinds else None
    found: list[str] = []
    for row in range(len(rows.lines)):
        said = [kind for column, kind in zip(columns, kinds, strict=True) if _flag(rows, column, row)]
        split = said[0] if said else other
        if split is None or len(set(said)) > 1:
            raise DataError(f"{rows.place(row)}: of the columns {', '.join(columns)} one should be true.", hint=HINT)
        found.append(split)
    return found


def _flag(rows: Rows, column: str, row: int) -> bool:
    value = rows.cells[column][row]
    said = truth(value)
    if said is None:
        raise DataError(
            f"{rows.place(row)}: column {column!r} holds {shown(value)}; true or false is expected.", hint=HINT
        )
    return said
