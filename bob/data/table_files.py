"""Which files of a folder are tables of its pictures, and which split each is about. Only heads of texts are read."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from bob.core.errors import DataError
from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES, is_picture, split_within
from bob.data.fingerprint import inside
from bob.data.table_columns import PATH_NAMES, normal
from bob.data.table_rows import head_of

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PARQUET = ".parquet"
SHARD = re.compile(r"(?P<stem>.*?)-?(?P<number>\d+)(?:-of-(?P<count>\d+))?(?:-[0-9a-f]+)?")
HEAD_BYTES = 1 << 16
PASSED_OVER = "submission"  # what Kaggle's contestants fill in lists the test pictures with invented labels


@dataclass(frozen=True)
class TableFile:
    """One table: its path below the data set's folder, and the split that its name or its folder means."""

    name: str
    split: str | None

    @property
    def is_parquet(self) -> bool:
        """Whether a library is needed to read it."""
        return self.name.lower().endswith(PARQUET)


@dataclass(frozen=True)
class NamesBelow:
    """The names of the pictures below a folder, as a walk finds them: with and without suffix, and their folders."""

    names: frozenset[str]
    folders: frozenset[str]


def names_below(root: Path) -> NamesBelow:
    """Walk a folder for its pictures' names, in small letters, and the folders that hold some."""
    names: set[str] = set()
    folders: set[str] = set()
    for folder, inner, files in os.walk(root):
        inner[:] = [name for name in inner if not name.startswith((".", "__MACOSX"))]
        pictures = [name for name in files if is_picture(name) and not name.startswith(".")]
        if pictures:
            folders.add(Path(folder).relative_to(root).as_posix())
            names.update(name.casefold() for name in pictures)
            names.update(posixpath.splitext(name)[0].casefold() for name in pictures)
    return NamesBelow(frozenset(names), frozenset(folders))


def table_of_file(path: Path) -> TableFile:
    """Return the table that a single file is; its folder is the data set's."""
    return TableFile(path.name, _split_of(path.stem))


def candidate_tables(root: Path) -> list[list[TableFile]]:
    """Return the files of a folder that may be tables, by their names, place by place.

    The places are the folder itself, its folders of splits, ``data``, and the folders of splits in ``data``.
    """
    places = [_in_folder(root, root, None), _in_splits(root, root)]
    if (root / "data").is_dir():
        places += [_in_folder(root, root / "data", None), _in_splits(root, root / "data")]
    return [place for place in places if place]


def listing_tables(root: Path, below: NamesBelow) -> list[TableFile]:
    """Return the tables of the first place that has any which lists pictures; of Parquet files the name is enough."""
    for place in candidate_tables(root):
        found = [file for file in place if file.is_parquet or lists_pictures(root / file.name, below.names)]
        if found:
            return found
    return []


def lists_pictures(path: Path, names: Collection[str]) -> bool:
    """Tell by the head of a text whether one of its columns names pictures."""
    try:
        with path.open("rb") as file:
            content = file.read(HEAD_BYTES)
    except OSError:  # what cannot be read lists nothing
        return False
    rows = head_of(content, path.suffix.lower())
    return len(rows) > 1 and any(_names_pictures(rows, column, names) for column in range(len(rows[0])))


def require_one_each(root: Path, files: list[TableFile]) -> None:
    """Refuse tables of which nobody can tell which counts, and shards of which some are missing.

    Raises:
        DataError: Two are about one split, or some are about splits and others are not.
    """
    groups: dict[str | None, list[TableFile]] = {}
    for file in files:
        groups.setdefault(file.split, []).append(file)
    for group in groups.values():
        if len(group) > 1 and not all(_is_shard(file) for file in group):
            names = ", ".join(file.name for file in group[:5])
            raise DataError(
                f"{root} holds several tables that list its pictures: {names}.",
                hint=f"Name the one that counts: --data table:{root / group[0].name}",
            )
        _require_whole(root, group)
    if None in groups and len(groups) > 1:
        undivided = groups[None][0].name
        divided = next(file.name for file in files if file.split)
        raise DataError(
            f"{root}: {divided} is about one split, and {undivided} about none; both list pictures.",
            hint=f"Name the one that counts: --data table:{root / undivided}",
        )


def _split_of(stem: str) -> str | None:
    found = split_within(stem)
    words = re.split(r"[^a-z]+", stem.lower())
    aliases = {SPLIT_ALIASES[word] for word in words if word in SPLIT_ALIASES}
    has_split = any(word in SPLIT_NAMES for word in words)
    return found if has_split or len(aliases) != 1 else aliases.pop()


def _in_folder(root: Path, folder: Path, split: str | None) -> list[TableFile]:
    found: list[TableFile] = []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(TABLE_SUFFIXES))
    for name in names:
        path = folder / name
        if name.startswith(".") or PASSED_OVER in name.lower() or not _is_own_file(root, path):
            continue
        found.append(TableFile(path.relative_to(root).as_posix(), split or _split_of(path.stem)))
    return found


def _is_own_file(root: Path, path: Path) -> bool:
    try:
        return inside(root, path).is_file()
    except DataError:  # what leads out of the folder is no part of it
        return False


def _in_splits(root: Path, folder: Path) -> list[TableFile]:
    return [file for split, inner in _split_folders(folder) for file in _in_folder(root, inner, split)]


def _split_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    names = {**SPLIT_ALIASES, **SPLIT_NAMES}
    with os.scandir(folder) as entries:
        found = sorted(entry.name for entry in entries if entry.name.lower() in names and entry.is_dir())
    yield from ((names[name.lower()], folder / name) for name in found)


def _names_pictures(rows: list[list[str]], column: int, names: Collection[str]) -> bool:
    cells = [row[column].replace("\\", "/") for row in rows[1:] if column < len(row)]
    is_usual = normal(rows[0][column]) in PATH_NAMES
    named = [cell for cell in cells if posixpath.basename(cell).casefold() in names and (is_usual or is_picture(cell))]
    return bool(named) and 2 * len(named) >= len(cells)


def _is_shard(file: TableFile) -> bool:
    return file.is_parquet and SHARD.fullmatch(posixpath.basename(file.name)[: -len(PARQUET)]) is not None


def _require_whole(root: Path, group: list[TableFile]) -> None:
    """Refuse shards 0 and 2 of three: a part of a split is another data set."""
    matches = [SHARD.fullmatch(posixpath.basename(file.name)[: -len(PARQUET)]) for file in group if file.is_parquet]
    counts = {match["count"] for match in matches if match and match["count"]}
    numbers = {int(match["number"]) for match in matches if match and match["count"]}
    if counts and (len(counts) > 1 or numbers != set(range(int(min(counts))))):
        raise DataError(
            f"{root}: of {group[0].name} and its like {len(group)} parts are here; {' or '.join(sorted(counts))} are "
            "expected.",
            hint="Fetch the missing parts, or remove those of another version.",
        )
