"""What the tests of the store, the leases and the artifacts run in processes of their own; light to import."""

from __future__ import annotations

import multiprocessing
import os
import time
import zlib
from multiprocessing.process import BaseProcess
from pathlib import Path

from bob.core.files import write_bytes
from bob.core.lease import holding
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.job import Need
from bob.store import ResultStore
from bob.store.layout import Layout

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


def share_of(writer: int, writers: int, rows: int) -> list[str]:
    """Return the jobs of one writer; every tenth is the next writer's as well."""
    own = [(writer, index) if index % 10 < 9 else ((writer + 1) % writers, index - 1) for index in range(rows)]
    return [f"{(37 * index + owner) % 256:02x}{owner:02x}{index:06x}" for owner, index in own]


def score_of(job_id: str, writer: int) -> float:
    """Return the score that this writer gives the job: another one than any other writer's."""
    return zlib.crc32(f"{job_id} {writer}".encode()) / 2**32


def acknowledged(logs: list[Path]) -> list[tuple[int, str]]:
    """Return (writer, job) of every append that has returned."""
    return [(writer, job) for writer, log in enumerate(logs) for job in said(log)]


def append_share(folder: Path, writer: int, writers: int, rows: int, log: Path) -> None:
    """Append the writer's jobs that its log lacks, saying each job's id once its append returned.

    Of a job that two writers share, one says that it failed. The table is folded halfway and at the end.
    """
    import numpy as np

    store, done = ResultStore(folder), set(said(log))
    for index, job_id in enumerate(share_of(writer, writers, rows)):
        if job_id in done:
            continue
        status = "failed" if index % 20 == 9 else "ok"
        row = {"job_id": job_id, "status": status, "score": score_of(job_id, writer), "host": str(writer)}
        outcomes = {"sample_id": np.array([job_id])} if index % 5 == 0 else None
        store.append({**row, f"extra_{index % 3}": index}, outcomes)
        say(log, job_id)
        if index % (rows // 2) == rows // 2 - 1:
            store.fold(force=True)


def load_forever(folder: Path, logs: list[Path], log: Path) -> None:
    """Load again and again: what was acknowledged before must be there."""
    store = ResultStore(folder)
    while True:
        before = {job for _, job in acknowledged(logs)}
        jobs = store.load()["job_id"]
        assert jobs.is_unique and before <= set(jobs)
        say(log, f"{len(jobs)}")
        time.sleep(0.5)


def read_forever(layout: Layout, log: Path, over: Path) -> None:
    """Read the table again and again with pandas alone, until a file says that it is over.

    pandas opens a path twice, and the table may be replaced between; an open file stays what it was.
    """
    import pandas as pd

    while not over.exists():
        if layout.table.exists():
            with layout.table.open("rb") as file:
                rows = pd.read_parquet(file)
            assert rows["job_id"].is_unique and rows["status"].isin(["ok", "failed"]).all()
            say(log, f"{len(rows)}")
        time.sleep(0.02)


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
