"""Sixteen writers of 1,000 rows each under random kills: nothing acknowledged is lost, doubled or unreadable."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest
from store_workers import acknowledged, append_share, load_forever, read_forever, said, score_of, share_of, start

from bob.store import ResultStore

PATIENCE_S = 300.0
KILLS_PER_WRITER = 2


class Round:
    """One store, its writers and readers, and whoever kills them.

    Args:
        folder: Where everything of the round lies.
        writers: How many processes append.
        rows: Appends of each.
        dice: Decides who is killed and when.
    """

    def __init__(self, folder: Path, *, writers: int, rows: int, dice: random.Random) -> None:
        folder.mkdir()
        self.store = ResultStore(folder / "results")
        self.store.layout.root.mkdir()
        self.kills: Counter[str] = Counter()
        self.logs = [folder / f"acknowledged-{writer:02d}" for writer in range(writers)]
        self.loads, self.reads, self.over = folder / "loads", folder / "reads", folder / "over"
        self._writers, self._rows, self._dice = writers, rows, dice
        self._at_work = {writer: self._write(writer) for writer in range(writers)}
        self._loader = start(load_forever, self.store.layout.root, self.logs, self.loads)
        self._reader = start(read_forever, self.store.layout, self.reads, self.over)

    def run(self, *, kills: int) -> None:
        """Kill somebody after random numbers of appends, putting another in the place, until all have returned."""
        deadline = time.monotonic() + PATIENCE_S
        due = sorted(self._dice.choices(range(self._writers * self._rows), k=kills), reverse=True)
        while self._at_work:
            assert time.monotonic() < deadline, f"after {PATIENCE_S} s these still write: {sorted(self._at_work)}"
            time.sleep(self._dice.uniform(0.0, 0.02))
            assert self._loader.exitcode is None, "a load failed; its traceback is above"
            for writer, process in list(self._at_work.items()):
                if process.exitcode is not None:
                    assert process.exitcode == 0, f"writer {writer} ended with {process.exitcode}"
                    del self._at_work[writer]
            if due and len(acknowledged(self.logs)) > due[-1]:
                due.pop()
                self._kill_one()
        self._kill("reading", self._loader)
        self.over.touch()
        self._reader.join(60)
        assert self._reader.exitcode == 0, "a table could not be read; the traceback is above"

    def __enter__(self) -> Round:
        return self

    def __exit__(self, *error: object) -> None:
        for process in (*self._at_work.values(), self._loader, self._reader):
            with contextlib.suppress(ValueError):  # closed already
                process.kill()
                process.join()

    def _write(self, writer: int) -> BaseProcess:
        others = [self._writers, self._rows]
        return start(append_share, self.store.layout.root, writer, *others, self.logs[writer])

    def _kill_one(self) -> None:
        """Kill whoever folds at this moment, or the one that loads, or a writer."""
        folding = self._await_folding() if self._dice.random() < 0.4 else None
        if self._dice.random() < 0.2:
            self._kill("reading", self._loader)
            self._loader = start(load_forever, self.store.layout.root, self.logs, self.loads)
        elif self._at_work:
            writer = self._dice.choice(list(self._at_work)) if folding is None else folding
            self._kill("writing" if folding is None else "folding", self._at_work[writer])
            self._at_work[writer] = self._write(writer)

    def _await_folding(self) -> int | None:
        """Return a writer that folds, as soon as there is one; None if there is none for a second."""
        deadline = time.monotonic() + 1.0
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, ValueError):
                holder = json.loads(self.store.layout.fold_lease.read_text())["pid"]
                for writer, process in self._at_work.items():
                    if process.pid == holder:
                        time.sleep(self._dice.uniform(0.0, 0.02))
                        return writer
            time.sleep(0.001)
        return None

    def _kill(self, what: str, process: BaseProcess) -> None:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        self.kills[what] += process.exitcode == -signal.SIGKILL
        process.close()

    def check(self) -> None:
        """Compare table, records and outcomes with what was acknowledged."""
        store, done = self.store, acknowledged(self.logs)
        assert sorted(done) == sorted((writer, job) for writer in range(self._writers) for job in self._share(writer))
        rows = pd.read_parquet(store.fold(force=True)).set_index("job_id")
        assert rows.index.is_unique and set(rows.index) == {job for _, job in done}
        records = [json.loads(store.layout.record(name).read_bytes()) for name in store.layout.names()]
        assert set(done) <= {(int(record["host"]), record["job_id"]) for record in records}
        # A killed append may have left its record though it never returned; no other is there.
        assert len(done) <= len(records) <= len(done) + self.kills["writing"] + self.kills["folding"]
        assert all(record["score"] == score_of(record["job_id"], int(record["host"])) for record in records)
        kept = {record["job_id"]: record for record in sorted(records, key=_rank)}
        assert {job: (row.attempt, row.score, row.host) for job, row in rows.iterrows()} == {
            job: (record["attempt"], record["score"], record["host"]) for job, record in kept.items()
        }
        of_fives = [job for job, record in kept.items() if int(job[4:], 16) % 5 == 0]
        assert all(store.outcomes(job)["sample_id"].tolist() == [job] for job in of_fives[:: len(of_fives) // 20])

    def _share(self, writer: int) -> list[str]:
        return share_of(writer, self._writers, self._rows)


def _rank(record: dict) -> tuple[bool, int]:
    return record["status"] == "ok", -record["attempt"] if record["status"] == "ok" else record["attempt"]


ROUNDS = int(os.environ.get("BOB_STORE_KILL_ROUNDS", "20"))  # .ci/run takes fewer
SMALL = (4, 200, 2)
WHOLE = pytest.param(16, 1000, ROUNDS, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.parametrize(("writers", "rows", "rounds"), [SMALL, WHOLE])
def test_writers_and_readers_killed_at_random_lose_no_row_and_leave_a_readable_store(
    tmp_path: Path, writers: int, rows: int, rounds: int
) -> None:
    kills: Counter[str] = Counter()
    for number in range(rounds):
        began = time.monotonic()
        dice = random.Random(number)
        with Round(tmp_path / f"{number:02d}", writers=writers, rows=rows, dice=dice) as current:
            current.run(kills=KILLS_PER_WRITER * writers)
        written = time.monotonic() - began
        current.check()
        kills += current.kills
        seconds = f"{written:.1f} + {time.monotonic() - began - written:.1f} s"
        reads = f"{len(said(current.reads))} reads, {len(said(current.loads))} loads"
        print(f"round {number}: {seconds}, {dict(current.kills)} killed, {reads}")
        assert said(current.reads)
    assert min(kills[what] for what in ("writing", "folding", "reading")) >= rounds / 2, kills
