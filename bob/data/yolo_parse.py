"""YOLO's label files, read with suspicion: what is wrong is named with file and line, and the rest is kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bob.core.errors import DataError
from bob.core.files import read_regular
from bob.data.box_judge import LEAST, ShareJudge
from bob.data.boxes import Box, fitted
from bob.data.coco_masks import area_of, box_of, mask_of
from bob.data.coco_parse import stored_size
from bob.data.faults import LEFT_OUT, NO_MASK, NO_PICTURE, REPAIRED, Fault
from bob.data.object_arrays import TableBuilder
from bob.data.table_cache import Parsed
from bob.data.typed_values import whole_number
from bob.data.yolo_layout import numbers_in
from bob.data.yolo_places import YoloSplit

log = logging.getLogger(__name__)

UNLABELLED = (-1, -1)  # in the place of a picture's size: nobody knows what it shows, so that it is left out
BOX, SURE, POLYGON = 5, 6, 7  # columns of a box, of one with a confidence, and of the smallest polygon
MAX_BYTES = 1 << 24
HINT = (
    "A line is 'class x_center y_center width height' (or 'class x1 y1 x2 y2 x3 y3 ...' for a polygon), in shares of "
    "the picture's width and height: convert the files and run again."
)


def parse_yolo(
    root: Path, splits: Mapping[str, YoloSplit], names: Mapping[int, str] | None, present: frozenset[str]
) -> Parsed:
    """Read the label files of all splits.

    Args:
        root: The data set's folder.
        splits: The stored splits.
        names: The class name of each id; without any, the ids that occur are called ``class_ID``.
        present: Paths of the files there are, relative to the root.

    Raises:
        DataError: Most lines of a split are predictions, keypoints, or boxes of another convention.
    """
    known = _occurring(root, splits) if names is None else dict(names)
    labels = {number: label for label, number in enumerate(known)}
    parts = {split: _Parser(root, split, part, labels, present).parse() for split, part in splits.items()}
    return Parsed(classes=tuple(known.values()), splits=parts)


def _occurring(root: Path, splits: Mapping[str, YoloSplit]) -> dict[int, str]:
    """Return a name for each class id in any label file."""
    found: set[int] = set()
    for part in splits.values():
        for path in part.labels.values():
            lines = [numbers_in(line) for line in (_text(root / path) or "").splitlines()]
            found |= {number for values in lines if values for number in [_id(values[0])] if number is not None}
    return {number: f"class_{number}" for number in sorted(found)}


def _id(value: float) -> int | None:
    number = whole_number(value)
    return number if number is not None and number >= 0 else None


def _text(path: Path) -> str | None:
    """Return a label file's text; None if it is none, or cannot be read."""
    try:
        content = read_regular(path)
        return content.decode("utf-8-sig") if len(content) <= MAX_BYTES and b"\0" not in content else None
    except (OSError, UnicodeDecodeError) as error:
        log.debug("%s: %s", path, error)
        return None


@dataclass
class _Parser:
    """Reads one split into a table."""

    root: Path
    name: str
    part: YoloSplit
    labels: Mapping[int, int]
    present: frozenset[str]
    table: TableBuilder = field(default_factory=TableBuilder)
    judge: ShareJudge = field(default_factory=ShareJudge)
    lines: Counter[str] = field(default_factory=Counter)

    def parse(self) -> TableBuilder:
        for path in self.part.pictures:
            self._add_picture(path, self.part.labels.get(path))
        where = f"{self.root}, split {self.name}"
        self._require_labels(where)
        self.judge.decide(where, hint=HINT)
        for path in self.part.strays:
            self.table.faults.append(Fault("a label file without a picture", path, NO_PICTURE))
        return self.table

    def _add_picture(self, path: str, label: str | None) -> None:
        text = "" if label is None else _text(self.root / label)
        if text is None:
            log.warning("%s is no text that can be read: its picture is left out.", self.root / str(label))
            self.table.add_picture(path, UNLABELLED)
            return
        size = stored_size(self.root, path, self.present)
        picture = self.table.add_picture(path, size)
        if size == (0, 0):  # the picture cannot be read: it is left out as a whole
            return
        seen: set[tuple[float, ...]] = set()
        for place, values in _rows(text):
            where = f"{label}, line {place}"
            if values is not None and tuple(values) in seen:
                self._fault("an object whose line stands twice (counted once)", where, picture, REPAIRED)
                continue
            seen.add(tuple(values or ()))
            self._add_row(values, size, picture, where)

    def _add_row(self, values: list[float] | None, size: tuple[int, int], picture: int, where: str) -> None:
        self.lines["all"] += 1
        if values is None or len(values) < BOX:
            self._fault("a line that is no class and four numbers or more", where, picture)
            return
        self._count(values)
        if len(values) == SURE:
            self._fault("a box of five numbers", where, picture)
        elif len(values) > BOX and len(values) % 2 == 0:
            self._fault("a polygon with an odd number of coordinates", where, picture)
        elif (label := self._label(values[0])) is None:
            self._fault("an unknown class id", f"{where}: {values[0]:.12g}", picture)
        elif len(values) == BOX:
            self._add_box(values[1:], size, picture, label, where)
        else:
            self._add_polygon(values[1:], size, picture, label, where)

    def _label(self, value: float) -> int | None:
        number = _id(value)
        return None if number is None else self.labels.get(number)

    def _count(self, values: Sequence[float]) -> None:
        self.lines["sure"] += len(values) == SURE
        self.lines["uneven"] += len(values) > SURE and len(values) % 2 == 0
        # A box, and x, y and visibility (0, 1 or 2) of each keypoint.
        is_posed = len(values) > POLYGON and (len(values) - BOX) % 3 == 0
        self.lines["posed"] += is_posed and all(value in (0, 1, 2) for value in values[POLYGON::3])

    def _require_labels(self, where: str) -> None:
        most = self.lines["all"] / 2
        if self.lines["posed"] > most and self.lines["all"] >= LEAST:
            raise DataError(
                f"{where}: {self.lines['posed']} of {self.lines['all']} lines look like boxes with keypoints: poses "
                "are not read.",
                hint=HINT,
            )
        if max(self.lines["sure"], self.lines["uneven"]) > most:
            raise DataError(
                f"{where}: {max(self.lines['sure'], self.lines['uneven'])} of {self.lines['all']} lines have a number "
                "more than a box or a polygon: they look like predictions with a confidence, not like labels.",
                hint=HINT,
            )

    def _add_box(self, box: Sequence[float], size: tuple[int, int], picture: int, label: int, where: str) -> None:
        self.judge.look(box, size)
        self._add_fitted(_pixels(box, size), size, picture, label, where)

    def _add_polygon(self, row: Sequence[float], size: tuple[int, int], picture: int, label: int, where: str) -> None:
        self.judge.look_at_polygon(row, size)
        height, width = size
        across, down = [value * width for value in row[::2]], [value * height for value in row[1::2]]
        mask, problem = mask_of([[value for point in zip(across, down, strict=True) for value in point]], size)
        bounds = (min(across), min(down), max(across), max(down))
        self._add_fitted(bounds, size, picture, label, where, mask=mask, problem=problem)

    def _add_fitted(
        self,
        stated: Box,
        size: tuple[int, int],
        picture: int,
        label: int,
        where: str,
        *,
        mask: bytes = b"",
        problem: str | None = "no mask",
    ) -> None:
        box, wrong = fitted(stated, size)
        if wrong is not None:
            self._fault(wrong, where, picture, LEFT_OUT if box is None else REPAIRED)
        if box is None:
            return
        if problem is not None:
            self._fault(problem, where, picture, NO_MASK)
        area = area_of(mask, size) if mask else (box[2] - box[0]) * (box[3] - box[1])
        shown = box_of(mask, size) if mask else box
        self.table.add_object(picture, box=shown, label=label, crowd=False, area=area, mask=mask)

    def _fault(self, reason: str, where: str, picture: int, effect: str = LEFT_OUT) -> None:
        self.table.faults.append(Fault(reason, where, picture, effect))


def _rows(text: str) -> Iterator[tuple[int, list[float] | None]]:
    """Yield the number of each line that is not empty, and its numbers, None if it has anything else."""
    for place, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield place, numbers_in(line)


def _pixels(box: Sequence[float], size: tuple[int, int]) -> Box:
    """Return left, top, right, bottom in pixels of a box of centre, width and height in shares."""
    x, y, width, height = box
    return (
        (x - width / 2) * size[1],
        (y - height / 2) * size[0],
        (x + width / 2) * size[1],
        (y + height / 2) * size[0],
    )
