"""Folders inside archives, as far as the rules for folders of pictures ask: they go by names, wherever these lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry


class MemberTree:
    """The folders of a data set in archives.

    Args:
        root: What messages call it: the archive, or the folder of archives.
        kind: The reader that reads it as classes, whatever it looks like.
        names: The path of each file, with forward slashes.
        read: Returns the content of file ``i``.
    """

    def __init__(self, root: Path, kind: str, names: Sequence[str], read: Callable[[int], bytes]) -> None:
        self.root = root
        self.kind = kind
        self.names = names
        self.read = read
        self._files: dict[str, list[int]] = {"": []}
        self._folders: dict[str, set[str]] = {"": set()}
        for place, name in enumerate(names):
            folder = name.rpartition("/")[0]
            if folder not in self._files:
                self._make(folder)
            self._files[folder].append(place)

    def _make(self, folder: str) -> None:
        outer, _, name = folder.rpartition("/")
        if outer not in self._files:
            self._make(outer)
        self._files[folder], self._folders[folder] = [], set()
        self._folders[outer].add(name)

    def files(self, folder: str) -> Sequence[int]:
        """Return the numbers of the files directly in a folder; none if it is no folder."""
        return self._files.get(folder, ())

    def folders(self, folder: str) -> list[str] | None:
        """Return the sorted names of the folders in a folder; None if it is no folder."""
        found = self._folders.get(folder)
        return None if found is None else sorted(found)


@dataclass(frozen=True, eq=False)
class MemberPath:
    """A file or folder in an archive, asked as a ``Path`` is. ``inner`` is its path in the tree, "" for the root."""

    tree: MemberTree
    inner: str = ""

    @property
    def name(self) -> str:
        """Its name; the root is called as the archive is."""
        return PurePosixPath(self.inner).name or self.tree.root.name

    @property
    def suffix(self) -> str:
        """Its name's suffix."""
        return PurePosixPath(self.inner).suffix

    @property
    def parent(self) -> MemberPath:
        """The folder that holds it."""
        return MemberPath(self.tree, self.inner.rpartition("/")[0])

    def __truediv__(self, below: str | PurePosixPath) -> MemberPath:
        return MemberPath(self.tree, str(PurePosixPath(self.inner, below)).removeprefix("."))

    def __str__(self) -> str:
        return str(self.tree.root / self.inner)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MemberPath) and (self.tree, self.inner) == (other.tree, other.inner)

    def __hash__(self) -> int:
        return hash(self.inner)

    def __lt__(self, other: MemberPath) -> bool:
        return self.inner < other.inner

    def is_dir(self) -> bool:
        """Tell whether it is a folder."""
        return self.tree.folders(self.inner) is not None

    def is_file(self) -> bool:
        """Tell whether it is a file."""
        return self._place() is not None

    def iterdir(self) -> Iterator[MemberPath]:
        """Yield the folders and files directly in it."""
        for name in self.tree.folders(self.inner) or ():
            yield self / name
        for place in self.tree.files(self.inner):
            yield MemberPath(self.tree, self.tree.names[place])

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Return its content as a stream; OSError if it is no file or damaged."""
        place = self._place()
        if place is None or mode != "rb":
            raise FileNotFoundError(f"there is no file {self}")
        return BytesIO(self.tree.read(place))

    def holds_pictures_below(self) -> bool:
        """Tell whether there are pictures anywhere below it."""
        if any(is_picture(self.tree.names[place]) for place in self.tree.files(self.inner)):
            return True
        return any((self / name).holds_pictures_below() for name in self.tree.folders(self.inner) or ())

    def entries_below(self) -> list[FileEntry]:
        """Return every file below it, sorted by path in the tree; sizes and times are not told."""
        return sorted(self._entries())

    def _entries(self) -> Iterator[FileEntry]:
        for place in self.tree.files(self.inner):
            yield FileEntry(self.tree.names[place], 0, 0)
        for name in self.tree.folders(self.inner) or ():
            yield from (self / name)._entries()

    def _place(self) -> int | None:
        places = self.tree.files(self.inner.rpartition("/")[0])
        return next((place for place in places if self.tree.names[place] == self.inner), None)
