"""Leases: who is working on what, between processes and hosts that share nothing but a file system.

A lease is a small file made by a hard link (atomic on NFS too), kept alive by touching it, and free again when its
holder removes it, when its process is seen to be gone on this host, or when nobody touched it for ``TTL_S``. Two
holders at once are possible after a stall longer than that, so a lease saves work and never guards correctness: what
is done under it must itself be safe to do twice.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import psutil

from bob.core.files import naming, read_regular, temporary_name

log = logging.getLogger(__name__)

TTL_S = 60.0
HEARTBEAT_S = 10.0
PROC = Path("/proc")


class Lease:
    """One claim on a name. Use ``Lease.try_take`` or the ``holding`` context manager.

    The holder's heartbeat is measured by the file system's own clock: the age of the lease file against a file
    touched by the one who looks, so that hosts with different clocks agree.
    """

    def __init__(self, path: Path, token: str) -> None:
        self.path = path
        self._token = token
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"lease-{path.name}", daemon=True)
        self._thread.start()

    @classmethod
    def try_take(cls, path: Path) -> Lease | None:
        """Take the lease if it is free or its holder is gone; return None if somebody holds it.

        Raises:
            OSError: Its folder cannot be written, or the disk is full.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        token = uuid.uuid4().hex
        mine = temporary_name(path)
        try:
            with naming(path):
                mine.write_text(json.dumps({"token": token, **_whoami()}))
            for _ in range(2):
                try:
                    os.link(mine, path)
                    return cls(path, token)
                except FileExistsError:
                    if not _clear_if_stale(path, now=mine.stat().st_mtime):
                        return None
            return None
        finally:
            mine.unlink(missing_ok=True)

    def held(self) -> bool:
        """Tell whether the file still carries this holder's token (a stalled holder may have lost it)."""
        content = _read(self.path)
        return content is not None and content.get("token") == self._token

    def release(self) -> None:
        """Give the lease back; giving back a lease that was lost does nothing.

        One that cannot be removed (the disk became read-only) is free once this process is gone, or by its age.
        """
        self._stop.set()
        self._thread.join(timeout=5)
        try:
            if self.held():
                self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("The lease %s cannot be given back: %s.", self.path, error)

    def seen_at(self) -> float:
        """Return when the lease was last touched, in seconds on the file system's own clock: its notion of now.

        It is what the times of other files there are to be compared with, whatever this host's clock says.
        """
        os.utime(self.path)
        return self.path.stat().st_mtime

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                if not self.held():
                    log.warning("The lease %s was taken over: this process stalled for over %.0f s.", self.path, TTL_S)
                    return
                os.utime(self.path)
            except OSError as error:
                log.warning("The lease %s cannot be renewed: %s.", self.path, error)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()


@contextlib.contextmanager
def holding(path: Path, *, timeout_s: float | None = None, poll_s: float = 0.1) -> Iterator[Lease]:
    """Wait for the lease and hold it during the block.

    Raises:
        TimeoutError: Somebody else held it for ``timeout_s``.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while (lease := Lease.try_take(path)) is None:
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"lease {path} is held by {_read(path)}")
        time.sleep(poll_s)
    with lease:
        yield lease


def _whoami() -> dict[str, str | int | float]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid())}


def born(pid: int) -> str:
    """Return what tells a process from an earlier one of its number, whatever happens to the system's clock.

    On Linux the boot and the ticks since then. The time of day of its birth, which psutil gives, is worked out from
    the clock of the one who asks: it moves when that clock is set.

    Raises:
        psutil.NoSuchProcess: There is none.
    """
    try:
        boot = (PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
        # The name, in brackets, may hold anything; what follows it does not. See proc(5), starttime.
        return f"{boot} {(PROC / str(pid) / 'stat').read_text().rpartition(')')[2].split()[19]}"
    except OSError:
        return f"{psutil.Process(pid).create_time():.0f}"


def _read(path: Path) -> dict[str, str | int | float] | None:
    try:
        content = json.loads(read_regular(path))
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _holder_is_gone(content: dict[str, str | int | float]) -> bool:
    if content.get("host") != socket.gethostname():
        return False
    try:
        pid = int(content["pid"])
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE or born(pid) != content["born"]
    except psutil.NoSuchProcess:
        return True
    except (KeyError, TypeError, ValueError, OverflowError):
        return False  # it names no process: only its age can free it


def _clear_if_stale(path: Path, *, now: float) -> bool:
    """Remove a lease whose holder is gone; True if the name may be free now."""
    content = _read(path)
    try:
        age_s = now - path.stat().st_mtime
    except FileNotFoundError:
        return True
    # A lease that cannot be read (a power cut left it empty) names nobody: only its age can free it.
    if age_s < TTL_S and (content is None or not _holder_is_gone(content)):
        return False
    # Renaming first lets only one of several that saw the same stale lease remove it.
    aside = temporary_name(path)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return True
    taken = _read(aside)
    if taken is not None and taken != content:
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink(missing_ok=True)
    return True
