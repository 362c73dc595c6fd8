"""Which file each path of a table names. Names decide: no file is taken for another, and what is missing is said."""

from __future__ import annotations

import functools
import os
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bob.core.errors import DataError
from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES, is_picture, split_within
from bob.data.fingerprint import FileEntry
from bob.data.table_labels import is_nothing
from bob.data.table_rows import Rows, shown
from bob.data.typed_values import whole_number

LOOKED_AT = 200  # values that tell whether a column names pictures
MAIN_SHARE, STRAY_SHARE = 0.9, 0.05  # of rows: in the folder of nearly all, and in others by chance


class Found(NamedTuple):
    """The picture that a row names.

    Attributes:
        path: The file's path below the root; of one that is missing, what stands in the table.
        missing: Why there is no such file; None if there is one.
    """

    path: str
    missing: str | None = None


class PictureIndex:
    """The pictures below a root, found by whole paths, by their last parts, and without their suffixes."""

    def __init__(self, root: Path, files: Sequence[FileEntry]) -> None:
        self.root = root
        self.files = {entry.path: entry for entry in files if is_picture(entry.path)}
        self._names: dict[str, list[str]] = {}
        self._stems: dict[str, list[str]] = {}
        self._folded: dict[str, list[str]] = {}
        for path in self.files:
            name = posixpath.basename(path)
            stem = _bare(name)
            self._names.setdefault(name, []).append(path)
            self._stems.setdefault(stem, []).append(path)
            for key in {name.casefold(), stem.casefold()}:
                self._folded.setdefault(key, []).append(path)

    def share(self, values: Sequence[Any]) -> float:
        """Return which share of a column's values, of some looked at, has the name of a picture in any case."""
        texts = [text for value in values[:: max(1, len(values) // LOOKED_AT)] if (text := path_text(value))]
        named = sum(posixpath.basename(text.replace("\\", "/")).casefold() in self._folded for text in texts)
        return named / len(texts) if texts else 0.0

    def find(self, rows: Rows, column: str, splits: Sequence[str | None], pictures: str | None) -> list[Found]:
        """Return the picture of each row.

        A path counts from the table's folder (or ``pictures``); where there is nothing, a file whose path ends with it
        is meant if it is the only one, and lies in no folder of another split.

        Raises:
            DataError: A path leads out of the root, or may mean two files.
        """
        folder = posixpath.dirname(rows.name) if pictures is None else pictures
        cells = rows.cells[column]
        found = [self._find(rows.place(n), folder, cells[n], splits[n], pictures) for n in range(len(cells))]
        bases = Counter(base for _, base in found if base is not None)
        (main, most), *rest = bases.most_common() or [("", 0)]
        strays = {base for base, count in rest if count < STRAY_SHARE * len(cells)} if most else set()
        if most < MAIN_SHARE * len(cells):
            strays = set()
        return [self._settled(one, base, main, strays, path_text(cells[n])) for n, (one, base) in enumerate(found)]

    def _settled(self, found: Found, base: str | None, main: str, strays: set[str], text: str) -> Found:
        """Return a row's picture, now that all are known: what lies elsewhere than nearly all is another picture."""
        if base in strays:
            reason = f"not in {main or 'the data set'}; only {found.path} has its name"
            return Found(posixpath.normpath(main + text), reason)
        return found if base is not None else found._replace(path=posixpath.normpath(main + found.path))

    def _find(
        self, place: str, folder: str, value: Any, split: str | None, pictures: str | None
    ) -> tuple[Found, str | None]:
        """Return a row's picture, and the folder that its path counts from."""
        text = path_text(value)
        if not text:
            said = "an empty cell" if is_nothing(value) else shown(value)
            raise DataError(f"{place}: {said} is no path of a picture.", hint="Mend the line, or take it away.")
        direct, tail = self._places(place, folder, text)
        if direct in self.files:
            return Found(direct), direct[: -len(tail)] if direct.endswith(tail) else ""
        name = posixpath.basename(direct)
        has_suffix = is_picture(name)
        alike = (self._names if has_suffix else self._stems).get(name, [])
        fitting = [] if has_suffix else [path for path in alike if _bare(path) == direct]
        if not fitting and pictures is None:
            ends = (path if has_suffix else _bare(path) for path in alike)
            fitting = [path for path, end in zip(alike, ends, strict=True) if end == tail or end.endswith(f"/{tail}")]
            fitting = _of_split(fitting, split)
        if len(fitting) > 1:
            raise DataError(
                f"{place}: {shown(text)} may be {fitting[0]} or {fitting[1]}.",
                hint="Say which folder the paths count from: table:FOLDER?pictures=images.",
            )
        if fitting:
            cut = fitting[0] if has_suffix else _bare(fitting[0])
            return Found(fitting[0]), cut[: -len(tail)] if cut.endswith(tail) else ""
        return Found(tail, self._why_missing(direct, tail)), None

    def _places(self, place: str, folder: str, text: str) -> tuple[str, str]:
        """Return a path as it counts from the root, and as it is written."""
        path = text.replace("\\", "/")
        if path.startswith("/"):
            parent, name = posixpath.split(path)
            real = _real(parent)
            direct = os.path.relpath(f"{real}/{name}", self.root).replace(os.sep, "/") if real else ".."
            tail = direct
        else:
            direct, tail = posixpath.normpath(posixpath.join(folder, path)), posixpath.normpath(path)
        if direct.split("/")[0] == ".." or (path[1:3] == ":/" and path[0].isalpha()):
            raise DataError(
                f"{place}: {shown(text)} leads out of the data set's folder {self.root}: only files below it are read.",
                hint="Name the folder that holds all pictures, or write paths that count from the table.",
            )
        return direct, tail.lstrip("./") if tail.startswith("..") else tail

    def _why_missing(self, direct: str, tail: str) -> str:
        alike = self._folded.get(posixpath.basename(direct).casefold(), [])
        for path in alike:
            if path.casefold().endswith(tail.casefold()) or not is_picture(direct):
                return f"there is no such file; {path} differs in case alone"
        if "://" in tail:
            return "an address on the network is not read"
        return "listed, but there is no such file"


def _bare(path: str) -> str:
    """Return a picture's path without its suffix."""
    return path.rpartition(".")[0]


def path_text(value: Any) -> str:
    """Return a cell as a path: numbers as whole ones; "" for what cannot be one."""
    if isinstance(value, str):
        return "" if is_nothing(value) or "\0" in value else value.strip()
    number = whole_number(value)
    return "" if number is None else str(number)


def split_of_path(path: str) -> str | None:
    """Return the split whose folder a path leads through, the outermost one, or None."""
    names = {**SPLIT_ALIASES, **SPLIT_NAMES}
    return next((names[part] for part in path.lower().split("/")[:-1] if part in names), None)


def _of_split(paths: list[str], split: str | None) -> list[str]:
    if split is None:
        return paths
    having = {path: split_of_path(path) or _split_word(path) for path in paths}
    own = [path for path in paths if having[path] == split]
    return own or [path for path in paths if having[path] is None]


def _split_word(path: str) -> str | None:
    """Return the split whose word one of a path's folders holds, such as ``train_images``."""
    return next((split for part in path.split("/")[:-1] if (split := split_within(part))), None)


@functools.lru_cache(maxsize=4096)
def _real(folder: str) -> str | None:
    try:
        return os.path.realpath(folder)
    except (OSError, ValueError):
        return None
