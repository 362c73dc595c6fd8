"""Samples in tar files as WebDataset writes them: files with one key, ``key.jpg`` and ``key.cls`` or ``key.json``.

A key is a file's path up to the first dot of its name, as the webdataset library has it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bob.core.errors import DataError
from bob.data.archive_members import Members
from bob.data.file_names import is_picture
from bob.data.typed_values import whole_number

NUMBER_EXTENSIONS = ("cls", "label", "class", "target", "cls.txt", "label.txt")
TEXT_EXTENSIONS = (*NUMBER_EXTENSIONS, "txt", "json")
NAME_KEYS = ("class_name", "classname", "label_name", "category_name", "class", "category", "label", "cls")
NUMBER_KEYS = ("label", "cls", "class", "target", "label_id", "class_id", "category_id")
MOST_LABEL_BYTES = 1 << 20
LONGEST_NAME = 200
Label = tuple[int | None, str | None]  # a number and a name; (None, None) where neither can be told
NO_LABEL: Label = (None, None)


@dataclass
class ShardSamples:
    """The samples of one tar file.

    Attributes:
        rows: The member that each picture is.
        labels: Each picture's label.
        alone: How many keys have a label and no picture.
    """

    rows: list[int] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    alone: int = 0


def key_of(name: str) -> tuple[str, str]:
    """Return the key of a file and what follows it, in small letters: ``a/b.seg.png`` is ("a/b", "seg.png")."""
    folder, slash, file = name.rpartition("/")
    stem, _, extension = file.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def are_samples(names: Sequence[str]) -> bool:
    """Tell whether most pictures have a label file of the same key, as folders of classes have not."""
    labelled: set[str] = set()
    pictures: list[str] = []
    for name in names:
        key, extension = key_of(name)
        if extension in TEXT_EXTENSIONS:
            labelled.add(key)
        elif is_picture(name):
            pictures.append(key)
    return bool(pictures) and 2 * sum(key in labelled for key in pictures) >= len(pictures)


def read_shard(members: Members, names: Sequence[str], rows: Sequence[int], where: str) -> ShardSamples:
    """Return the samples of one tar file, whose members are ``rows``.

    Raises:
        DataError: A key has two pictures: nobody can tell which is the sample's.
    """
    files: dict[str, dict[str, int]] = {}
    for row in rows:
        key, extension = key_of(names[row])
        known = files.setdefault(key, {})
        if extension in known:
            raise DataError(
                f"{where} holds two files {names[row]!r}: each key is expected once.",
                hint="Write the tar file anew, each sample once.",
            )
        known[extension] = row
    found = ShardSamples()
    for key, parts in files.items():
        pictures = [row for extension, row in parts.items() if is_picture(f"x.{extension}")]
        if len(pictures) > 1:
            shown = " and ".join(repr(names[row]) for row in pictures[:2])
            raise DataError(
                f"{where}: the sample {key!r} has several pictures, {shown}; one with a class is expected.",
                hint="Masks and pairs are read from folders: unpack the tar files and name the folder.",
            )
        if pictures:
            found.rows.append(pictures[0])
            found.labels.append(_label(members, parts))
        else:
            found.alone += any(extension in TEXT_EXTENSIONS for extension in parts)
    return found


def _label(members: Members, parts: Mapping[str, int]) -> Label:
    """Return a sample's label: number or name from its ``cls`` and ``json``, else from its ``txt``."""
    number, name = NO_LABEL
    for extension in NUMBER_EXTENSIONS:
        if extension in parts:
            number, name = _plain(_text(members, parts[extension]))
            break
    if "json" in parts:
        in_json = _from_json(_text(members, parts["json"]))
        return number if number is not None else in_json[0], name if name is not None else in_json[1]
    if "txt" in parts and (number, name) == NO_LABEL and not any(each in parts for each in NUMBER_EXTENSIONS):
        return _plain(_text(members, parts["txt"]))
    return number, name


def _text(members: Members, row: int) -> str | None:
    try:
        return members.read(row, most=MOST_LABEL_BYTES).decode("utf-8-sig")
    except (OSError, ValueError):  # a label that cannot be read is none: its sample is left out and counted
        return None


def _plain(text: str | None) -> Label:
    stripped = (text or "").strip()
    number = whole_number(stripped)
    if number is not None:
        return number, None
    is_name = 0 < len(stripped) <= LONGEST_NAME and stripped.isprintable() and not _is_number(stripped)
    return None, stripped if is_name else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _from_json(text: str | None) -> Label:
    try:
        said: Any = json.loads(text or "")
    except (ValueError, RecursionError):
        return NO_LABEL
    if not isinstance(said, dict):
        return _plain(str(said)) if isinstance(said, int | str) and not isinstance(said, bool) else NO_LABEL
    plain = {key: _value(said[key]) for key in (*NAME_KEYS, *NUMBER_KEYS) if key in said}
    return next(_first(plain, NUMBER_KEYS, 0), None), next(_first(plain, NAME_KEYS, 1), None)


def _value(value: Any) -> Label:
    if isinstance(value, str):
        return _plain(value)
    number = whole_number(value)
    return (number, None) if number is not None else NO_LABEL


def _first(plain: Mapping[str, Label], keys: Sequence[str], place: int) -> Iterator[Any]:
    return (plain[key][place] for key in keys if key in plain and plain[key][place] is not None)
