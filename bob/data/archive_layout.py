"""Telling by names alone whether a folder holds archives and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ZIP = (".zip",)
PACKED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
TAR = (".tar", *PACKED_TAR)
ARCHIVES = (*ZIP, *TAR)
# What lies beside archives and says something about them.
TEXTS = (".txt", ".md", ".rst", ".json", ".yaml", ".yml", ".html", ".pdf", ".sha256", ".md5", ".sha256sum", ".md5sum")
PLAIN_TEXTS = ("readme", "license", "licence", "checksums", "md5sums", "sha256sums")
HIDDEN = (".", "__MACOSX")


def is_zip(root: Path) -> bool:
    """Tell whether a folder holds archives alone, a zip file among them; a few text files apart."""
    return any(name.lower().endswith(ZIP) for name in archives_alone(root))


def is_webdataset(root: Path) -> bool:
    """Tell whether a folder holds tar files alone, packed or not; a few text files apart."""
    return bool(archives_alone(root))


def archives_alone(root: Path) -> list[str]:
    """Return the archives of a folder and of the folders in it, as sorted relative paths; none if it holds more."""
    found: list[str] = []
    for name in _entries(root, folders=True):
        if name is None:
            return []
        found.append(name)
    return sorted(found)


def _entries(folder: Path, *, folders: bool) -> Iterator[str | None]:
    """Yield the archives of a folder; None for what is neither an archive nor a text about one."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.lower()
                if entry.name.startswith(HIDDEN) or name.endswith(TEXTS) or name in PLAIN_TEXTS:
                    continue
                if entry.is_dir():
                    inner = _entries(folder / entry.name, folders=False) if folders else iter((None,))
                    yield from (each if each is None else f"{entry.name}/{each}" for each in inner)
                else:
                    yield entry.name if name.endswith(ARCHIVES) and entry.is_file() else None
    except OSError:  # a folder that cannot be listed holds no archive that could be read
        yield None
