"""COCO's instances JSON, read with suspicion: what is wrong is named with file and id, and the rest is kept."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.data.box_judge import BoxJudge
from bob.data.boxes import Box, fitted
from bob.data.coco_masks import area_of, box_of, mask_of
from bob.data.decode import BROKEN_PICTURE, MAX_PIXELS, open_picture
from bob.data.faults import LEFT_OUT, NO_MASK, NO_PICTURE, REPAIRED, Fault
from bob.data.object_arrays import TableBuilder
from bob.data.orientation import upright_size
from bob.data.table_cache import Parsed
from bob.data.typed_values import truth, whole_number

log = logging.getLogger(__name__)

LISTS = ("images", "annotations", "categories")
ANEW = "Export or copy the file anew."
NO_ID = object()
REFERENCES = ("image_id", "category_id")  # as text or fractions they fitted nothing before
MASKS_JUDGED = 2000
MAX_NUMBER = 2**53  # JSON has integers of any length; floats hold no greater one exactly


@dataclass(frozen=True)
class CocoFile:
    """One split's file.

    Attributes:
        path: The JSON file.
        folders: Where its pictures may lie, relative to the root with a trailing slash ("" is the root), best first.
    """

    path: Path
    folders: tuple[str, ...]


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
    listed = {split: _listed(files[split].path, content) for split, content in contents.items()}
    names, labels = _labels_by_name(listed) if _are_named(listed) else _labels_by_number(files, listed)
    is_other = _numbered_otherwise(listed)
    parts: dict[str, TableBuilder] = {}
    for split, file in files.items():
        parser = _Parser(root=root, file=file, labels=labels[split], present=present)
        # Let go of each file's objects as soon as they are in the table: COCO's take gigabytes.
        parts[split] = parser.parse(contents.pop(split))
        is_other = is_other or parser.is_typed_otherwise
        nameless = [number for number, name in listed[split].items() if not name]
        parts[split].faults += [_nameless(file, number, names[labels[split][number]]) for number in nameless]
    return Parsed(classes=tuple(names), splits=parts, reading=2 if is_other else 1)


def _numbered_otherwise(listed: Mapping[str, dict[int, str]]) -> bool:
    """Tell whether files give one id two names, or one name two ids: matching by number took these for others."""
    pairs = {pair for names in listed.values() for pair in names.items()}
    return _are_named(listed) and not len({n for n, _ in pairs}) == len({name for _, name in pairs}) == len(pairs)


def _nameless(file: CocoFile, number: int, called: str) -> Fault:
    where = f"{file.path.name}, category {number} (called {called!r})"
    return Fault("a category without a name", where, effect=REPAIRED)


def read_json(path: Path) -> dict[str, list[Any]]:
    """Read an instances file as far as its three lists.

    Raises:
        DataError: It is cut off, no JSON, or something else; the message names the place.
    """
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path} is cut off or damaged at character {error.pos} of {len(error.doc)} "
            f"(line {error.lineno}, column {error.colno}): {error.msg}.",
            hint=ANEW,
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, a number of 5,000 digits, lists within lists
        raise DataError(f"{path} is no JSON text: {error}.", hint=ANEW) from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in LISTS):
        raise DataError(
            f"{path} is no COCO instances file: lists {', '.join(LISTS)} are expected.",
            hint="See cocodataset.org, 'Data format', 'Object detection'.",
        )
    for name in LISTS:
        for place, entry in enumerate(content[name]):
            if not isinstance(entry, dict):
                raise DataError(f"{path}: {name}[{place}] is {entry!r:.80}; an object is expected.", hint=ANEW)
    return content


def _listed(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of each category id of one file, "" where it has none.

    Raises:
        DataError: There is no category, an id is no number, or one id has two names.
    """
    found: dict[int, str] = {}
    for entry in content["categories"]:
        number, name = whole_number(entry.get("id")), entry.get("name")
        if number is None:
            raise DataError(f"{path}: category {name!r} has id {entry.get('id')!r}, no number.", hint=ANEW)
        name = name.strip() if isinstance(name, str) else ""
        if found.get(number) and name and found[number] != name:
            raise DataError(f"{path}: category {number} is {name!r} and {found[number]!r} before.", hint=ANEW)
        found[number] = found.get(number) or name
    if not found:
        raise DataError(f"{path} has no categories.", hint=ANEW)
    return found


def _are_named(listed: Mapping[str, dict[int, str]]) -> bool:
    """Tell whether every category of every file has a name, and each file gives a name to one id alone."""
    return all(all(names.values()) and len(set(names.values())) == len(names) for names in listed.values())


def _labels_by_name(listed: Mapping[str, dict[int, str]]) -> tuple[list[str], dict[str, dict[int, int]]]:
    """Return the class names, and the label of each id in each file: tools number the categories of each split anew."""
    first: dict[str, int] = {}
    for names in listed.values():
        for number, name in names.items():
            first[name] = min(first.get(name, number), number)
    order = sorted(first, key=lambda name: (first[name], name))
    place = {name: label for label, name in enumerate(order)}
    return order, {split: {number: place[name] for number, name in names.items()} for split, names in listed.items()}


def _labels_by_number(
    files: Mapping[str, CocoFile], listed: Mapping[str, dict[int, str]]
) -> tuple[list[str], dict[str, dict[int, int]]]:
    """Return the same where names are missing or not distinct, so that only ids can tell classes apart.

    Raises:
        DataError: Two files give an id different names.
    """
    found: dict[int, str] = {}
    for split, names in listed.items():
        for number, name in names.items():
            if found.get(number) and name and found[number] != name:
                raise DataError(
                    f"{files[split].path}: category {number} is {name!r} here and {found[number]!r} before.",
                    hint="All splits of a data set must use the same categories.",
                )
            found[number] = found.get(number) or name
    labels = {number: label for label, number in enumerate(sorted(found))}
    return _unique_names(found), dict.fromkeys(listed, labels)


def _unique_names(categories: Mapping[int, str]) -> list[str]:
    names = [categories[number] or f"category_{number}" for number in sorted(categories)]
    return [
        f"{name} ({number})" if names.count(name) > 1 else name
        for number, name in zip(sorted(categories), names, strict=True)
    ]


@dataclass
class _Parser:
    """Reads one file into a table."""

    root: Path
    file: CocoFile
    labels: Mapping[int, int]
    present: frozenset[str]
    table: TableBuilder = field(default_factory=TableBuilder)
    judge: BoxJudge = field(default_factory=BoxJudge)
    is_typed_otherwise: bool = False
    _pictures: dict[Any, int] = field(default_factory=dict)
    _paths: set[str] = field(default_factory=set)
    _seen: set[Any] = field(default_factory=set)

    def parse(self, content: Mapping[str, list[dict[str, Any]]]) -> TableBuilder:
        listed: dict[Any, str] = {}
        for entry in content["images"]:
            self._add_picture(entry, listed)
        self._require_some_present()
        for entry in content["annotations"]:
            self._add_object(entry)
        self.judge.decide(self.file.path)
        return self.table

    def _add_picture(self, entry: dict[str, Any], listed: dict[Any, str]) -> None:
        number, name = _id_of(entry.get("id"), None), entry.get("file_name")
        if number is None or not isinstance(name, str) or not name:
            raise DataError(
                f"{self.file.path}: picture {number!r} has the file name {name!r}; an id and a name are expected.",
                hint=ANEW,
            )
        path = self._place(name)
        if number in listed:
            if listed[number] != path:
                raise DataError(
                    f"{self.file.path}: pictures {listed[number]} and {path} have the same id {number}.",
                    hint="Nobody can tell whose the annotations are: give them different ids.",
                )
            self.table.faults.append(Fault("a picture listed twice", f"{self.file.path.name}, picture {number}"))
            return
        if path in self._paths:
            raise DataError(
                f"{self.file.path}: picture {path} is listed under two ids, the second is {number}.",
                hint="Put its annotations under one id.",
            )
        listed[number] = path
        self._paths.add(path)
        self._pictures[number] = self.table.add_picture(path, self._size(entry, path))

    def _place(self, name: str) -> str:
        """Return a picture's path below the root; where it is missing, the one it should have."""
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
            raise DataError(
                f"{self.file.path}: the picture {name!r} leads out of the data set's folder {self.root}.",
                hint="Only names below the folder are read.",
            )
        clean = "/".join(part for part in parts if part not in ("", "."))
        candidates = [folder + clean for folder in self.file.folders]
        return next((path for path in candidates if path in self.present), candidates[0])

    def _size(self, entry: Mapping[str, Any], path: str) -> tuple[int, int]:
        """Return the height and width that the file states, or else the picture's own."""
        height, width = entry.get("height"), entry.get("width")
        if type(height) is int and type(width) is int and height > 0 and width > 0:
            # One that would not be decoded is left out here: nothing is computed for its stated size.
            return (height, width) if height * width <= MAX_PIXELS else (0, 0)
        return stored_size(self.root, path, self.present)

    def _require_some_present(self) -> None:
        missing = [path for path in self.table.ids if path not in self.present]
        if missing and len(missing) == len(self.table.ids):
            looked = ", ".join(str(self.root / folder) for folder in self.file.folders)
            raise DataError(
                f"{self.file.path}: none of its {len(missing)} pictures ({missing[0]}, ...) is in {looked}.",
                hint="Put the pictures there, in the folder named as the split.",
            )

    def _add_object(self, entry: dict[str, Any]) -> None:
        self.is_typed_otherwise |= any(type(entry.get(name)) in (float, str) for name in REFERENCES)
        number = _id_of(entry.get("id"), NO_ID)
        where = f"{self.file.path.name}, annotation {'without id' if number is NO_ID else number}"
        picture = self._pictures.get(_id_of(entry.get("image_id"), None))
        if picture is None:
            self._fault("an unknown picture id", f"{where} of picture {entry.get('image_id')!r:.40}", NO_PICTURE)
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
    return value if isinstance(value, str) and value else default
