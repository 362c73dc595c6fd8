"""Any number of processes at once, killed at any instant: no row is lost, none is doubled, no file is damaged."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
from store_workers import append_forever, append_many, attempt_many, fold_many, said, say, start, wait_for

from bob.store import ResultStore

WRITERS, ROWS, KILLS = 8, 250, 20


def _join(workers: list) -> None:
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)


def test_eight_writers_of_250_rows_beside_a_reader_leave_2000_rows(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    store.layout.root.mkdir()
    read = tmp_path / "read"
    workers = [start(append_many, store.layout.root, writer, ROWS, read) for writer in range(WRITERS)]
    sizes = [0]
    while any(worker.is_alive() for worker in workers):
        sizes.append(len(store.load()))
        assert len(pd.read_parquet(store.layout.table)) >= sizes[-2]
        if sizes[-1] > sizes[-2] == 0:
            say(read, "some rows")
    _join(workers)
    frame = store.load()
    assert len(frame) == frame["job_id"].nunique() == WRITERS * ROWS
    assert sizes == sorted(sizes) and any(0 < size <= WRITERS * ROWS // 2 for size in sizes)
    assert store.damaged() == {} and len(store.statuses()) == WRITERS * ROWS


def test_writers_of_one_job_never_share_an_attempt_number(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    workers = [start(attempt_many, tmp_path, status, 30) for status in ("ok", "failed", "ok", "oom")]
    _join(workers)
    numbers = [name.attempt for name in store.layout.names_of("abcd")]
    assert sorted(numbers) == list(range(1, 121))
    assert store.attempts("abcd") == 120
    first_ok = min(name.attempt for name in store.layout.names_of("abcd") if name.status == "ok")
    assert store.load()["attempt"].tolist() == [first_ok]


def test_writers_killed_at_random_lose_no_acknowledged_row_and_damage_no_file(tmp_path: Path) -> None:
    store, pauses = ResultStore(tmp_path / "results"), random.Random(3)
    acknowledged: set[str] = set()
    for kill in range(KILLS):
        log = tmp_path / f"acknowledged-{kill}"
        writer = start(append_forever, store.layout.root, f"{kill:02x}", log)
        wait_for(log)
        time.sleep(pauses.uniform(0, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        acknowledged |= set(said(log))
        rows = set(store.load()["job_id"])
        assert acknowledged <= rows
        assert len(rows - acknowledged) <= kill + 1  # at most the one append of each kill that returned to nobody
    assert store.damaged() == {}
    for path in store.layout.records.rglob("*.json"):
        if not path.name.startswith(".tmp-"):
            assert len(store.outcomes(json.loads(path.read_text())["job_id"])) == 2


def test_folding_from_many_processes_at_once_keeps_every_row(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    workers = [start(fold_many, tmp_path, 12) for _ in range(3)] + [start(append_many, tmp_path, 1, 80)]
    _join(workers)
    assert len(store.load()) == 80
    assert len(pd.read_parquet(store.layout.table)) == 80


@pytest.mark.slow
def test_sixty_kills_with_two_writers_at_a_time(tmp_path: Path) -> None:
    store, pauses = ResultStore(tmp_path / "results"), random.Random(7)
    acknowledged: set[str] = set()
    for kill in range(30):
        logs = [tmp_path / f"acknowledged-{kill}-{side}" for side in "ab"]
        writers = [start(append_forever, store.layout.root, f"{kill:03d}{log.name[-1]}", log) for log in logs]
        for log, writer in zip(logs, writers, strict=True):
            wait_for(log)
            time.sleep(pauses.uniform(0, 0.1))
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
            acknowledged |= set(said(log))
    rows = set(store.load()["job_id"])
    assert acknowledged <= rows and len(rows - acknowledged) <= 60 and store.damaged() == {}
