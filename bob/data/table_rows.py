"""Tables as text, CSV, TSV and JSON lines, as columns of cells. What is no table is refused with its line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.core.files import read_regular
from bob.data.file_names import is_picture

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
LINE_SUFFIXES = (".jsonl", ".ndjson")
DELIMITERS = ",;\t"
SHOWN = 80  # characters of a value in a message


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of one table.

    Attributes:
        name: The file's path below the data set's folder.
        cells: The values of each column, top to bottom; None where a row has none.
        lines: The number of each row for messages: its line in a text, its place from 1 elsewhere.
        notes: What a user should know about how the file was read.
        stored: The column of pictures that are stored in the table itself; None where they are files.
    """

    name: str
    cells: Mapping[str, Sequence[Any]]
    lines: Sequence[int]
    notes: tuple[str, ...] = ()
    stored: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, in the file's order; those without a name are left out."""
        return tuple(name for name in self.cells if name)

    def place(self, row: int) -> str:
        """Name a row in a message."""
        return f"{self.name}, line {self.lines[row]}"


def shown(value: object) -> str:
    """Return a value as a message shows it: quoted, and cut if it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def read_text_rows(path: Path, name: str) -> Rows:
    """Read a table that is text.

    Args:
        path: The file.
        name: What messages call it.

    Raises:
        DataError: It is no text, has no header or no row, or a row that does not fit; the message names the line.
    """
    text, notes = _text(path, name)
    is_lines = path.suffix.lower() in LINE_SUFFIXES
    cells, lines = _from_lines(text, name) if is_lines else _from_csv(text, name, path.suffix.lower() == ".tsv")
    if not lines:
        raise DataError(f"{name} has no rows.", hint="One row for each picture is expected.")
    return Rows(name=name, cells=cells, lines=lines, notes=notes)


def head_of(content: bytes, suffix: str) -> list[list[str]]:
    """Return the cells of the first rows of a table as text, header and all; none of what is no table."""
    encoding = "utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig"
    text = content.decode(encoding, errors="replace").replace("\0", "")
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    try:
        if suffix in LINE_SUFFIXES:
            found = [json.loads(line) for line in lines]
            rows = [entry for entry in found if isinstance(entry, dict)]
            return [list(rows[0]), *([str(value) for value in row.values()] for row in rows)] if rows else []
        reader = csv.reader(lines, delimiter=_delimiter(lines[0] if lines else "", suffix == ".tsv"))
        return [[cell.strip() for cell in row] for row in reader]
    except (ValueError, csv.Error, RecursionError):  # the reader says what is wrong, if it is asked
        return []


def _text(path: Path, name: str) -> tuple[str, tuple[str, ...]]:
    try:
        content = read_regular(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.", hint=f"ls -l '{path}'") from error
    notes: tuple[str, ...] = ()
    try:
        if content.startswith(UTF16_MARKS):
            text, notes = content.decode("utf-16"), (f"{name} is read as UTF-16.",)
        else:
            text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content.startswith(UTF16_MARKS):
            raise DataError(f"{name} is no good UTF-16 text: {error.reason}.", hint="Save it as UTF-8.") from error
        text = content.decode("latin-1")
        notes = (f"{name} is no UTF-8 text and is read as Latin-1: look at names with letters beyond a to z.",)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{name}, line {line}: a NUL byte; a table of text is expected.", hint="Save it as UTF-8.")
    return text, notes


def _delimiter(header: str, is_tabbed: bool) -> str:
    counts = {mark: header.count(mark) for mark in DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ("\t" if is_tabbed else ",")


def _from_csv(text: str, name: str, is_tabbed: bool) -> tuple[dict[str, list[Any]], list[int]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    mark = _delimiter(first, is_tabbed)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True, skipinitialspace=mark != "\t")
    header: list[str] | None = None
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = _header(row, name)
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{name}, line {reader.line_num}: {len(row)} cells, and the header has {len(header)}.",
                    hint=f"Cells are parted by {mark!r}: quote one that holds it, and mend the line.",
                )
            rows.append([cell.strip() for cell in row])
            lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{name}, line {reader.line_num}: {error}.", hint="Mend the line's quotes.") from error
    columns = [list(cells) for cells in zip(*rows, strict=True)] or [[] for _ in header or ()]
    return dict(zip(header or [], columns, strict=True)), lines


def _header(row: Sequence[str], name: str) -> list[str]:
    header = [cell.strip() for cell in row]
    pictures = [cell for cell in header if is_picture(cell)]
    if pictures:
        raise DataError(
            f"{name}: the first line names the picture {shown(pictures[0])}; a header with the columns' "
            "names is expected.",
            hint="Put a line such as path,label at the top.",
        )
    twice = [cell for cell in dict.fromkeys(header) if cell and header.count(cell) > 1]
    if twice:
        raise DataError(f"{name}: two columns are called {shown(twice[0])}.", hint="Rename one of them.")
    return header


def _from_lines(text: str, name: str) -> tuple[dict[str, list[Any]], list[int]]:
    cells: dict[str, list[Any]] = {}
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{name}, line {number} is no JSON: {error}.", hint="One object a line is expected."
            ) from error
        if not isinstance(entry, dict):
            raise DataError(f"{name}, line {number} is no JSON object: {shown(entry)}.", hint='{"file_name": ...}')
        for key in entry:
            if key not in cells:
                cells[key] = [None] * len(lines)
        for key, column in cells.items():
            column.append(entry.get(key))
        lines.append(number)
    return cells, lines
