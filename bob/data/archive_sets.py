"""Which archives make a data set, and the split that each one's name means."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.archive_layout import ARCHIVES, archives_alone
from bob.data.archive_members import MemberList, Members, members_of
from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES
from bob.data.fingerprint import FileEntry, fingerprint_files, inside


@dataclass(frozen=True)
class ArchiveSet:
    """The archives of a data set.

    Attributes:
        target: The folder that holds them, or the one archive; what messages name.
        root: The folder that their paths start from.
        archives: Their sorted relative paths.
        beside: Text files beside them that say something about the classes.
    """

    target: Path
    root: Path
    archives: tuple[str, ...]
    beside: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether one archive was named, not a folder: what it is called is no split then."""
        return self.target != self.root

    def fingerprint(self, cache_dir: Path) -> str:
        """Return the digest of the archives' names and of every byte in them and in the files beside."""
        entries = [_entry(self.root, path) for path in (*self.archives, *self.beside)]
        # Digests are kept by folder: those of an archive's neighbours are not to be forgotten for it.
        place = cache_dir / "archives" / digest(str(self.target)) if self.is_file else cache_dir
        return fingerprint_files(self.root, entries, cache_dir=place, whole=lambda path: True)

    def members(
        self, fingerprint: str, find: Callable[[Path, int, MemberList], None], *, kind: str, cache_dir: Path
    ) -> Members:
        """Return the archives' members, listed once per content by ``find``."""
        key = digest([kind, fingerprint], length=64)
        return members_of(self.root, self.archives, key, find=find, cache_dir=cache_dir)

    def splits(self) -> dict[str, str]:
        """Return the split of each archive that is named as one, by the archive's path."""
        found = {path: split for path in self.archives if (split := _split_of(path, SPLIT_NAMES))}
        known = set(found.values())
        for path in self.archives:
            alias = _split_of(path, SPLIT_ALIASES)
            if path not in found and alias is not None and alias not in known:
                found[path] = alias
        return found


def archive_set(target: str, suffixes: tuple[str, ...], *, beside: Sequence[str] = ()) -> ArchiveSet:
    """Return the archives that ``target`` is or holds.

    Args:
        target: A folder or an archive.
        suffixes: What its archives end in.
        beside: Names of files that count where they lie beside the archives.

    Raises:
        DataMissingError: It is not there.
        DataError: It holds no such archive, or others too, or a link leads out of it.
    """
    path = Path(target).expanduser().resolve()
    if path.is_file():
        root, archives = path.parent, [path.name]
    elif path.is_dir():
        root, archives = path, archives_alone(path)
    else:
        raise DataMissingError(
            f"{target!r} is not there; an archive {suffixes[0]}, or a folder of them, is expected.",
            hint=f"Look for it: ls '{path.parent}'",
        )
    others = [each for each in archives if not each.lower().endswith(suffixes)]
    if not archives or others:
        held = (
            f"holds {', '.join(map(repr, others[:3]))}" if others else "holds no archive, or other files than archives"
        )
        raise DataError(
            f"{path} {held}: archives {suffixes[0]} alone are expected.",
            hint="Unpack them into one folder and name that, or move away what is not of the data set.",
        )
    texts = tuple(name for name in beside if (root / name).is_file())
    for each in (*archives, *texts):
        inside(root, root / each)
    return ArchiveSet(path, root, tuple(archives), texts)


def require_all_or_none(found: ArchiveSet, splits: dict[str, str]) -> None:
    """Refuse archives of which some are named as splits and others are not: nobody can tell what these are.

    Raises:
        DataError: They are.
    """
    others = [path for path in found.archives if path not in splits]
    if splits and others:
        raise DataError(
            f"{found.target}: {', '.join(map(repr, sorted(splits)[:3]))} are named as splits, and "
            f"{', '.join(map(repr, others[:3]))} are not.",
            hint="Call the archives of splits train, val and test, and move the others away; or unpack them.",
        )


def stem_of(path: str) -> str:
    """Return an archive's name without its suffix."""
    name = PurePosixPath(path).name
    suffix = next((suffix for suffix in sorted(ARCHIVES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def _split_of(path: str, names: dict[str, str]) -> str | None:
    """Return the split that the folder of an archive is called as, or the one whose word is in its own name."""
    folder = PurePosixPath(path).parent.name.lower()
    if folder in names:
        return names[folder]
    words = [word for word in re.split(r"[^a-z]+", stem_of(path).lower()) if word]
    if words and words[0] in names:
        return names[words[0]]
    splits = {names[word] for word in words if word in names}
    return splits.pop() if len(splits) == 1 else None


def _entry(root: Path, path: str) -> FileEntry:
    status = (root / path).stat()
    return FileEntry(path, status.st_size, status.st_mtime_ns)
