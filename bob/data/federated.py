"""LVIS: in each picture some classes alone are annotated, and the file says which it lacks and which are not complete.

Gupta et al. 2019 (arXiv:1908.03195). A detection of a class that a picture neither has nor is known to lack counts
neither as right nor as wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.data.typed_values import whole_number

ABSENT, PARTIAL = "neg_category_ids", "not_exhaustive_category_ids"
FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
HINT = "lvisdataset.org, 'Data Format', says what each picture and category has."

Contents = Mapping[str, Mapping[str, list[dict[str, Any]]]]


def are_federated(files: Mapping[str, Path], contents: Contents) -> bool:
    """Tell whether files are in LVIS' format.

    Raises:
        DataError: Some are, and others are not.
    """
    found = {split: _is_federated(content) for split, content in contents.items()}
    if len(set(found.values())) > 1:
        named = next(files[split] for split, is_federated in found.items() if is_federated)
        other = next(files[split] for split, is_federated in found.items() if not is_federated)
        raise DataError(
            f"{named} says of its pictures which classes are not annotated ({ABSENT}), as LVIS does, and {other} does "
            "not: their scores would mean different things.",
            hint="Give all files of a data set in one format.",
        )
    return any(found.values())


def _is_federated(content: Mapping[str, list[dict[str, Any]]]) -> bool:
    return any(name in entry for entry in content["images"] for name in (ABSENT, PARTIAL))


def frequencies_of(
    files: Mapping[str, Path], contents: Contents, labels: Mapping[str, Mapping[int, int]]
) -> tuple[str, ...]:
    """Return of each class, in label order, whether it is "rare", "common" or "frequent" in the training pictures.

    Args:
        files: The file of each split.
        contents: What they hold; every category has an id.
        labels: The label of each category id in each file.

    Raises:
        DataError: A category has none of the three, or two files say different things.
    """
    found: dict[int, str] = {}
    for split, content in contents.items():
        for entry in content["categories"]:
            stated = entry.get("frequency")
            said = FREQUENCIES.get(stated) if isinstance(stated, str) else None
            number = whole_number(entry.get("id"))
            assert number is not None, "categories without a number are refused before"
            label = labels[split][number]
            if said is None or found.setdefault(label, said) != said:
                expected = "r, c or f" if said is None else found[label][0]
                raise DataError(
                    f"{files[split]}: category {number} has the frequency {stated!r:.40}; {expected} is expected.",
                    hint=HINT,
                )
    return tuple(found[label] for label in sorted(found))


def stated_labels(
    file: Path, picture: object, entry: Mapping[str, Any], labels: Mapping[int, int]
) -> dict[str, list[int]]:
    """Return the labels that a picture is known to lack ("absent"), and those of which objects may be missing.

    Raises:
        DataError: The picture does not say, or names a category that there is not.
    """
    return {
        "absent": _labels(file, picture, ABSENT, entry, labels),
        "partial": _labels(file, picture, PARTIAL, entry, labels),
    }


def _labels(file: Path, picture: object, name: str, entry: Mapping[str, Any], labels: Mapping[int, int]) -> list[int]:
    stated = entry.get(name)
    numbers = [whole_number(value) for value in stated] if isinstance(stated, list) else [None]
    if not all(number in labels for number in numbers):
        raise DataError(
            f"{file}: picture {picture} has {name} {stated!r:.80}; a list of category ids is expected.", hint=HINT
        )
    return sorted({labels[number] for number in numbers if number is not None})
