"""Which runners are at work on a store, and how far their jobs are: small files with a heartbeat."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bob.core.files import temporary_name
from bob.core.lease import born
from bob.jobs.provenance import allocation_id, now

log = logging.getLogger(__name__)

HEARTBEAT_S = 5.0
GONE_S = 60.0  # without a heartbeat for so long, a runner on another host counts as gone
FORGET_S = 86400.0  # and after so long its file may go too
FOLDER = "runners"


@dataclass(frozen=True, kw_only=True)
class AtWork:
    """A job, or an artifact on a job's behalf, that a worker is at.

    Attributes:
        job_id: The job.
        what: In words: backbone, task, data set.
        phase: What it does.
        done: How much of it.
        total: Of how much.
        for_s: Seconds since its start.
    """

    job_id: str
    what: str
    phase: str = ""
    done: int = 0
    total: int = 0
    for_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunnerState:
    """A runner as its heartbeat shows it.

    Attributes:
        host: Its host.
        pid: Its process.
        born: What tells that process from others of its number.
        started_at: When the run began, ISO 8601.
        allocation: SLURM's number of the allocation it runs in; empty outside.
        submission: The submission it works on; empty for none.
        jobs: What its workers are at.
        waiting: How many jobs it has still to start.
        age_s: Seconds since the heartbeat.
    """

    host: str
    pid: int
    born: str
    started_at: str
    allocation: str = ""
    submission: str = ""
    jobs: tuple[AtWork, ...] = ()
    waiting: int = 0
    age_s: float = 0.0


class Presence:
    """This runner's heartbeat.

    Args:
        results_dir: The store's folder.
        submission: The submission it works on.
    """

    def __init__(self, results_dir: Path, *, submission: str = "") -> None:
        self._path = results_dir / FOLDER / f"{uuid.uuid4().hex}.json"
        self._me = RunnerState(
            host=socket.gethostname(),
            pid=os.getpid(),
            born=born(os.getpid()),
            started_at=now(),
            allocation=allocation_id(),
            submission=submission,
        )
        self._last = -HEARTBEAT_S

    def tell(self, jobs: Iterable[AtWork], waiting: int, *, at_once: bool = False) -> None:
        """Show what is at work, every few seconds; a store that cannot be written does not matter here."""
        if not at_once and time.monotonic() - self._last < HEARTBEAT_S:
            return
        self._last = time.monotonic()
        content = {**asdict(self._me), "jobs": [asdict(job) for job in jobs], "waiting": waiting}
        temporary = temporary_name(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content))
            temporary.replace(self._path)
        except OSError as error:
            log.warning("The heartbeat %s cannot be written: %s.", self._path, error)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def close(self) -> None:
        """Take the heartbeat away; where that cannot be done, its age does."""
        with contextlib.suppress(OSError):
            self._path.unlink()


def runners_at_work(results_dir: Path) -> list[RunnerState]:
    """Return the runners whose heartbeat is young, and on this host whose process lives."""
    folder = results_dir / FOLDER
    states = [_read(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    clock = _clock(folder)
    found = []
    for state, mtime in filter(None, states):
        age_s = max(0.0, clock - mtime)
        if age_s < GONE_S and not _is_dead(state):
            found.append(RunnerState(**{**vars(state), "age_s": age_s}))
    return found


def forget_dead(results_dir: Path) -> None:
    """Remove the heartbeats of runners that were killed: at once of this host, of another after a day."""
    folder = results_dir / FOLDER
    clock = _clock(folder)
    for path in folder.glob("*.json") if folder.is_dir() else ():
        found = _read(path)
        if found is not None and (_is_dead(found[0]) or clock - found[1] > FORGET_S):
            with contextlib.suppress(OSError):  # another user's, or on a file system that fails: nobody waits for it
                path.unlink()


def _clock(folder: Path) -> float:
    """Return the time by the file system's own clock, since hosts' clocks differ; by this host's if it is read-only."""
    if not folder.is_dir():
        return time.time()
    probe = temporary_name(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _read(path: Path) -> tuple[RunnerState, float] | None:
    try:
        with path.open() as file:
            mtime = os.fstat(file.fileno()).st_mtime  # of what is read, also where a network file system remembers
            content = json.loads(file.read())
        jobs = tuple(AtWork(**job) for job in content.pop("jobs"))
        return RunnerState(**content, jobs=jobs), mtime
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("The heartbeat %s cannot be read: %s.", path, error)
        return None


def _is_dead(state: RunnerState) -> bool:
    if state.host != socket.gethostname():
        return False
    try:
        return psutil.Process(state.pid).status() == psutil.STATUS_ZOMBIE or born(state.pid) != state.born
    except psutil.NoSuchProcess:
        return True
