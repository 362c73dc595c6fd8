"""Whether a folder's pictures are listed in a table with their classes, or lie in folders of their classes."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError
from bob.data.file_names import SPLIT_ALIASES, split_within
from bob.data.table_columns import LABEL_NAMES, Asked, normal
from bob.data.table_files import (
    HEAD_BYTES,
    TABLE_SUFFIXES,
    TableFile,
    candidate_tables,
    listing_tables,
    names_below,
)
from bob.data.table_listing import Listing, read_listing
from bob.data.table_rows import head_of

__all__ = ["TABLE_SUFFIXES", "is_table"]

log = logging.getLogger(__name__)


def is_table(root: Path) -> bool:
    """Tell whether tables list a folder's pictures. Heads of text files are read; whole ones beside folders of classes.

    Folders of classes whose pictures a table lists with these very classes are read as folders.

    Raises:
        DataError: A table gives the pictures in folders of classes other labels: both readings are named.
    """
    if not candidate_tables(root):
        return False
    below = names_below(root)
    files = listing_tables(root, below)
    if len({name for folder in below.folders if (name := _class_of(folder))}) < 2:
        return bool(files)
    telling = [file for file in files if not file.is_parquet and _has_labels(root / file.name)]
    return bool(telling) and not _says_the_same(root, telling)


def _class_of(folder: str) -> str | None:
    """Return the folder of a class that pictures in this folder would have as folders of classes; None for none."""
    parts = [part for part in PurePosixPath(folder).parts if not _is_split(part)]
    return parts[0] if parts else None


def _is_split(name: str) -> bool:
    return split_within(name) is not None or name.lower() in SPLIT_ALIASES


def _has_labels(path: Path) -> bool:
    """Tell by a header whether a table is about labels: sizes or sources of pictures say nothing of their classes."""
    with path.open("rb") as file:
        rows = head_of(file.read(HEAD_BYTES), path.suffix.lower())
    return any(normal(name) in LABEL_NAMES for name in rows[0])


def _says_the_same(root: Path, files: Collection[TableFile]) -> bool:
    """Tell whether tables give pictures the classes of their folders; False where these are no folders of classes."""
    names = ", ".join(file.name for file in files)
    try:
        listing = read_listing(root, list(files), Asked())
    except DataError as error:
        raise _two_readings(root, f"{names} lists them too, and cannot be read: {error.message}") from error
    folders = {_class_of(str(PurePosixPath(path).parent)) for path in listing.listed()}
    if len(folders) < 2:
        return False
    other = _other_label(listing)
    if other is None:
        log.warning("%s: %s gives the pictures the classes of their folders: the folders are read.", root, names)
        return True
    raise _two_readings(root, f"by {names} {other}")


def _other_label(listing: Listing) -> str | None:
    for part in listing.parts.values():
        for path, said in zip(part.ids, part.labels, strict=True):
            if said.present != (_class_of(str(PurePosixPath(path).parent)),):
                return f"{path} has the class {', '.join(said.present) or 'none'!r}"
    return None


def _two_readings(root: Path, but: str) -> DataError:
    return DataError(
        f"{root}: its folders could be the classes of its pictures, but {but}.",
        hint=f"To read the table: --data table:{root}. To read the folders: --data folder:{root}",
    )
