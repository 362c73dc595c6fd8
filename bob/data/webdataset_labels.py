"""The classes that the samples of tar files have, by name over all splits."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.core.files import read_regular
from bob.core.text import printable
from bob.data.judge import MAX_BAD_SHARE, require_distinct_names, require_trained
from bob.data.typed_values import whole_number
from bob.data.webdataset_samples import LONGEST_NAME, Label

log = logging.getLogger(__name__)

NAME_FILES = ("classnames.txt", "classes.txt", "dataset_info.json")
NAME_LISTS = ("class_names", "classnames", "label_names", "classes", "names")
NAMED_AT_MOST = 10
LEFT_OUT = -1


def listed_names(root: Path, files: Sequence[str]) -> list[str] | None:
    """Return the class names, in the order of their numbers, that the first of some files in ``root`` states.

    Raises:
        DataError: A file states none that can be right.
    """
    for file in files:
        names = _names_in(root / file)
        if names is not None:
            twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
            return [f"{name} ({number})" if name in twice else name for number, name in enumerate(names)]
    return None


def _names_in(path: Path) -> list[str] | None:
    try:
        text = read_regular(path).decode("utf-8-sig")
        found = _names_in_json(json.loads(text)) if path.suffix == ".json" else _lines(text)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read: {error}.", hint="Mend it, or move it away: the classes are then numbers."
        ) from error
    if found is None:
        log.warning("%s states no class names.", path)
        return None
    wrong = next((number for number, name in enumerate(found) if not _is_name(name)), None if found else 0)
    if wrong is not None:
        value = str(found[wrong] if found else "")[:80]
        raise DataError(
            f"{path}: the name of class {wrong} is {value!r}; a name for each class, in the order of their numbers "
            "from 0, is expected.",
            hint="Mend it, or move it away: the classes are then numbers.",
        )
    return [name.strip() for name in found]


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name.strip()) <= LONGEST_NAME and name.strip().isprintable()


def _lines(text: str) -> list[str]:
    return text.rstrip().splitlines()


def _names_in_json(said: Any) -> list[Any] | None:
    """Return the names in a Hugging Face ``dataset_info.json``, or of a plain list or table of classes."""
    if not isinstance(said, dict):
        return said if isinstance(said, list) else None
    features = said.get("features")
    inner = [each for each in features.values() if isinstance(each, dict)] if isinstance(features, dict) else []
    for place in (*inner, said):
        for key in NAME_LISTS:
            names = place.get(key)
            if isinstance(names, dict):
                numbers = {whole_number(number): name for number, name in names.items()}
                names = [numbers.get(number) for number in range(len(numbers))]
            if isinstance(names, list) and names:
                return names
    return None


def judge_labels(
    where: Path, labels: Mapping[str, Sequence[Label]], listed: list[str] | None
) -> tuple[list[str], dict[str, list[int]]]:
    """Return the classes and each sample's class, LEFT_OUT where it has none, of the stored splits.

    A name decides where there is one: the one listed for a number, else the one in the sample.

    Raises:
        DataError: A number has several names or a name several numbers; a number is beyond the list; texts are no class
            names; or too many samples of a split have no class.
    """
    own = _names_of_numbers(where, labels)
    names = {split: [_name(where, label, listed, own) for label in part] for split, part in labels.items()}
    present = {name for part in names.values() for name in part if name is not None}
    count = sum(map(len, names.values()))
    if listed is None and 2 * len(present) > max(count, 3):
        raise DataError(
            f"{where}: {count} samples have {len(present)} different texts as labels: these look like captions.",
            hint="A class is expected in key.cls (its number) or key.json ({'label': ...}).",
        )
    numbers = {name: number for number, name in own.items()}
    classes = listed or sorted(present, key=lambda name: (numbers.get(name, len(numbers)), name))
    if listed is None and not own:
        classes = _in_order(where, present, labels)
    place = {name: number for number, name in enumerate(classes)}
    found = {split: [LEFT_OUT if name is None else place[name] for name in part] for split, part in names.items()}
    found = {split: part for split, part in found.items() if _has_labels(where, split, part)}
    require_distinct_names(str(where), sorted(present))
    require_trained(
        str(where),
        classes,
        {split: set(part) - {LEFT_OUT} for split, part in found.items()},
        what="picture",
        hint="Look whether the shards of train are all there.",
    )
    return classes, found


def _in_order(where: Path, present: set[str], labels: Mapping[str, Sequence[Label]]) -> list[str]:
    by_number = all(name is None for part in labels.values() for _, name in part)
    if by_number:
        log.warning(
            "%s: the classes are called by their numbers, as no %s beside names them.", where, ", ".join(NAME_FILES)
        )
    return sorted(present, key=int if by_number else str)


def _names_of_numbers(where: Path, labels: Mapping[str, Sequence[Label]]) -> dict[int, str]:
    """Return the name that samples give to each number."""
    found: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for split, part in labels.items():
        for number, name in part:
            if number is None or name is None:
                continue
            known, other = found.setdefault(number, name), numbers.setdefault(name, number)
            if known != name or other != number:
                wrong = (
                    f"the number {number} is {known!r} and {name!r}"
                    if known != name
                    else f"{name!r} is {other} and {number}"
                )
                raise DataError(
                    f"{where}: {wrong} (in {split}): names and numbers of classes disagree.",
                    hint="Write the shards anew with one list of classes.",
                )
    return found


def _name(where: Path, label: Label, listed: list[str] | None, own: Mapping[int, str]) -> str | None:
    number, name = label
    if number is not None and number < 0:
        number = None  # what hidden labels are written as
    if listed is not None and number is not None:
        if number >= len(listed):
            raise DataError(
                f"{where}: a label is {number}, but there are {len(listed)} class names.",
                hint=f"Look into {' or '.join(NAME_FILES)} beside the tar files: a line for each class is expected.",
            )
        return listed[number]
    if name is not None:
        return name if listed is None or name in listed else None
    if number is None:
        return None
    return own.get(number) if own else str(number)


def _has_labels(where: Path, split: str, part: list[int]) -> bool:
    """Tell whether a split has labels; warn of the samples that lack one.

    Raises:
        DataError: Too many do.
    """
    lacking = part.count(LEFT_OUT)
    if lacking == len(part) and split in ("val", "test"):
        log.warning("%s: the labels of split %s are hidden: it is left out.", where, split)
        return False
    if lacking > MAX_BAD_SHARE * len(part):
        raise DataError(
            f"{where}: {lacking} of {len(part)} samples of split {split} have no class in a key.cls or key.json.",
            hint="Write the shards anew with a class for each picture.",
        )
    return True


def shown(names: Sequence[str]) -> str:
    """Return some names for a message."""
    return ", ".join(map(printable, names[:NAMED_AT_MOST])) + (" ..." if len(names) > NAMED_AT_MOST else "")
