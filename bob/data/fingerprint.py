"""What a folder of files holds, as one digest that neither its place nor its clock changes."""

from __future__ import annotations

import contextvars
import errno
import hashlib
import json
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bob.core.errors import DataError
from bob.core.files import digest, sha256_file, write_text
from bob.data.file_names import is_picture

log = logging.getLogger(__name__)

EDGE_BYTES = 64 * 1024
READERS = 8
FILES_A_TASK = 256
SLOW_S = 0.0003  # for a file
BROKEN_LINK = -1  # the size of a picture that is a link to nothing: it is listed, so that it counts as a bad one
# A file written this recently could change again within one tick of the file system's clock.
SETTLED_NS = 2_000_000_000


_follows: contextvars.ContextVar[bool] = contextvars.ContextVar("bob_follows_links", default=False)


@contextmanager
def following_links(allowed: bool) -> Iterator[None]:
    """Let links lead out of a data set's folder while its files are listed, if its user allowed that."""
    token = _follows.set(allowed)
    try:
        yield
    finally:
        _follows.reset(token)


def are_links_followed() -> bool:
    """Tell whether links may lead out of a data set's folder now."""
    return _follows.get()


class FileEntry(NamedTuple):
    """One file below a root: its relative path with forward slashes, size in bytes, modification time in ns."""

    path: str
    size: int
    mtime_ns: int


def inside(root: Path, path: Path) -> Path:
    """Return ``path`` resolved, having made sure that it lies below ``root``.

    Where links may lead out (``following_links``, and in a hub's own cache), one that does is returned as it is.

    Raises:
        DataError: A symbolic link or a ``..`` leads out of the data set, or links lead in a circle.
    """
    try:
        resolved = path.resolve()
        is_circle = path.is_symlink() and _leads_in_a_circle(path)
    except RuntimeError:  # what Python before 3.13 raises for links in a circle
        is_circle = True
    if is_circle:
        raise DataError(f"the link {path} leads to itself.", hint=f"Remove it: rm '{path}'")
    if not resolved.is_relative_to(root.resolve()):
        if ".." not in path.parts and (_follows.get() or _is_in_hub_cache(root.resolve(), resolved)):
            return path
        raise DataError(
            f"{path} leads out of the data set's folder {root}, to {resolved}: only files below it are read.",
            hint="If that is meant: --follow-links (follow_links: true in a suite). Else copy the files, or name the "
            "folder that really holds them.",
        )
    return resolved


def _is_in_hub_cache(root: Path, resolved: Path) -> bool:
    """Tell whether a link leads from a snapshot in Hugging Face's cache to the files that it is made of."""
    for above in (root, *root.parents):
        if above.parent.name == "snapshots":
            return resolved.is_relative_to(above.parent.parent / "blobs")
    return False


def _leads_in_a_circle(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def list_files(root: Path, below: Path | None = None) -> list[FileEntry]:
    """Return every file below ``below`` (default ``root``), sorted by path relative to ``root``; hidden ones apart.

    A link to nothing that is called as pictures are is a file of size BROKEN_LINK.

    Raises:
        DataError: A symbolic link leads out of ``root`` or to a folder above itself.
    """
    folder = below or root
    prefix = "" if folder == root else folder.relative_to(root).as_posix() + "/"
    return sorted(_walk(root, str(folder), prefix))


def _walk(root: Path, folder: str, prefix: str) -> Iterator[FileEntry]:
    # Text, not Path objects: an ImageNet has 1.3 million files, and every planning walks them.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            if entry.is_symlink():
                _check_link(root, Path(entry.path))
            if entry.is_dir():
                yield from _walk(root, entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                status = entry.stat()
                yield FileEntry(prefix + entry.name, status.st_size, status.st_mtime_ns)
            elif entry.is_symlink() and is_picture(entry.name) and not os.path.exists(entry.path):  # noqa: PTH110
                yield FileEntry(prefix + entry.name, BROKEN_LINK, 0)


def _check_link(root: Path, link: Path) -> None:
    target = inside(root, link).resolve()
    if target.is_dir() and (link.parent.resolve().is_relative_to(target) or root.resolve().is_relative_to(target)):
        raise DataError(f"the link {link} leads to {target}, a folder above itself.", hint=f"Remove it: rm '{link}'")


def fingerprint_files(
    root: Path, files: Sequence[FileEntry], *, cache_dir: Path, whole: Callable[[str], bool] | None = None
) -> str:
    """Return the SHA-256 over (relative path, size, SHA-256 of the first and last 64 KiB) of the files, sorted.

    Of a file whose path ``whole`` accepts every byte counts: in annotations a single digit in the middle matters.
    The answer is cached in ``cache_dir`` by path, size and modification time, so that asking again reads no file.
    """
    cache = _Cache(root, cache_dir)
    entire = frozenset(entry.path for entry in files if whole is not None and _is_partly_read(entry, whole))
    stat_digest = _stat_digest(root, files, entire)
    known = cache.tree(stat_digest)
    if known is not None:
        return known
    digests = _digests(root, files, entire, cache.digests())
    state = hashlib.sha256()
    for entry, content in sorted(zip(files, digests, strict=True)):
        state.update(f"{entry.path}\0{entry.size}\0{content}\n".encode(errors="surrogateescape"))
    if all(entry.mtime_ns < time.time_ns() - SETTLED_NS for entry in files):
        cache.write(stat_digest, state.hexdigest(), [(_key(entry, entire), entry) for entry in files], digests)
    return state.hexdigest()


def _stat_digest(root: Path, files: Sequence[FileEntry], entire: frozenset[str]) -> str:
    """Return what one state of the files is known by: their paths, sizes and times, and which are read whole."""
    lines = [f"{path}\0{size}\0{mtime_ns}\0{path in entire}" for path, size, mtime_ns in sorted(files)]
    return hashlib.sha256("\n".join([str(root.resolve()), *lines]).encode(errors="surrogateescape")).hexdigest()


def edge_digests(root: Path, files: Sequence[FileEntry], *, cache_dir: Path) -> list[str]:
    """Return the SHA-256 of the first and last 64 KiB of each file: of files up to 128 KiB, of all they hold.

    What ``fingerprint_files`` read of a file in this state is not read again.
    """
    return _digests(root, files, frozenset(), _Cache(root, cache_dir).digests())


def _is_partly_read(entry: FileEntry, whole: Callable[[str], bool]) -> bool:
    """Tell whether head and tail would leave a middle out of a file that must be read whole."""
    return entry.size > 2 * EDGE_BYTES and whole(entry.path)


def _key(entry: FileEntry, entire: frozenset[str]) -> str:
    """Name a file's digest in the cache: one reader may want it whole, another its edges."""
    return f"{entry.path}\0whole" if entry.path in entire else entry.path


def _digests(
    root: Path, files: Sequence[FileEntry], entire: frozenset[str], known: dict[str, list[int | str]]
) -> list[str]:
    def digest_of(place: int) -> str:
        entry = files[place]
        if entry.size == BROKEN_LINK:
            return "link to nothing"
        if entry.path in entire:
            return sha256_file(root / entry.path)
        return _edge_digest(f"{root}/{entry.path}", entry.size)

    cached = [known.get(_key(entry, entire)) for entry in files]
    found = [
        str(one[2]) if one is not None and one[:2] == [entry.size, entry.mtime_ns] else ""
        for one, entry in zip(cached, files, strict=True)
    ]
    unread = [place for place, one in enumerate(found) if not one]
    parts = [unread[start : start + FILES_A_TASK] for start in range(0, len(unread), FILES_A_TASK)]
    for part, digests in zip(parts, _each(parts, lambda part: list(map(digest_of, part))), strict=True):
        for place, one in zip(part, digests, strict=True):
            found[place] = one
    return found


def _each(parts: list[list[int]], work: Callable[[list[int]], list[str]]) -> Iterator[list[str]]:
    """Yield what is made of each part. Threads are for file systems that answer slowly; on others they cost time."""
    left = deque(parts)
    while left:
        start = time.perf_counter()
        part = left.popleft()
        yield work(part)
        if time.perf_counter() - start > SLOW_S * len(part):
            break
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(work, left)


def _edge_digest(path: str, size: int) -> str:
    # The system's calls, not a file object: of 200,000 small files that is a third of the time.
    file = os.open(path, os.O_RDONLY)
    try:
        content = _read(file, EDGE_BYTES, 0)
        if size > EDGE_BYTES:
            content += _read(file, EDGE_BYTES, max(EDGE_BYTES, size - EDGE_BYTES))
    finally:
        os.close(file)
    return hashlib.sha256(content).hexdigest()


def _read(file: int, count: int, start: int) -> bytes:
    """Return so many bytes of a file from a place on, or as many as there are."""
    content = b""
    while part := os.pread(file, count - len(content), start + len(content)):
        content += part
    return content


class _Cache:
    """Two small files per root: the fingerprint of one exact state, and each file's digest for the next state."""

    def __init__(self, root: Path, cache_dir: Path) -> None:
        stem = digest(str(root.resolve()))
        self._tree = cache_dir / "datasets" / f"tree-{stem}.json"
        self._edges = cache_dir / "datasets" / f"files-{stem}.json"

    def tree(self, stat_digest: str) -> str | None:
        return _read_json(self._tree).get(stat_digest)

    def digests(self) -> dict[str, list[int | str]]:
        return _read_json(self._edges)

    def write(
        self, stat_digest: str, fingerprint: str, files: Sequence[tuple[str, FileEntry]], digests: Sequence[str]
    ) -> None:
        content = {key: [entry.size, entry.mtime_ns, one] for (key, entry), one in zip(files, digests, strict=True)}
        write_text(self._edges, json.dumps(content, separators=(",", ":")))
        write_text(self._tree, json.dumps({stat_digest: fingerprint}))


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        log.warning("The cache file %s is damaged (%s): what it held is read anew.", path, error)
        return {}
