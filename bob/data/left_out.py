"""Lists of pictures that a plan leaves out: kept by content in the cache, named by their address in a data set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bob.core.errors import DataError
from bob.core.files import digest, write_text
from bob.data.dataset import DatasetSpec

# By annotation and split the ids of pictures. Each annotation may have splits of its own.
Lists = Mapping[str, Mapping[str, list[str]]]


def write_lists(lists: Lists, cache_dir: Path) -> str:
    """Keep what is left out and return its address."""
    ordered = {name: {split: sorted(ids) for split, ids in parts.items()} for name, parts in lists.items()}
    address = digest(ordered, length=32)
    path = _path(address, cache_dir)
    if not path.is_file():
        write_text(path, json.dumps(ordered))
    return address


def read_lists(address: str, cache_dir: Path) -> Lists:
    """Return what is left out.

    Raises:
        DataError: The list is gone or damaged: a job without it would train on copies of what it is scored on.
    """
    path = _path(address, cache_dir)
    try:
        lists: Lists = json.loads(path.read_bytes())
        if digest(lists, length=32) == address:
            return lists
        problem = "it holds something else than was written"
    except (OSError, ValueError) as error:
        problem = str(error)
    raise DataError(
        f"the list of copies that are left out, {path}, cannot be read: {problem}.",
        hint=f"Remove it (rm '{path}') and run the suite again: the plan finds the copies anew.",
    )


def has_lists(address: str, cache_dir: Path) -> bool:
    """Tell whether there is a list under an address."""
    return _path(address, cache_dir).is_file()


def marked(fingerprint: str, listed: str) -> str:
    """Return the fingerprint of data without the pictures that a list names: their results are others."""
    return digest([fingerprint, "without", listed], length=64)


def left_out_of(spec: DatasetSpec, split: str, *, annotation: str, cache_dir: Path) -> frozenset[str]:
    """Return the ids of those pictures of a split that are left out.

    Raises:
        DataError: As ``read_lists``.
    """
    if spec.copies is None or not spec.copies.listed:
        return frozenset()
    return frozenset(read_lists(spec.copies.listed, cache_dir).get(annotation, {}).get(split, ()))


def _path(address: str, cache_dir: Path) -> Path:
    return cache_dir / "datasets" / f"left-out-{address}.json"
