"""Reading COCO's JSON as far as its lists, and the categories of several files as one list of classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.data.coco_places import CocoFile
from bob.data.typed_values import is_text, whole_number

LISTS = ("images", "annotations", "categories")
ANEW = "Export or copy the file anew."


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


def are_numbered_otherwise(listed: Mapping[str, dict[int, str]]) -> bool:
    """Tell whether files give one id two names, or one name two ids: matching by number took these for others."""
    pairs = {pair for names in listed.values() for pair in names.items()}
    return are_named(listed) and not len({n for n, _ in pairs}) == len({name for _, name in pairs}) == len(pairs)


def categories_of(path: Path, content: Mapping[str, Any]) -> dict[int, str]:
    """Return the name of each category id of one file, "" where it has none.

    Raises:
        DataError: There is no category, an id is no number, or one id has two names.
    """
    found: dict[int, str] = {}
    for entry in content["categories"]:
        number, name = whole_number(entry.get("id")), entry.get("name")
        if number is None:
            raise DataError(f"{path}: category {name!r} has id {entry.get('id')!r}, no number.", hint=ANEW)
        name = name.strip() if is_text(name) else ""
        if found.get(number) and name and found[number] != name:
            raise DataError(f"{path}: category {number} is {name!r} and {found[number]!r} before.", hint=ANEW)
        found[number] = found.get(number) or name
    if not found:
        raise DataError(f"{path} has no categories.", hint=ANEW)
    return found


def are_named(listed: Mapping[str, dict[int, str]]) -> bool:
    """Tell whether every category of every file has a name, and each file gives a name to one id alone."""
    return all(all(names.values()) and len(set(names.values())) == len(names) for names in listed.values())


def labels_by_name(listed: Mapping[str, dict[int, str]]) -> tuple[list[str], dict[str, dict[int, int]]]:
    """Return the class names, and the label of each id in each file: tools number the categories of each split anew."""
    first: dict[str, int] = {}
    for names in listed.values():
        for number, name in names.items():
            first[name] = min(first.get(name, number), number)
    order = sorted(first, key=lambda name: (first[name], name))
    place = {name: label for label, name in enumerate(order)}
    return order, {split: {number: place[name] for number, name in names.items()} for split, names in listed.items()}


def labels_by_number(
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
