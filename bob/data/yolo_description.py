"""What the YAML file of a data set in YOLO's format says, and the lists of class names that stand in for it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bob.core.errors import DataError, SuiteError
from bob.core.files import read_regular
from bob.core.yaml_source import parse_yaml
from bob.data.fingerprint import inside
from bob.data.typed_values import whole_number
from bob.data.yolo_layout import NAME_LISTS, NAMES_SUFFIX, is_description, split_meant, yaml_files

PREFERRED = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
MAX_BYTES = 1 << 24
MAX_CLASSES = 100_000
NAMELESS = ("", "~")
DARKNET = ("", "data/")  # folders that may hold obj.names
LAYOUT_HINT = "docs/data.md shows the layouts that are read."


@dataclass(frozen=True)
class Description:
    """What is said about a data set, as far as it is said.

    Attributes:
        file: The YAML file; None if there is none.
        names: The class name of each id; None if nothing names them.
        count: How many classes there are (``nc``).
        base: The folder that the splits' places refer to, relative to the root; "" is the root.
        splits: Folders or lists of pictures of each split, as they are written.
    """

    file: Path | None = None
    names: Mapping[int, str] | None = None
    count: int | None = None
    base: str = ""
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def find_description(root: Path, file: str | None) -> Description:
    """Read the YAML file of this name, or else the one that the folder holds, if it holds one.

    Raises:
        DataError: It cannot be read or says something that cannot be; or there are several.
    """
    if file is not None:
        return read_description(root, root / file)
    found = [path for path in yaml_files(root) if is_description(path) or path.name.lower() in PREFERRED]
    usual = [path for name in PREFERRED for path in found if path.name.lower() == name]
    if usual:
        return read_description(root, usual[0])
    if len(found) > 1:
        raise DataError(
            f"{root} holds several files that describe boxes: {', '.join(path.name for path in found[:5])}.",
            hint=f"Name one of them: --data {found[0]}",
        )
    return read_description(root, found[0]) if found else Description()


def read_description(root: Path, path: Path) -> Description:
    """Read a YAML file.

    Raises:
        DataError: As ``find_description``.
    """
    content = _content(root, path)
    if "kpt_shape" in content:
        raise DataError(
            f"{path} describes keypoints (kpt_shape): poses are not read, boxes and polygons are.",
            hint="Export the boxes alone: lines 'class x_center y_center width height', no kpt_shape.",
        )
    names = _names(path, content["names"]) if content.get("names") not in (None, "", [], {}) else None
    count = _count(path, content.get("nc"), names)
    return Description(
        file=path, names=names, count=count, base=_base(root, content.get("path", "")), splits=_splits(path, content)
    )


def read_text(root: Path, path: Path, what: str) -> str:
    """Return a small UTF-8 text.

    Raises:
        DataError: It cannot be read, leads out of the root, is no text, or is far too long.
    """
    try:
        content = read_regular(inside(root, path))
        if len(content) > MAX_BYTES:
            raise DataError(f"{path} has {len(content)} bytes; {what} of at most {MAX_BYTES} is expected.")
        return content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no {what} that can be read: {error}.", hint="Copy the file anew.") from error


def names_in_lists(root: Path, folders: Iterable[str]) -> dict[int, str] | None:
    """Return the class names that ``classes.txt`` or ``*.names`` in some folders list, one a line; None without one.

    Raises:
        DataError: Two lists differ, or one has an empty line or a name twice.
    """
    found: dict[Path, list[str]] = {}
    for folder in dict.fromkeys(folders):
        place = root / folder
        if place.is_dir():
            named = sorted(place.glob(f"*{NAMES_SUFFIX}")) if folder in DARKNET else []
            lists = [place / name for name in NAME_LISTS] + named
            found |= {path: _lines(root, path) for path in lists if path.is_file()}
    if not found:
        return None
    (first, names), *others = found.items()
    for path, lines in others:
        if lines != names:
            raise DataError(
                f"{first} and {path} list different class names.", hint="Keep the right one, and remove the other."
            )
    return _distinct(first, dict(enumerate(names)))


def _content(root: Path, path: Path) -> dict[str, Any]:
    """Return the mapping with every value as it is written: a class called ``no`` is no truth value."""
    text = read_text(root, path, "YAML text")
    try:
        parse_yaml(text, name=str(path))
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except SuiteError as error:
        raise DataError(error.message, hint="Mend the file, or remove it.") from error
    if not isinstance(content, dict) or not {"names", "nc", "train", "val", "test"} & content.keys():
        raise DataError(
            f"{path} describes no data set in YOLO's format: keys names, train and val are expected.", hint=LAYOUT_HINT
        )
    return content


def _names(path: Path, value: Any) -> dict[int, str]:
    if isinstance(value, list):
        entries = list(enumerate(value))
    elif isinstance(value, dict):
        entries = [(_id(path, key), name) for key, name in value.items()]
    else:
        raise DataError(f"{path}: names is {value!r:.80}; a list or a mapping of class names is expected.")
    names = dict(entries)
    if len(names) < len(entries):
        raise DataError(f"{path}: names has one class id twice.", hint="Give each class an id of its own.")
    for number, name in entries:
        if not isinstance(name, str) or name.strip() in NAMELESS:
            raise DataError(f"{path}: class {number} has the name {name!r:.80}; a text is expected.")
    return _distinct(path, {number: names[number].strip() for number in sorted(names)})


def _id(path: Path, key: str) -> int:
    number = whole_number(key)
    if number is None:
        raise DataError(f"{path}: names has the class id {key!r:.40}; a whole number from 0 on is expected.")
    return number


def _distinct(path: Path, names: dict[int, str]) -> dict[int, str]:
    first: dict[str, int] = {}
    for number, name in names.items():
        if first.setdefault(name, number) != number:
            raise DataError(
                f"{path}: the name {name!r} stands for the classes {first[name]} and {number}.",
                hint="Give each class a name of its own: nobody can tell whether they are one.",
            )
    return names


def _count(path: Path, value: Any, names: Mapping[int, str] | None) -> int | None:
    if value is None:
        return None
    count = whole_number(value)
    if count is None or not 0 < count <= MAX_CLASSES:
        raise DataError(f"{path}: nc is {value!r:.40}; a number of classes from 1 to {MAX_CLASSES} is expected.")
    if names is not None and count != len(names):
        raise DataError(f"{path}: nc is {count}, and names has {len(names)}.", hint="Make the two agree.")
    return count


def _base(root: Path, value: Any) -> str:
    """Return the folder that ``path`` means below the root.

    Most files state the path that the data had where they were made; then it is the file's own folder that is meant.
    """
    text = value.strip().replace("\\", "/") if isinstance(value, str) else ""
    below = below_root(root, text)
    return f"{below}/" if below and is_folder(root / below) else ""


def below_root(root: Path, text: str, base: str = "") -> str | None:
    """Return a written path relative to the root; None for an absolute one that lies elsewhere.

    ``..`` stops at the root, as Roboflow's files say ``../train/images`` for ``train/images`` beside them.
    """
    if text.startswith("/"):
        return _below(root, Path(posixpath.normpath(text)))
    return posixpath.normpath(f"/{base}{text}").lstrip("/")


def _below(root: Path, path: Path) -> str | None:
    try:
        places = [place for place in (path, path.resolve()) if place.is_relative_to(root)]
    except (OSError, RuntimeError):  # a name too long, or links in a circle
        return None
    below = places[0].relative_to(root).as_posix() if places else None
    return "" if below == "." else below


def is_folder(path: Path) -> bool:
    """Tell whether there is a folder; a name that no file system takes is none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _splits(path: Path, content: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for key, value in content.items():
        split = split_meant(key)
        if split is None or value in ("", "~", "null", []):
            continue
        if split in found:
            raise DataError(f"{path} says twice what {split} is, the second time as {key!r}.", hint="Keep one line.")
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one.strip() for one in values):
            raise DataError(f"{path}: {key} is {value!r:.80}; a folder, a list of folders or a .txt file is expected.")
        found[split] = tuple(one.strip().replace("\\", "/") for one in values)
    return found


def _lines(root: Path, path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(root, path, "list of class names").rstrip().splitlines()]
    if not lines or not all(lines):
        raise DataError(f"{path}: a class without a name.", hint="One class name a line is expected, class 0 first.")
    return lines
