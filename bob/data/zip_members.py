"""Listing a zip file's members. What could do harm is refused before anything is unpacked."""

from __future__ import annotations

import logging
import stat
import struct
import zipfile
from pathlib import Path

from bob.core.errors import DataError
from bob.data.archive_members import DEFLATED, MOST_BYTES, NO_FILE, STORED, MemberList, member_name

log = logging.getLogger(__name__)

ENCRYPTED = 0x1
UTF8_NAME = 0x800
MOST_RATIO = 100  # pictures are packed already: an archive of them hardly shrinks
BOMB_BYTES = 1 << 30  # below this an archive that unpacks to a hundred times its size does no harm
# What zipfile raises on damaged or foreign bytes.
BROKEN_ZIP = (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, EOFError, OverflowError, struct.error)


def find_zip_members(path: Path, number: int, found: MemberList) -> None:
    """Add the files of a zip file to ``found``, as those of archive ``number``.

    Raises:
        DataError: It is no zip file, encrypted, packed by a method that is not read, or a zip bomb; a name leads out.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except BROKEN_ZIP as error:
        raise DataError(
            f"{path} cannot be read as a zip file: {error}.", hint="Fetch or copy the file anew, or name its folder."
        ) from error
    _refuse_bomb(path, infos)
    for info in infos:
        name = member_name(_name(info), path)
        if name is None or info.is_dir():
            continue
        mode = info.external_attr >> 16
        special = stat.S_IFMT(mode) not in (0, stat.S_IFREG)
        found.add(
            name,
            archive=number,
            offset=info.header_offset,
            packed=info.compress_size,
            size=info.file_size,
            crc=info.CRC,
            method=NO_FILE if special else _method(path, info),
        )


def _name(info: zipfile.ZipInfo) -> str:
    """Return a member's name; where nothing says which code it is in, UTF-8 if it can be, else zip's old code page."""
    if info.flag_bits & UTF8_NAME:
        return info.filename
    try:
        return info.filename.encode("cp437").decode()
    except UnicodeError:
        return info.filename


def _method(path: Path, info: zipfile.ZipInfo) -> int:
    if info.flag_bits & ENCRYPTED:
        raise DataError(
            f"{path} is encrypted ({info.filename!r} asks for a password).", hint="Unpack it and name the folder."
        )
    if info.compress_type not in (STORED, DEFLATED):
        raise DataError(
            f"{path}: {info.filename!r} is packed by method {info.compress_type}; stored or deflated is expected.",
            hint="Unpack it and name the folder, or pack it anew: zip -0 -r NEW.zip FOLDER",
        )
    return info.compress_type


def _refuse_bomb(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    length = path.stat().st_size
    packed, size = sum(info.compress_size for info in infos), sum(info.file_size for info in infos)
    largest = max(infos, key=lambda info: info.file_size, default=None)
    reason = None
    if largest is not None and largest.file_size > MOST_BYTES:
        reason = f"{largest.filename!r} would unpack to {largest.file_size} bytes, at most {MOST_BYTES} are read"
    elif packed > length:
        reason = f"its files share bytes: they are {packed} bytes packed, the archive has {length}"
    elif size > max(BOMB_BYTES, MOST_RATIO * length):
        reason = f"its {length} bytes would unpack to {size}, more than {MOST_RATIO} times as many"
    if reason is not None:
        raise DataError(
            f"{path} looks like a zip bomb: {reason}.", hint="If you trust it, unpack it and name the folder."
        )
