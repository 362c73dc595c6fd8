"""Where each picture that a COCO file lists lies: in a usual folder, else anywhere below the root by its own name."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bob.core.errors import DataError
from bob.data.file_names import split_of
from bob.data.splits import UNDIVIDED

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(?:https?|ftp|s3|gs|az)://", re.IGNORECASE)


@dataclass(frozen=True)
class CocoFile:
    """One split's file.

    Attributes:
        path: The JSON file.
        folders: Where its pictures may lie, relative to the root with a trailing slash ("" is the root), best first.
        split: The stored split.
    """

    path: Path
    folders: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class PicturePlaces:
    """Finds the pictures of one file.

    Attributes:
        root: The data set's folder.
        file: The JSON file, with the folders where pictures may be.
        present: Paths of the picture files there are, relative to the root.
    """

    root: Path
    file: CocoFile
    present: frozenset[str]

    def paths(self, names: Sequence[str]) -> list[str]:
        """Return each picture's path below the root; of a missing one the path that it should have.

        If no picture is where its name says, all are looked for by their own names: one that a single file below the
        root has, and a single entry of the list, is found.

        Raises:
            DataError: A name leads out of the root, or no picture is there.
        """
        candidates = [self._candidates(name) for name in names]
        paths = [next((path for path in some if path in self.present), some[0]) for some in candidates]
        if self.present.isdisjoint(paths):
            paths = self._by_own_name(paths)
        if all(path in self.present for path in paths):
            return paths
        by_case = {path.casefold(): path for path in self.present}
        near = [
            path if path in self.present else next((one for one in some if one.casefold() in by_case), path)
            for path, some in zip(paths, candidates, strict=True)
        ]
        self._require_some_present(near, by_case)
        return near

    def _candidates(self, name: str) -> list[str]:
        if _ADDRESS.match(name):
            return [folder + tail for tail in self._tails(name) for folder in self.file.folders]
        if os.path.isabs(name) and not {"..", ""} & set(name.split("/")[1:]):  # noqa: PTH117 - a Path forgets slashes
            below = self._below_root(Path(name))
            if below:
                return [below]
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
            raise self._outside(name)
        clean = "/".join(part for part in parts if part not in ("", "."))
        return [folder + clean for folder in self.file.folders]

    def _tails(self, address: str) -> list[str]:
        """Return what the file of an address may be called here: with its last folder, and without."""
        try:
            parts = [unquote(part) for part in urlsplit(address).path.split("/") if part]
        except ValueError:  # no address after all
            parts = []
        tail = parts[-2:]
        if not tail or any(part in (".", "..") or set(part) & set("/\\\0:") for part in tail):
            raise self._outside(address)
        return ["/".join(tail), tail[-1]]

    def _below_root(self, path: Path) -> str | None:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else None

    def _outside(self, name: str) -> DataError:
        return DataError(
            f"{self.file.path}: the picture {name[:200]!r} leads out of the data set's folder {self.root}.",
            hint="Only names below the folder are read.",
        )

    def _by_own_name(self, paths: list[str]) -> list[str]:
        here = _by_tail([path for path in self.present if not self._is_of_another_split(path)])
        listed = Counter(_tail(path) for path in paths)
        found = [
            here[_tail(path)][0] if listed[_tail(path)] == 1 == len(here.get(_tail(path), ())) else path
            for path in paths
        ]
        count = len(self.present.intersection(found))
        if count:
            log.warning(
                "%s: none of its pictures lies where it says; %d of %d were found elsewhere below %s by their names.",
                self.file.path,
                count,
                len(paths),
                self.root,
            )
        return found

    def _is_of_another_split(self, path: str) -> bool:
        """Tell whether a folder says so: sets number their pictures alike, and train's 7.jpg is not that of val."""
        splits = {split_of(folder) for folder in path.split("/")[:-1]} - {None}
        return self.file.split != UNDIVIDED and bool(splits - {self.file.split})

    def _require_some_present(self, paths: list[str], by_case: dict[str, str]) -> None:
        if not self.present.isdisjoint(paths):
            return
        looked = ", ".join(str(self.root / folder) for folder in self.file.folders)
        other = next((by_case[path.casefold()] for path in paths if path.casefold() in by_case), None)
        said = f"; {other} differs in upper and lower case alone" if other else ""
        raise DataError(
            f"{self.file.path}: none of its {len(paths)} pictures ({paths[0]}, ...) is in {looked}{said}.",
            hint="Write the names as the files have them."
            if other
            else "Put the pictures there, in the folder named as the split.",
        )


def _by_tail(paths: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(_tail(path), []).append(path)
    return found


def _tail(path: str) -> str:
    return path.rpartition("/")[2]
