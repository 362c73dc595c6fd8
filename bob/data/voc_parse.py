"""PASCAL VOC's XML files, read with suspicion: what is wrong is named with file and object, and the rest is kept."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from bob.core.errors import DataError
from bob.data.box_judge import BoxJudge
from bob.data.boxes import Box, fitted
from bob.data.coco_parse import stored_size
from bob.data.faults import LEFT_OUT, REPAIRED, Fault
from bob.data.file_names import is_picture
from bob.data.object_arrays import TableBuilder
from bob.data.table_cache import Parsed
from bob.data.typed_values import truth
from bob.data.voc_layout import Page

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
HINT = "VOC's boxes are xmin, ymin, xmax, ymax in pixels, counted from 1: convert them and run again."


class _Object(NamedTuple):
    """One object of an XML file."""

    name: str
    stated: Box | None
    difficult: bool | None
    difficult_word: str
    where: str


class _Content(NamedTuple):
    """One XML file: the stated height and width, (0, 0) if there are none, the stated file name, and the objects."""

    size: tuple[int, int]
    file_name: str
    objects: list[_Object]


def parse_voc(
    root: Path,
    pages: Mapping[str, Sequence[Page]],
    spare: Mapping[str, Sequence[str]],
    present: frozenset[str],
    *,
    is_devkit: bool,
) -> Parsed:
    """Read the XML files of all splits.

    Boxes are counted from 1 and include their right and bottom pixel, as the devkit says; here they start at 0 and do
    not. An object marked ``difficult`` is a crowd region: it neither counts nor punishes, as in VOC's own metric.

    An XML file belongs to the picture of its own name. Where there is none, it belongs to the picture that its
    ``<filename>`` names, if that has no XML file of its own.

    Args:
        root: The data set's folder.
        pages: The XML files of each stored split with their pictures, which may be paths where there is no file.
        spare: Pictures without an XML file of their name that may be one of a split's all the same.
        present: Paths of the files there are, relative to the root.
        is_devkit: Whether the classes are VOC's twenty, unless another is met.

    Raises:
        DataError: An XML file is cut off or no VOC annotation, most boxes follow another convention, or two XML files
            belong to one picture.
    """
    contents = {
        split: [_content(root, one.page, is_devkit) if one.page else None for one in part]
        for split, part in pages.items()
    }
    everything = [one for part in contents.values() for content in part if content for one in content.objects]
    found = {one.name for one in everything if one.name}
    classes = CLASSES if is_devkit and found <= set(CLASSES) else tuple(sorted(found))
    labels = {name: label for label, name in enumerate(classes)}
    named = _by_file_name(root, pages, contents, spare, present)
    splits: dict[str, TableBuilder] = {}
    for split, entries in pages.items():
        judge = BoxJudge(hint=HINT)
        paths = [named.get(one.page, one.picture) for one in entries]
        claimed = {named[one.page] for one in entries if one.page in named}
        kept = [place for place, one in enumerate(entries) if one.page or one.picture not in claimed]
        listed = [(paths[place], contents[split][place]) for place in kept]
        splits[split] = _table(root, listed, labels, present, judge)
        judge.decide(f"{root}, the XML files of {split}")
    is_other = bool(named) or not {one.difficult_word for one in everything} <= {"", "0", "1"}
    return Parsed(classes=classes, splits=splits, reading=2 if is_other else 1)


def _by_file_name(
    root: Path,
    pages: Mapping[str, Sequence[Page]],
    contents: Mapping[str, Sequence[_Content | None]],
    spare: Mapping[str, Sequence[str]],
    present: frozenset[str],
) -> dict[str, str]:
    """Return the pictures of those XML files that have none of their own name, by the file names that they state.

    Raises:
        DataError: Two XML files state the same.
    """
    owner: dict[str, str] = {}
    for split, entries in pages.items():
        pictures = _by_unique_stem(spare[split])
        for one, content in zip(entries, contents[split], strict=True):
            if content is None or one.picture in present:
                continue
            path = pictures.get(_stem(content.file_name))
            if path is not None and owner.setdefault(path, one.page) != one.page:
                raise DataError(
                    f"{root}: {owner[path]} and {one.page} both state the <filename> of {path}, and no picture has "
                    "their own names.",
                    hint="Name the XML file of a picture as the picture, and remove the other.",
                )
    return {page: path for path, page in owner.items()}


def _by_unique_stem(paths: Sequence[str]) -> dict[str, str]:
    counts = Counter(map(_stem, paths))
    return {stem: path for path in paths if counts[stem := _stem(path)] == 1}


def _stem(name: str) -> str:
    """Return a file's name without folders, also of Windows, and without the suffix of a picture."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return PurePosixPath(last).stem if is_picture(last) else last


def _table(
    root: Path,
    listed: Sequence[tuple[str, _Content | None]],
    labels: Mapping[str, int],
    present: frozenset[str],
    judge: BoxJudge,
) -> TableBuilder:
    table = TableBuilder()
    for path, content in listed:
        stated = (0, 0) if content is None else content.size
        size = stated if min(stated) > 0 else stored_size(root, path, present)
        # Without an XML file nobody knows what the picture shows: it is left out when it is opened.
        picture = table.add_picture(path, NO_PAGE if content is None else size)
        for one in content.objects if content is not None and min(size) > 0 else []:
            if one.stated is not None:
                judge.look_at_corners(one.stated, size)
            _add(table, picture, one, labels, size)
    return table


def _add(table: TableBuilder, picture: int, one: _Object, labels: Mapping[str, int], size: tuple[int, int]) -> None:
    if not one.name:
        table.faults.append(Fault("an object without a class name", one.where, picture))
        return
    if one.stated is None:
        table.faults.append(Fault("a box that is no four numbers", one.where, picture))
        return
    if one.difficult is None:
        table.faults.append(Fault("a difficult that is neither 0 nor 1", one.where, picture))
        return
    left, top, right, bottom = one.stated
    box, wrong = fitted((left - 1, top - 1, right, bottom), size)
    if wrong is not None:
        table.faults.append(Fault(wrong, one.where, picture, LEFT_OUT if box is None else REPAIRED))
    if box is not None:
        area = (box[2] - box[0]) * (box[3] - box[1])
        table.add_object(picture, box=box, label=labels[one.name], crowd=one.difficult, area=area)


def _content(root: Path, name: str, is_devkit: bool) -> _Content:
    page = _annotation(root / name)
    size = tuple(_whole(page.findtext(f"size/{side}")) for side in ("height", "width"))
    objects = [
        _Object(
            name=(one.findtext("name") or "").strip(),
            stated=_corners(one),
            difficult=_difficult(one.findtext("difficult"), is_devkit),
            difficult_word=(one.findtext("difficult") or "").strip(),
            where=f"{name}, object {place}",
        )
        for place, one in enumerate(page.iter("object"), start=1)
    ]
    return _Content(size=(size[0], size[1]), file_name=(page.findtext("filename") or "").strip(), objects=objects)


def _annotation(path: Path) -> ElementTree.Element:
    content = path.read_bytes()
    # A few nested ones unfold into gigabytes; not every expat refuses that. In UTF-16 every other byte is zero.
    if b"<!ENTITY" in content.replace(b"\0", b""):
        raise DataError(f"{path} defines entities; a VOC annotation has none.", hint=ANEW)
    try:
        page = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        line, column = error.position
        raise DataError(f"{path} is cut off or damaged at line {line}, column {column}: {error}.", hint=ANEW) from error
    except (ValueError, LookupError) as error:  # an encoding that is unknown, or of several bytes a letter
        raise DataError(f"{path} cannot be decoded: {error}.", hint="Save it as UTF-8.") from error
    for one in page.iter():
        one.tag = one.tag.rpartition("}")[2]  # a namespace says nothing
    if page.tag != "annotation":
        raise DataError(f"{path} holds <{page.tag}>; a VOC <annotation> is expected.", hint=ANEW)
    return page


def _difficult(text: str | None, is_devkit: bool) -> bool | None:
    flag = truth(text)
    # In a year's folder whatever is no flag was taken for one that is set, and still is.
    return True if flag is None and is_devkit else flag


def _corners(one: ElementTree.Element) -> Box | None:
    values = [_number(one.findtext(f"bndbox/{name}")) for name in COORDINATES]
    left, top, right, bottom = values
    return None if any(map(math.isnan, values)) else (left, top, right, bottom)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _whole(text: str | None) -> int:
    value = _number(text)
    return int(value) if 0 < value <= MAX_SIDE else 0
