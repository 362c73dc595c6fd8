"""Listing a tar file's members."""

from __future__ import annotations

import tarfile
from pathlib import Path

from bob.core.errors import DataError
from bob.data.archive_layout import PACKED_TAR
from bob.data.archive_members import IN_TAR, NO_FILE, MemberList, member_name

BLOCK_BYTES = 512
END_BYTES = 1 << 16
PACKED_HEADS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstandard
# What tarfile raises on damaged or foreign bytes.
BROKEN_TAR = (tarfile.TarError, OSError, ValueError, EOFError, OverflowError, IndexError, KeyError, RecursionError)


def find_tar_members(path: Path, number: int, found: MemberList) -> None:
    """Add the files of a tar file to ``found``, as those of archive ``number``.

    Raises:
        DataError: It is no tar file, a compressed one, or damaged; or a name leads out.
    """
    _refuse_packed(path)
    length = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined] # or it keeps every member's description
                _add(path, number, info, found, length)
            end = archive.offset
    except BROKEN_TAR as error:
        raise _damaged(path, str(error)) from error
    _require_end(path, end, length)


def _refuse_packed(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise _damaged(path, str(error)) from error
    if path.name.lower().endswith(PACKED_TAR) or head.startswith(PACKED_HEADS):
        raise DataError(
            f"{path} is a compressed tar file: compressed tars cannot be read by place.",
            hint="Unpack it and name the folder, or take the compression off: pictures are compressed already.",
        )


def _add(path: Path, number: int, info: tarfile.TarInfo, found: MemberList, length: int) -> None:
    name = member_name(info.name, path)
    if name is None or info.isdir():
        return
    if not info.isreg() or info.issparse():
        method = NO_FILE
    elif info.size < 0 or info.offset_data + info.size > length:
        raise _damaged(path, f"{info.name!r} ends after the file does")
    else:
        method = IN_TAR
    found.add(name, archive=number, offset=info.offset_data, packed=info.size, size=info.size, crc=0, method=method)


def _require_end(path: Path, end: int, length: int) -> None:
    """Refuse a tar file whose list of members breaks off: tarfile takes a damaged header for the end."""
    with path.open("rb") as file:
        file.seek(end)
        rest = file.read(END_BYTES)
    if any(rest):
        raise _damaged(path, f"at byte {end} of {length} neither a file's header nor the end is found")


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} cannot be read as a tar file: {reason}.", hint=f"Fetch or copy it anew. Try it: tar tf '{path}'"
    )
