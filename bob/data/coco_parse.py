"""COCO's instances JSON, read with suspicion: what is wrong is named with file and id, and the rest is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.data.box_judge import BoxJudge
from bob.data.boxes import Box, fitted
from bob.data.coco_categories import (
    ANEW,
    are_named,
    are_numbered_otherwise,
    categories_of,
    labels_by_name,
    labels_by_number,
    read_json,
)
from bob.data.coco_masks import area_of, box_of, mask_of
from bob.data.coco_places import CocoFile, PicturePlaces
from bob.data.decode import BROKEN_PICTURE, MAX_PIXELS, open_picture
from bob.data.faults import LEFT_OUT, NO_MASK, NO_PICTURE, REPAIRED, Fault
from bob.data.federated import are_federated, frequencies_of, stated_labels
from bob.data.object_arrays import TableBuilder
from bob.data.orientation import upright_size
from bob.data.table_cache import Parsed
from bob.data.typed_values import is_text, truth, whole_number

log = logging.getLogger(__name__)

Listed = tuple[Any, str]  # the id and the path of a picture
NO_ID = object()
ELSEWHERE = -2  # the index of a picture that another split holds
OWNERS = ("test", "val", "train")  # a picture of two splits stays in the first of these
REFERENCES = ("image_id", "category_id")  # as text or fractions they fitted nothing before
SHARED = "a picture that another split holds too"
MASKS_JUDGED = 2000
MAX_NUMBER = 2**53  # JSON has integers of any length; floats hold no greater one exactly


def parse_coco(root: Path, files: Mapping[str, CocoFile], present: frozenset[str]) -> Parsed:
    """Read the files of all splits.

    Args:
        root: The data set's folder.
        files: The file of each stored split.
        present: Paths of the picture files there are, relative to the root.

    Raises:
        DataError: A file is cut off or no instances JSON, a picture leads out of the folder or is listed twice under
            one id, or two files disagree about a category.
    """
    contents = {split: read_json(file.path) for split, file in files.items()}
    listed = {split: categories_of(files[split].path, content) for split, content in contents.items()}
    names, labels = labels_by_name(listed) if are_named(listed) else labels_by_number(files, listed)
    is_other = are_numbered_otherwise(listed)
    paths = {split: file.path for split, file in files.items()}
    frequencies = frequencies_of(paths, contents, labels) if are_federated(paths, contents) else ()
    pictures = {split: _listed_pictures(root, files[split], content, present) for split, content in contents.items()}
    parts: dict[str, TableBuilder] = {}
    for split, file in files.items():
        taken = _taken(split, pictures, present)
        parser = _Parser(
            root=root, file=file, labels=labels[split], present=present, taken=taken, is_federated=bool(frequencies)
        )
        # Let go of each file's objects as soon as they are in the table: COCO's take gigabytes.
        parts[split] = parser.parse(contents.pop(split), pictures[split])
        is_other = is_other or parser.is_typed_otherwise
        nameless = [number for number, name in listed[split].items() if not name]
        parts[split].faults += [_nameless(file, number, names[labels[split][number]]) for number in nameless]
    is_shared = any(fault.reason == SHARED for part in parts.values() for fault in part.faults)
    reading = 4 if frequencies else 3 if is_shared else 2 if is_other else 1
    return Parsed(classes=tuple(names), splits=parts, reading=reading, frequencies=frequencies)


def _taken(split: str, pictures: Mapping[str, Sequence[Listed]], present: frozenset[str]) -> dict[str, str]:
    """Return the pictures that splits before this one in OWNERS hold, with the split."""
    before = OWNERS[: OWNERS.index(split)] if split in OWNERS else ()
    return {path: owner for owner in before for _, path in pictures.get(owner, ()) if path in present}


def _nameless(file: CocoFile, number: int, called: str) -> Fault:
    where = f"{file.path.name}, category {number} (called {called!r})"
    return Fault("a category without a name", where, effect=REPAIRED)


@dataclass
class _Parser:
    """Reads one file into a table."""

    root: Path
    file: CocoFile
    labels: Mapping[int, int]
    present: frozenset[str]
    taken: Mapping[str, str]
    is_federated: bool
    table: TableBuilder = field(default_factory=TableBuilder)
    judge: BoxJudge = field(default_factory=BoxJudge)
    is_typed_otherwise: bool = False
    _pictures: dict[Any, int] = field(default_factory=dict)
    _paths: set[str] = field(default_factory=set)
    _seen: set[Any] = field(default_factory=set)

    def parse(self, content: Mapping[str, list[dict[str, Any]]], pictures: Sequence[Listed]) -> TableBuilder:
        listed: dict[Any, str] = {}
        for entry, (number, path) in zip(content["images"], pictures, strict=True):
            if self._is_new(number, path, listed):
                self._add_picture(entry, number, path)
        self._require_some_left(len(pictures))
        for entry in content["annotations"]:
            self._add_object(entry)
        self.judge.decide(self.file.path)
        return self.table

    def _is_new(self, number: Any, path: str, listed: dict[Any, str]) -> bool:
        if number in listed:
            if listed[number] != path:
                raise DataError(
                    f"{self.file.path}: pictures {listed[number]} and {path} have the same id {number}.",
                    hint="Nobody can tell whose the annotations are: give them different ids.",
                )
            self.table.faults.append(Fault("a picture listed twice", f"{self.file.path.name}, picture {number}"))
            return False
        if path in self._paths:
            raise DataError(
                f"{self.file.path}: picture {path} is listed under two ids, the second is {number}.",
                hint="Put its annotations under one id.",
            )
        listed[number] = path
        self._paths.add(path)
        return True

    def _add_picture(self, entry: dict[str, Any], number: Any, path: str) -> None:
        owner = self.taken.get(path)
        if owner is None:
            known = stated_labels(self.file.path, number, entry, self.labels) if self.is_federated else {}
            self._pictures[number] = self.table.add_picture(path, self._size(entry, path), **known)
            return
        # It stays where it is scored: a backbone must not train on what tests it.
        self._pictures[number] = ELSEWHERE
        where = f"{self.file.path.name}, picture {number} ({path}, which {owner} holds)"
        self.table.faults.append(Fault(SHARED, where))

    def _require_some_left(self, count: int) -> None:
        shared = sum(fault.reason == SHARED for fault in self.table.faults)
        if shared and not self.table.ids:
            raise DataError(
                f"{self.file.path}: all of its {shared} pictures are in another split's file too.",
                hint="A picture may train, choose or test: take each out of all files but one.",
            )
        if shared:
            log.warning("%s: %d of %d pictures are left out: other splits hold them.", self.file.path, shared, count)

    def _size(self, entry: Mapping[str, Any], path: str) -> tuple[int, int]:
        """Return the height and width that the file states, or else the picture's own."""
        height, width = entry.get("height"), entry.get("width")
        if type(height) is int and type(width) is int and height > 0 and width > 0:
            # One that would not be decoded is left out here: nothing is computed for its stated size.
            return (height, width) if height * width <= MAX_PIXELS else (0, 0)
        return stored_size(self.root, path, self.present)

    def _add_object(self, entry: dict[str, Any]) -> None:
        self.is_typed_otherwise |= any(type(entry.get(name)) in (float, str) for name in REFERENCES)
        number = _id_of(entry.get("id"), NO_ID)
        where = f"{self.file.path.name}, annotation {'without id' if number is NO_ID else number}"
        picture = self._pictures.get(_id_of(entry.get("image_id"), None))
        if picture is None:
            self._fault("an unknown picture id", f"{where} of picture {entry.get('image_id')!r:.40}", NO_PICTURE)
            return
        if picture == ELSEWHERE:
            return
        where += f" of {self.table.ids[picture]}"
        if self._is_repeated(number):
            self._fault("an annotation id used before", where, picture)
            return
        category = whole_number(entry.get("category_id"))
        label = None if category is None else self.labels.get(category)
        if label is None:
            self._fault("an unknown category id", f"{where}, category {entry.get('category_id')!r:.40}", picture)
            return
        self._add_checked(entry, picture, label, where)

    def _add_checked(self, entry: Mapping[str, Any], picture: int, label: int, where: str) -> None:
        size = self.table.sizes[picture]
        if size == (0, 0):  # the picture cannot be read: it is left out as a whole
            return
        mask, problem = mask_of(entry["segmentation"], size) if entry.get("segmentation") else (b"", "no mask")
        self._judge(entry, mask, size)
        stated = entry.get("iscrowd", 0)
        crowd = truth(stated)
        self.is_typed_otherwise |= bool(stated) is not crowd
        if crowd is None:
            self._fault("an iscrowd that is neither 0 nor 1", f"{where}: {entry['iscrowd']!r:.40}", picture)
            return
        box, wrong = self._box(entry, mask, size)
        if wrong is not None:
            self._fault(wrong, where, picture, LEFT_OUT if box is None else REPAIRED)
        if box is None:
            return
        if problem is not None:
            self._fault(problem, where, picture, REPAIRED if mask else NO_MASK)
        self.table.add_object(
            picture,
            box=box,
            label=label,
            crowd=crowd,
            area=_area(entry.get("area"), box, mask, size),
            mask=mask,
        )

    def _judge(self, entry: Mapping[str, Any], mask: bytes, size: tuple[int, int]) -> None:
        """Note what the stated box looks like; of very many masks the first few thousand tell enough."""
        stated = entry.get("bbox")
        if not _are_numbers(stated):
            return
        left, top, width, height = (float(value) for value in stated)  # type: ignore[union-attr]
        area: Any = entry.get("area")
        self.judge.look((left, top, width, height), size, float(area) if _is_number(area) else None)
        mask_box = box_of(mask, size) if mask and self.judge.masked < MASKS_JUDGED else None
        if mask_box is not None:
            self.judge.look_at_mask((left, top, left + width, top + height), mask_box)

    def _box(self, entry: Mapping[str, Any], mask: bytes, size: tuple[int, int]) -> tuple[Box | None, str | None]:
        stated = entry.get("bbox")
        if not stated and mask:
            return box_of(mask, size), None
        if not _are_numbers(stated):
            return None, "a box that is no list of four numbers"
        left, top, width, height = (float(value) for value in stated)  # type: ignore[union-attr]
        return fitted((left, top, left + width, top + height), size)

    def _is_repeated(self, number: Any) -> bool:
        repeated = number in self._seen
        if number is not NO_ID:
            self._seen.add(number)
        return repeated

    def _fault(self, reason: str, where: str, picture: int, effect: str = LEFT_OUT) -> None:
        self.table.faults.append(Fault(reason, where, picture, effect))


def _listed_pictures(root: Path, file: CocoFile, content: Mapping[str, Any], present: frozenset[str]) -> list[Listed]:
    """Return the id and the path below the root of each picture that a file lists.

    Raises:
        DataError: One has no id or no name, a name leads out of the root, or no picture is there.
    """
    named = [_named(file.path, entry) for entry in content["images"]]
    paths = PicturePlaces(root, file, present).paths([name for _, name in named])
    return [(number, path) for (number, _), path in zip(named, paths, strict=True)]


def _named(file: Path, entry: Mapping[str, Any]) -> tuple[Any, str]:
    """Return a picture's id and its file's name, or else the address that it comes from."""
    number, name = _id_of(entry.get("id"), None), entry.get("file_name") or entry.get("coco_url")
    if number is None or not is_text(name):
        raise DataError(
            f"{file}: picture {number!r} has the file name {name!r:.80}; an id and a name are expected.", hint=ANEW
        )
    return number, name


def stored_size(root: Path, path: str, present: frozenset[str]) -> tuple[int, int]:
    """Return a picture file's height and width as it is loaded, (0, 0) if it cannot be read."""
    if path not in present:
        return (0, 0)
    try:
        with open_picture(root / path) as image:
            return upright_size(image)
    except BROKEN_PICTURE:
        return (0, 0)


def _area(stated: Any, box: Box, mask: bytes, size: tuple[int, int]) -> float:
    """Return the area as the file states it; else the mask's, or the box's."""
    if type(stated) in (int, float) and 0 < stated <= MAX_NUMBER:
        return float(stated)
    return area_of(mask, size) if mask else (box[2] - box[0]) * (box[3] - box[1])


def _are_numbers(box: Any) -> bool:
    return isinstance(box, Sequence) and len(box) == 4 and all(map(_is_number, box))


def _is_number(value: Any) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= MAX_NUMBER)


def _id_of(value: Any, default: Any) -> Any:
    """Return an id: a whole number in whatever form, or a text that is none."""
    number = whole_number(value)
    if number is not None:
        return number
    return value if is_text(value) else default
