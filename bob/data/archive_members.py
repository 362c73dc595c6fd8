"""The members of zip and tar files: where each one's bytes lie, found once per content and read in place.

The table of members is kept as flat arrays below the cache directory, which every process maps: pictures are then read
by place, without the archive's own directory (a gigabyte of objects for a million members) in each process.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import shutil
import struct
import threading
import zlib
from array import array
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import DataError
from bob.core.files import digest, temporary_name
from bob.core.lease import holding
from bob.data.archive_layout import HIDDEN
from bob.data.decode import open_picture

log = logging.getLogger(__name__)

MEMBERS_VERSION = 1
# How a member is stored: zip's own numbers, bytes as they are in a tar file, and what is no file of its own.
STORED, DEFLATED, IN_TAR, NO_FILE = 0, 8, 100, 101
MOST_BYTES = 1 << 30  # of one member; a picture of the most pixels that are read takes 537 MB as bare RGB
COLUMNS = {
    "archive": "int32",
    "offset": "int64",
    "packed": "int64",
    "size": "int64",
    "crc": "uint32",
    "method": "int16",
}
HANDLES = 16  # open archives of one thread
LOCAL_HEADER = struct.Struct("<4s22xHH")
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass
class MemberList:
    """Collects the members of some archives.

    Attributes:
        names: Their paths in the archive, with forward slashes.
        columns: The arrays of ``COLUMNS``, one value for each member.
    """

    names: list[str] = field(default_factory=list)
    columns: dict[str, array] = field(default_factory=lambda: {name: array("q") for name in COLUMNS})

    def add(self, name: str, *, archive: int, offset: int, packed: int, size: int, crc: int, method: int) -> None:
        """Add a member: its archive's number, first byte, stored and real bytes, CRC-32 (0 in a tar), and storage."""
        self.names.append(name)
        values = (archive, offset, packed, size, crc, method)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def write(self, folder: Path) -> None:
        """Write the table into a new folder."""
        folder.mkdir(parents=True)
        for name, kind in COLUMNS.items():
            np.save(folder / f"{name}.npy", np.frombuffer(self.columns[name], dtype=np.int64).astype(kind))
        (folder / "names.json").write_text(json.dumps(self.names))


@dataclass(frozen=True)
class Members:
    """The members of a data set's archives. Pickled as paths; each process maps the table once.

    Attributes:
        folder: Where the table lies; its name changes with the archives' content.
        archives: The archives, as absolute paths.
    """

    folder: Path
    archives: tuple[str, ...]

    def names(self) -> list[str]:
        """Return the members' paths in their archives."""
        return json.loads((self.folder / "names.json").read_text())

    def column(self, name: str) -> np.ndarray:
        """Return one of the ``COLUMNS``, (n,)."""
        return _columns(self.folder)[name]

    def read(self, row: int, *, most: int = MOST_BYTES) -> bytes:
        """Return the content of a member; threads and processes may call it at once.

        Raises:
            OSError: The bytes are damaged, not there, or more than ``most`` (or than the archive states).
        """
        columns = _columns(self.folder)
        archive, offset, packed, size, crc, method = (int(columns[name][row]) for name in COLUMNS)
        if method == NO_FILE:
            raise OSError("it is a link or a device in the archive: unpack the archive to have it followed")
        if size > most:
            raise OSError(f"it has {size} bytes; at most {most} are read")
        handle = _handle(self.archives[archive], self.folder.name)
        if method == IN_TAR:
            return _exactly(handle, offset, size)
        content = _inflated(_exactly(handle, _data_start(handle, offset), packed), size, method)
        if zlib.crc32(content) != crc:
            raise OSError("its checksum (CRC-32) in the archive is another one: the archive is damaged")
        return content


@dataclass(frozen=True)
class MemberOpener:
    """Opens the pictures of some members: picture i is member ``rows[i]``, called ``names[i]``."""

    members: Members
    rows: np.ndarray
    names: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``, its bytes read and its pixels not decoded yet."""
        return open_picture(BytesIO(self.members.read(int(self.rows[index]))), name=self.names[index])


def members_of(
    root: Path,
    archives: Sequence[str],
    fingerprint: str,
    *,
    find: Callable[[Path, int, MemberList], None],
    cache_dir: Path,
) -> Members:
    """Return the members of archives below ``root`` with this fingerprint.

    ``find(path, number, found)``, asked once per content and under a lease, adds the members of one archive.
    """
    name = f"members-{digest([MEMBERS_VERSION, fingerprint, list(archives)], length=32)}"
    folder = cache_dir / "datasets" / name
    if not _is_whole(folder):
        with holding(cache_dir / "leases" / f"{name}.lease"):
            if not _is_whole(folder):
                _store(folder, root, archives, find)
    return Members(folder, tuple(str(root / archive) for archive in archives))


def _store(folder: Path, root: Path, archives: Sequence[str], find: Callable[[Path, int, MemberList], None]) -> None:
    found = MemberList()
    for number, archive in enumerate(archives):
        find(root / archive, number, found)
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = temporary_name(folder)
    try:
        found.write(place)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        _columns.cache_clear()
        place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        count = len(json.loads((folder / "names.json").read_text()))
        is_whole = all(len(np.load(folder / f"{name}.npy", mmap_mode="r")) == count for name in COLUMNS)
    except (OSError, ValueError, EOFError, TypeError):
        is_whole = False
    if not is_whole:
        log.warning("The cache folder %s is damaged: the archives' members are looked up anew.", folder)
    return is_whole


def member_name(name: str, archive: Path) -> str | None:
    """Return a member's path made plain; None for what is hidden or archives leave behind.

    Raises:
        DataError: It leads out of the archive, or cannot be told from its folders.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or _DRIVE.match(name):
        raise DataError(
            f"{archive} holds a file called {name!r}, which leads out of the archive.",
            hint="Nothing of such an archive is read: make it anew, with names relative to the data set's folder.",
        )
    if "\\" in name:
        raise DataError(
            f"{archive} holds a file called {name!r}: its folders are parted by backslashes, '/' is expected.",
            hint="Unpack it and name the folder, or make the archive anew.",
        )
    if not parts or any(part.startswith(HIDDEN) for part in parts):
        return None
    return "/".join(parts)


@functools.lru_cache(maxsize=16)
def _columns(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in COLUMNS}


class _Handles(threading.local):
    """The archives that a thread has open, the last used last."""

    def __init__(self) -> None:
        self.open: OrderedDict[tuple[str, str], int] = OrderedDict()


_HANDLES = _Handles()


def _handle(path: str, content: str) -> int:
    """Return a thread's own handle of an archive with this content. It is read by place, so a forked child may too."""
    known = _HANDLES.open
    if (path, content) not in known:
        while len(known) >= HANDLES:
            os.close(known.popitem(last=False)[1])
        known[path, content] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    known.move_to_end((path, content))
    return known[path, content]


def _exactly(handle: int, offset: int, size: int) -> bytes:
    content = bytearray()
    while len(content) < size:
        part = os.pread(handle, size - len(content), offset + len(content))
        if not part:
            raise OSError(f"the archive ends {size - len(content)} bytes before it does")
        content += part
    return bytes(content)


def _data_start(handle: int, offset: int) -> int:
    mark, name_length, extra_length = LOCAL_HEADER.unpack(_exactly(handle, offset, LOCAL_HEADER.size))
    if mark != b"PK\x03\x04":
        raise OSError("the archive has no file where its directory says so: it is damaged")
    return offset + LOCAL_HEADER.size + name_length + extra_length


def _inflated(packed: bytes, size: int, method: int) -> bytes:
    content = packed
    if method == DEFLATED:  # never more than was stated, whatever the bytes would unpack to
        content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    if len(content) != size:
        raise OSError(f"its {len(packed)} bytes in the archive do not unpack to the {size} that are stated")
    return content
