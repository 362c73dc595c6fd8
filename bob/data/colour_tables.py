"""Files that say which colour means which class: ``class_dict.csv``, ``label_colors.txt``, ``labelmap.txt``, ..."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bob.core.errors import DataError
from bob.data.fingerprint import inside
from bob.data.judge import require_distinct_names

Rgb = tuple[int, int, int]
CLASSES_FILE = "classes.txt"
IGNORE_LINE = "ignore"
UNSURE = ("void", "unlabeled", "unlabelled", "unknown")
LONGEST_NAME, LONGEST_LINE = 200, 1000
HEADER = ("name", "r", "g", "b")
OTHER_NAMES = {"class": "name", "label": "name", "class_name": "name", "red": "r", "green": "g", "blue": "b"}

_NUMBERS = r"(\d{1,9})[\s,;]+(\d{1,9})[\s,;]+(\d{1,9})"
_NAME_FIRST = re.compile(rf"(.*?\S)[\s,;:]+{_NUMBERS}")
_COLOUR_FIRST = re.compile(rf"{_NUMBERS}[\s,;:]+(\S.*)")
_HEX = re.compile(r"(.*?\S)[\s,;:]+#([0-9a-fA-F]{6})")
_CVAT = re.compile(r"([^:]*\S):\s*(\d{1,9})\s*,\s*(\d{1,9})\s*,\s*(\d{1,9})\s*(?::.*)?")


@dataclass(frozen=True)
class ColourRows:
    """The rows of a table of colours, in the file's order.

    Attributes:
        file: The file's name.
        rows: The name and the colour of each row. A name may have several colours.
        text: What the file holds: it is part of the data set's fingerprint.
    """

    file: str
    rows: tuple[tuple[str, Rgb], ...]
    text: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The names but for ``ignore``, each once, in order."""
        return tuple(dict.fromkeys(name for name, _ in self.rows if name.lower() != IGNORE_LINE))


def packed(colour: Rgb) -> int:
    """Return a colour as one number: red, green and blue from the highest byte down."""
    return colour[0] << 16 | colour[1] << 8 | colour[2]


def unpacked(value: int) -> Rgb:
    """Return the colour that ``packed`` made a number of."""
    return value >> 16, value >> 8 & 255, value & 255


def class_lines(root: Path) -> list[str] | None:
    """Return the lines of ``classes.txt``, or None if there is no such file.

    Raises:
        DataError: It is no text.
    """
    path = root / CLASSES_FILE
    return _text(root, path).rstrip().splitlines() if path.is_file() else None


def colour_rows(root: Path) -> ColourRows | None:
    """Return the table of colours that lies in a folder, or None.

    Raises:
        DataError: There are two that differ, or one has a row that cannot be right.
    """
    found = [rows for name, read in FILES.items() if (root / name).is_file() and (rows := _read(root, name, read))]
    for other in found[1:]:
        if dict.fromkeys(other.rows) != dict.fromkeys(found[0].rows):
            raise DataError(
                f"{root}: {found[0].file} and {other.file} give the colours of the classes, and they differ.",
                hint="Take one of them away.",
            )
    return found[0] if found else None


def _read(root: Path, name: str, read: Callable[[Path, str], list[tuple[str, Rgb]] | None]) -> ColourRows | None:
    path = root / name
    text = _text(root, path)
    rows = read(path, text)
    if rows is None:
        return None
    if not rows:
        raise DataError(f"{path} names no colour.", hint="A line 'NAME R G B' for each class is expected.")
    known: dict[Rgb, str] = {}
    for row, colour in rows:
        if known.setdefault(colour, row) != row:
            shown = " ".join(map(str, colour))
            raise DataError(
                f"{path}: the colour {shown} means {known[colour]!r} and {row!r}.", hint="Give it one name."
            )
    table = ColourRows(name, tuple(rows), text)
    if not table.classes:
        raise DataError(f"{path} holds no class: all its lines are '{IGNORE_LINE}'.", hint="Name the classes.")
    require_distinct_names(str(path), table.classes)
    return table


def _text(root: Path, path: Path) -> str:
    try:
        return inside(root, path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}.", hint="One class name a line is expected.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.", hint=f"Look at its rights: ls -l '{path}'") from error


def _plain(path: Path, text: str) -> list[tuple[str, Rgb]] | None:
    """Read ``classes.txt``: a table of colours if most of its lines have one, else names alone."""
    lines = list(_lines(text))
    if 2 * sum(_matched(line) is not None for _, line in lines) <= len(lines):
        return None
    return [_row(path, number, line, _matched(line)) for number, line in lines]


def _matched(line: str) -> tuple[str, ...] | None:
    numbers, hexadecimal = _fit(_NAME_FIRST, line), _fit(_HEX, line)
    if hexadecimal:
        return hexadecimal[1], *(str(int(hexadecimal[2][at : at + 2], 16)) for at in (0, 2, 4))
    return numbers.groups() if numbers else None


def _fit(form: re.Pattern[str], line: str) -> re.Match[str] | None:
    return form.fullmatch(line) if len(line) <= LONGEST_LINE else None


def _camvid(path: Path, text: str) -> list[tuple[str, Rgb]]:
    rows = []
    for number, line in _lines(text):
        first = _fit(_COLOUR_FIRST, line)
        rows.append(_row(path, number, line, (first[4], first[1], first[2], first[3]) if first else _matched(line)))
    return rows


def _cvat(path: Path, text: str) -> list[tuple[str, Rgb]] | None:
    lines = [(number, line) for number, line in _lines(text) if not line.startswith("#")]
    if lines and not any(":" in line for _, line in lines):
        return None
    matches = ((number, line, _fit(_CVAT, line)) for number, line in lines)
    return [_row(path, number, line, match.groups() if match else None) for number, line, match in matches]


def _table(path: Path, text: str) -> list[tuple[str, Rgb]] | None:
    """Read a CSV file with the columns name, r, g, b; None if it has no columns of colours."""
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        found = csv.reader(io.StringIO(text.replace("\0", " ")), delimiter=delimiter)
        rows = [row for row in found if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file: {error}.", hint="Lines 'name,r,g,b' are expected.") from error
    if not rows:
        return None
    titles = [OTHER_NAMES.get(cell.strip().lower(), cell.strip().lower()) for cell in rows[0]]
    if set(HEADER) <= set(titles):
        places, rows = [titles.index(title) for title in HEADER], rows[1:]
    elif len(rows[0]) == len(HEADER) and all(cell.strip().isdecimal() for cell in rows[0][1:]):
        places = [0, 1, 2, 3]
    else:
        return None
    cells = [tuple(row[at].strip() for at in places) if len(row) > max(places) else None for row in rows]
    return [_row(path, number, ",".join(rows[number - 1]), one) for number, one in enumerate(cells, start=1)]


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip())


def _row(path: Path, number: int, line: str, parts: tuple[str, ...] | None) -> tuple[str, Rgb]:
    shown = line if len(line) <= LONGEST_NAME else line[:LONGEST_NAME] + "..."
    if parts is None or not all(part.isdecimal() and len(part) < 10 and int(part) < 256 for part in parts[1:]):
        raise DataError(
            f"{path}, row {number}: {shown!r} has no name with three numbers from 0 to 255.",
            hint="A name with its red, green and blue is expected in each row, as in the other rows.",
        )
    name = parts[0].strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise DataError(f"{path}, row {number}: {shown!r} has no name that can be shown.", hint="Name the class.")
    return name, (int(parts[1]), int(parts[2]), int(parts[3]))


FILES: dict[str, Callable[[Path, str], list[tuple[str, Rgb]] | None]] = {
    CLASSES_FILE: _plain,
    "classes.csv": _table,
    "class_dict.csv": _table,
    "label_colors.txt": _camvid,
    "labelmap.txt": _cvat,
}
