"""Artifacts are made once, appear whole, and survive the death of whoever makes them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from store_workers import NEED, make_artifact, said, start, wait_for

from bob.jobs.artifacts import ArtifactStore


def test_many_processes_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    workers = [start(make_artifact, tmp_path, log, 0.3) for _ in range(5)]
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 5
    assert said(log) == ["building"]
    folder = ArtifactStore(tmp_path).path(NEED)
    assert {path.name for path in folder.iterdir()} == {"half", "whole", "content.json"}


def test_killed_maker_leaves_no_artifact_and_the_next_one_makes_it(tmp_path: Path) -> None:
    store, log = ArtifactStore(tmp_path), tmp_path / "log"
    maker = start(make_artifact, tmp_path, log, 600)
    wait_for(log)
    waiting = start(make_artifact, tmp_path, log, 0)
    assert not store.has(NEED)
    os.kill(maker.pid, signal.SIGKILL)
    waiting.join(60)
    assert waiting.exitcode == 0
    assert said(log) == ["building", "building"]
    assert (store.path(NEED) / "whole").read_text() == "2"
    maker.join()


def test_failed_build_leaves_nothing_and_the_next_one_may_succeed(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").write_text("1")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        store.get_or_make(NEED, fail)
    assert not store.has(NEED)
    assert list((tmp_path / "artifacts").iterdir()) == []
    folder = store.get_or_make(NEED, lambda folder: (folder / "whole").write_text("2") and None)
    assert (folder / "whole").exists()


def test_maker_that_stalled_past_its_lease_keeps_its_successors_artifact(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)

    def stall(folder: Path) -> None:
        (folder / "whose").write_text("late")
        successor = store.path(NEED)
        successor.mkdir()
        (successor / "whose").write_text("successor")

    folder = store.get_or_make(NEED, stall)
    assert (folder / "whose").read_text() == "successor"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_maker_that_stalled_and_fails_hands_out_what_its_successor_made(tmp_path: Path, caplog) -> None:
    store = ArtifactStore(tmp_path)

    def overtaken(folder: Path) -> None:
        store.path(NEED).mkdir(parents=True)
        (store.path(NEED) / "whole").write_text("2")
        raise RuntimeError("my checkpoint is gone")

    path = store.get_or_make(NEED, overtaken)
    assert (path / "whole").read_text() == "2" and "my checkpoint is gone" in caplog.text
    assert [entry.name for entry in (tmp_path / "artifacts").iterdir()] == [NEED.key]
