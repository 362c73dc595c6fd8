"""What the tests of the store, the leases and the artifacts run in processes of their own; light to import."""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

from bob.artifacts import ArtifactStore
from bob.files import write_bytes
from bob.job import Need
from bob.lease import holding
from bob.store import ResultStore

SPAWN = multiprocessing.get_context("spawn")
NEED = Need(kind="features", content=(("backbone", "x"),))
BLOB_BYTES = 200_000


def start(target, *args) -> BaseProcess:
    """Start ``target(*args)`` in a process of its own."""
    process = SPAWN.Process(target=target, args=args)
    process.start()
    return process


def say(path: Path, line: str) -> None:
    """Append a line in one write, so that a kill leaves it whole or absent."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)


def said(path: Path) -> list[str]:
    """Return the lines said so far."""
    return path.read_text().splitlines() if path.exists() else []


def wait_for(path: Path, lines: int = 1, timeout_s: float = 60.0) -> None:
    """Wait until so many lines were said."""
    deadline = time.monotonic() + timeout_s
    while len(said(path)) < lines:
        assert time.monotonic() < deadline, f"nothing was said in {path} for {timeout_s} s"
        time.sleep(0.002)


def append_many(folder: Path, writer: int, rows: int, read: Path | None = None) -> None:
    """Append rows of jobs of this writer; halfway, wait until a line in ``read`` says that some have been read."""
    store = ResultStore(folder)
    for index in range(rows):
        if read is not None and index == rows // 2:
            wait_for(read)
        store.append({"job_id": f"{index:02x}{writer:02x}{index:06x}", "status": "ok", "score": 0.5, "seed": index})


def append_forever(folder: Path, token: str, acknowledged: Path) -> None:
    """Append rows with outcomes and fold, saying each job's id once its append returned."""
    import numpy as np

    store = ResultStore(folder)
    index = 0
    while True:
        job_id = f"{index % 256:02x}{token}{index:06d}"
        outcomes = {"sample_id": np.array(["a", "b"]), "outcome": np.array([0.0, 1.0])}
        store.append({"job_id": job_id, "status": "ok", "score": 0.5, f"extra_{index % 3}": index}, outcomes)
        say(acknowledged, job_id)
        if index % 5 == 4:
            store.fold(force=True)
        index += 1


def attempt_many(folder: Path, status: str, attempts: int) -> None:
    """Append attempts at one and the same job."""
    for _ in range(attempts):
        ResultStore(folder).append({"job_id": "abcd", "status": status, "score": 0.5, "host": f"{os.getpid()}"})


def fold_many(folder: Path, times: int) -> None:
    """Fold again and again."""
    for _ in range(times):
        ResultStore(folder).fold(force=True)


def count_under_lease(lease: Path, counter: Path, times: int) -> None:
    """Add one to a number in a file, read and written apart: only a lease makes that add up."""
    for _ in range(times):
        with holding(lease, poll_s=0.001):
            value = int(counter.read_text())
            time.sleep(0.001)
            counter.write_text(str(value + 1))


def hold_forever(lease: Path, log: Path) -> None:
    """Take a lease, say so, and never give it back."""
    with holding(lease):
        say(log, "held")
        time.sleep(600)


def make_artifact(cache: Path, log: Path, seconds: float) -> None:
    """Ask for an artifact that takes so long to make, saying when its making starts."""

    def build(folder: Path) -> None:
        (folder / "half").write_text("1")
        say(log, "building")
        time.sleep(seconds)
        (folder / "whole").write_text("2")

    ArtifactStore(cache).get_or_make(NEED, build)


def write_forever(path: Path, log: Path) -> None:
    """Replace a file's content again and again, each time by one letter repeated."""
    for index in range(10**9):
        write_bytes(path, bytes([ord("a") + index % 26]) * BLOB_BYTES)
        say(log, "written")
