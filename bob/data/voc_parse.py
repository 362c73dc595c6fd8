"""PASCAL VOC's XML files, read with suspicion: what is wrong is named with file and object, and the rest is kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from bob.core.errors import DataError
from bob.data.boxes import Box, fitted
from bob.data.coco_parse import stored_size
from bob.data.faults import LEFT_OUT, REPAIRED, Fault
from bob.data.object_arrays import TableBuilder
from bob.data.table_cache import Parsed
from bob.data.typed_values import truth

log = logging.getLogger(__name__)

# In the order of the palette masks' labels, which start at 1 (Everingham et al. 2010, the VOC devkit).
CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
NO_PAGE = (-1, -1)  # in the place of a picture's size
COORDINATES = ("xmin", "ymin", "xmax", "ymax")
MAX_SIDE = 1_000_000  # pixels; who states more states nothing
ANEW = "Copy the file anew."


class _Object(NamedTuple):
    """One object of an XML file."""

    name: str
    box: Box | None
    difficult: bool
    difficult_word: str
    where: str


class _Page(NamedTuple):
    """One XML file: the stated height and width, (0, 0) if there are none, and the objects."""

    size: tuple[int, int]
    objects: list[_Object]


def parse_voc(root: Path, pictures: Mapping[str, Sequence[tuple[str, str]]], present: frozenset[str]) -> Parsed:
    """Read the XML files of all splits.

    Boxes are counted from 1 and include their right and bottom pixel, as the devkit says; here they start at 0 and do
    not. An object marked ``difficult`` is a crowd region: it neither counts nor punishes, as in VOC's own metric.

    Args:
        root: The year's folder.
        pictures: (name, path) of the pictures of each stored split.
        present: Paths of the files there are, relative to the root.

    Raises:
        DataError: An XML file is cut off or no VOC annotation.
    """
    pages = {
        split: [_page(root, name) if f"Annotations/{name}.xml" in present else None for name, _ in entries]
        for split, entries in pictures.items()
    }
    found = {one.name for part in pages.values() for page in part if page for one in page.objects if one.name}
    words = {one.difficult_word for part in pages.values() for page in part if page for one in page.objects}
    classes = CLASSES if found <= set(CLASSES) else tuple(sorted(found))
    labels = {name: label for label, name in enumerate(classes)}
    splits = {split: _table(root, entries, pages[split], labels, present) for split, entries in pictures.items()}
    return Parsed(classes=classes, splits=splits, reading=1 if words <= {"", "0", "1"} else 2)


def _table(
    root: Path,
    entries: Sequence[tuple[str, str]],
    pages: Sequence[_Page | None],
    labels: Mapping[str, int],
    present: frozenset[str],
) -> TableBuilder:
    table = TableBuilder()
    for (_, path), page in zip(entries, pages, strict=True):
        stated = (0, 0) if page is None else page.size
        size = stated if min(stated) > 0 else stored_size(root, path, present)
        # Without a page nobody knows what the picture shows: it is left out when it is opened.
        picture = table.add_picture(path, NO_PAGE if page is None else size)
        for one in page.objects if page is not None and min(size) > 0 else []:
            _add(table, picture, one, labels, size)
    return table


def _add(table: TableBuilder, picture: int, one: _Object, labels: Mapping[str, int], size: tuple[int, int]) -> None:
    if not one.name:
        table.faults.append(Fault("an object without a class name", one.where, picture))
        return
    if one.box is None:
        table.faults.append(Fault("a box that is no four numbers", one.where, picture))
        return
    box, wrong = fitted(one.box, size)
    if wrong is not None:
        table.faults.append(Fault(wrong, one.where, picture, LEFT_OUT if box is None else REPAIRED))
    if box is not None:
        area = (box[2] - box[0]) * (box[3] - box[1])
        table.add_object(picture, box=box, label=labels[one.name], crowd=one.difficult, area=area)


def _page(root: Path, name: str) -> _Page:
    path = root / "Annotations" / f"{name}.xml"
    content = path.read_bytes()
    # A few nested ones unfold into gigabytes; not every expat refuses that. In UTF-16 every other byte is zero.
    if b"<!ENTITY" in content.replace(b"\0", b""):
        raise DataError(f"{path} defines entities; a VOC annotation has none.", hint=ANEW)
    try:
        page = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataError(f"{path} is cut off or damaged at line {line}, column {column}: {error}.", hint=ANEW) from error
    if page.tag != "annotation":
        raise DataError(f"{path} holds <{page.tag}>; a VOC <annotation> is expected.", hint=ANEW)
    size = tuple(_whole(page.findtext(f"size/{side}")) for side in ("height", "width"))
    objects = [
        _Object(
            name=(one.findtext("name") or "").strip(),
            box=_box(one),
            # Whatever is no flag was taken for one that is set, and still is.
            difficult=truth(one.findtext("difficult")) is not False,
            difficult_word=(one.findtext("difficult") or "").strip(),
            where=f"Annotations/{name}.xml, object {place}",
        )
        for place, one in enumerate(page.iter("object"), start=1)
    ]
    return _Page(size=(size[0], size[1]), objects=objects)


def _box(one: ElementTree.Element) -> Box | None:
    values = [_number(one.findtext(f"bndbox/{name}")) for name in COORDINATES]
    left, top, right, bottom = values
    if any(map(math.isnan, values)):
        return None
    return left - 1, top - 1, right, bottom


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _whole(text: str | None) -> int:
    value = _number(text)
    return int(value) if 0 < value <= MAX_SIDE else 0
