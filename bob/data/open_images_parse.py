"""Open Images' CSV files of boxes, read with suspicion: what is wrong is named with file and line, the rest is kept."""

from __future__ import annotations

import csv
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bob.core.errors import DataError
from bob.data.box_judge import BoxJudge
from bob.data.boxes import Box, fitted
from bob.data.coco_parse import stored_size
from bob.data.faults import LEFT_OUT, NO_PICTURE, NOTED, REPAIRED, Fault
from bob.data.object_arrays import TableBuilder
from bob.data.table_cache import Parsed
from bob.data.typed_values import truth

log = logging.getLogger(__name__)

SIDES = ("XMin", "YMin", "XMax", "YMax")  # in the order of a box, which is not that of the file
NEEDED = ("ImageID", "LabelName", *SIDES)
GROUP = "IsGroupOf"
UNKNOWN = "-1"  # a flag that nobody set
ANEW = "Download the file anew."
HINT = "Open Images' XMin, XMax, YMin and YMax are shares of the picture, from 0 to 1: convert them and run again."

Row = tuple[int, list[str]]


@dataclass(frozen=True)
class BoxFile:
    """One split.

    Attributes:
        path: The CSV file of boxes.
        pictures: The path of each picture there is, relative to the root, by its id.
    """

    path: Path
    pictures: Mapping[str, str]


def parse_open_images(root: Path, names: Path, files: Mapping[str, BoxFile]) -> Parsed:
    """Read the CSV files of all splits.

    A box of a group (``IsGroupOf``) becomes a crowd region, as COCO's ``iscrowd``. Rows of pictures that are not there
    are passed over, as people download a part; pictures without a row are left out, as nobody looked for boxes in
    them. Both are told by number and are no faults.

    Args:
        root: The data set's folder.
        names: The CSV file of class names.
        files: The CSV file and the pictures of each stored split.

    Raises:
        DataError: A file is damaged or lacks a column, no row is of a picture that is there, or most boxes are no
            shares.
    """
    known = read_names(names)
    parsers = {split: _Parser(root, file, known) for split, file in files.items()}
    for parser in parsers.values():
        parser.parse()
    used = {label for parser in parsers.values() for _, label, *_ in parser.found}
    # By their names, as they are known nowhere else; an id is added where two have the same name.
    counts = Counter(known[label] for label in used)
    titles = {label: known[label] if counts[known[label]] == 1 else f"{known[label]} ({label})" for label in used}
    order = sorted(used, key=lambda label: titles[label])
    labels = {label: place for place, label in enumerate(order)}
    splits = {split: parser.table(labels) for split, parser in parsers.items()}
    return Parsed(classes=tuple(titles[label] for label in order), splits=splits)


def read_names(path: Path) -> dict[str, str]:
    """Return the name of each class by its id (``/m/01g317``), with or without a first line of column titles.

    Raises:
        DataError: The file is damaged, or an id has two names.
    """
    found: dict[str, str] = {}
    for line, row in _rows(path):
        if line == 1 and row[0].strip().lower() == "labelname":
            continue
        label, name = (row[0].strip(), row[1].strip()) if len(row) == 2 else ("", "")
        if not label or not name or found.setdefault(label, name) != name:
            raise DataError(f"{path}, line {line}: {','.join(row)!r:.80} is no id with a name of its own.", hint=ANEW)
    if not found:
        raise DataError(f"{path} holds no class names.", hint=ANEW)
    return found


def _rows(path: Path) -> Iterator[Row]:
    """Yield the line number and the cells of each line that is not empty.

    Raises:
        DataError: It is no UTF-8 text or no CSV; the message names the line.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged after line {reader.line_num}: {error}.", hint=ANEW) from error


@dataclass
class _Parser:
    """Reads the boxes of one split. ``found`` holds (picture, class id, box, is a group) of each good one."""

    root: Path
    file: BoxFile
    known: Mapping[str, str]
    found: list[tuple[int, str, Box, bool]] = field(default_factory=list)
    builder: TableBuilder = field(default_factory=TableBuilder)
    judge: BoxJudge = field(default_factory=lambda: BoxJudge(hint=HINT))
    _pictures: dict[str, int] = field(default_factory=dict)
    _missing: Counter[str] = field(default_factory=Counter)

    def parse(self) -> None:
        rows = _rows(self.file.path)
        columns = self._columns(rows)
        place = columns["ImageID"]
        width = len(columns)
        for line, row in rows:
            number = row[place].strip() if len(row) > place else ""
            path = self.file.pictures.get(number)
            if len(row) != width:
                picture = NO_PICTURE if path is None else self._picture(number, path)
                self._fault(f"a row without {width} columns", line, picture)
            elif path is None:
                self._missing[number] += 1
            else:
                self._add(line, dict(zip(columns, row, strict=True)), self._picture(number, path))
        self._require_some()
        self.judge.decide(self.file.path)
        self._note()

    def table(self, labels: Mapping[str, int]) -> TableBuilder:
        """Return the table, once the label of each class is known."""
        for picture, label, box, is_group in self.found:
            area = (box[2] - box[0]) * (box[3] - box[1])
            self.builder.add_object(picture, box=box, label=labels[label], crowd=is_group, area=area)
        return self.builder

    def _columns(self, rows: Iterator[Row]) -> dict[str, int]:
        _, titles = next(rows, (1, []))
        columns = {title.strip(): place for place, title in enumerate(titles)}
        lacking = [name for name in NEEDED if name not in columns]
        if lacking or len(columns) < len(titles):
            problem = f"lacks the columns {', '.join(lacking)}" if lacking else "has a column twice"
            raise DataError(
                f"{self.file.path}: its first line {problem}.",
                hint=f"Boxes of Open Images are expected: {','.join(NEEDED)},{GROUP}.",
            )
        return columns

    def _picture(self, number: str, path: str) -> int:
        if number not in self._pictures:
            size = stored_size(self.root, path, frozenset((path,)))
            self._pictures[number] = self.builder.add_picture(path, size)
        return self._pictures[number]

    def _add(self, line: int, row: Mapping[str, str], picture: int) -> None:
        size = self.builder.sizes[picture]
        if min(size) < 1:  # the picture cannot be read: it is left out as a whole
            return
        label, stated = row["LabelName"].strip(), row.get(GROUP, "").strip()
        is_group = False if stated == UNKNOWN else truth(stated)
        shares = [_number(row[name]) for name in SIDES]
        if label not in self.known:
            self._fault("a LabelName without a class name", line, picture)
        elif is_group is None:
            self._fault("an IsGroupOf that is no flag", line, picture)
        elif any(map(math.isnan, shares)):
            self._fault("a box that is no four numbers", line, picture)
        else:
            self._add_box(line, shares, picture, label, is_group)

    def _add_box(self, line: int, shares: Sequence[float], picture: int, label: str, is_group: bool) -> None:
        height, width = size = self.builder.sizes[picture]
        corners = (shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height)
        self.judge.look_at_corners(corners, size)
        box, wrong = fitted(corners, size)
        if wrong is not None:
            self._fault(wrong, line, picture, LEFT_OUT if box is None else REPAIRED)
        if box is not None:
            self.found.append((picture, label, box, is_group))

    def _require_some(self) -> None:
        if not self._pictures:
            raise DataError(
                f"{self.file.path}: none of its rows is of one of the {len(self.file.pictures)} pictures of its split.",
                hint="Pictures are named by their ImageID, as 0a1b2c3d4e5f6071.jpg.",
            )

    def _note(self) -> None:
        """Tell what is passed over because the file and the folder of pictures are of different extent."""
        name = self.file.path.name
        if self._missing:
            where = f"{name}, {self._missing.total()} rows of {len(self._missing)} pictures"
            self.builder.faults.append(Fault("rows of pictures that are not there", where, effect=NOTED))
        alone = len(self.file.pictures) - len(self._pictures)
        if alone:
            where = f"{name}, {alone} pictures"
            self.builder.faults.append(Fault("pictures without a row, left out", where, effect=NOTED))

    def _fault(self, reason: str, line: int, picture: int, effect: str = LEFT_OUT) -> None:
        self.builder.faults.append(Fault(reason, f"{self.file.path.name}, line {line}", picture, effect))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
