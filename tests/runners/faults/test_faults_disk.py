"""A disk that fills or becomes read-only under a run: said, nothing lost, and the same command goes on afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import fault_jobs
import pytest
import torch
from runner_jobs import events, job, run_suite

from bob.core.errors import StoreError
from bob.jobs.row import ROW_SCHEMA_VERSION
from bob.probes.feature_files import features_file
from bob.store import ResultStore
from bob.store.store import LEFTOVER_AGE_S
from bob.training.checkpoint import Checkpoints

MS_RDONLY, MS_REMOUNT = 1, 32  # mount(2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave no byte."""
    with contextlib.suppress(OSError), (disk / "filler").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)


def make_read_only(disk: Path) -> None:
    """Make a file system read-only, as soon as no file on it is open for writing: not a log of a job at work."""
    libc = ctypes.CDLL(None, use_errno=True)
    deadline = time.monotonic() + 60
    while libc.mount(None, bytes(disk), None, MS_REMOUNT | MS_RDONLY, None):
        assert ctypes.get_errno() == errno.EBUSY
        assert time.monotonic() < deadline, "some file is open all the time"


def make_writable(disk: Path) -> None:
    """Take that back."""
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


def as_soon_as(condition: Callable[[], bool], act: Callable[[], None]) -> Thread:
    """Act once, from another thread, when a condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.005)
        act()

    thread = Thread(target=wait, daemon=True)
    thread.start()
    return thread


def ended(folder: Path) -> int:
    """Count the jobs that have appended their row."""
    return sum(words[0] == "end" for words in events(folder / "cache"))


BREAK = {"full": (fill, "No space left"), "read-only": (make_read_only, "Read-only file system")}
MEND = {"full": lambda disk: (disk / "filler").unlink(), "read-only": make_writable}


@pytest.mark.parametrize("fault", BREAK)
def test_a_results_disk_that_fails_during_a_run_ends_it_with_the_reason_and_the_same_command_goes_on(
    tmp_path: Path, small_disk: Path, fault: str
) -> None:
    jobs, results = [job(number, "sleep", seconds=0.3) for number in range(8)], small_disk / "results"
    act, reason = BREAK[fault]
    breaker = as_soon_as(lambda: ended(tmp_path) >= 2, lambda: act(small_disk))
    with pytest.raises(StoreError, match=reason) as caught:
        run_suite(tmp_path, jobs, results_dir=results, workers=1 if fault == "read-only" else 2)
    breaker.join()
    assert str(results) in caught.value.message
    assert caught.value.hint
    assert fault_jobs.children() == [], "the jobs beside it are ended"
    kept = ResultStore(results).statuses()
    assert 2 <= len(kept) < len(jobs)
    assert set(kept.values()) == {"ok"}
    MEND[fault](small_disk)
    summary = run_suite(tmp_path, jobs, results_dir=results)
    assert (summary.counts, summary.done_before) == ({"ok": len(jobs) - len(kept)}, len(kept))
    table = ResultStore(results).load()
    assert len(table) == table.job_id.nunique() == len(jobs)
    assert set(table.status) == {"ok"}
    assert ResultStore(results).damaged() == {}
    # What could not be removed from a read-only disk is free by its age, and removed after a day.
    assert [path for path in fault_jobs.leftovers(small_disk) if fault == "full" or "/.tmp-" in path] == []
    outcomes = [path.stem for path in (results / "outcomes").rglob("*.parquet")]
    assert len(outcomes) == len(jobs), "outcomes of a row that was never written stay behind"


@pytest.mark.parametrize("fault", BREAK)
def test_a_run_on_a_disk_that_has_failed_already_ends_before_any_job(
    tmp_path: Path, small_disk: Path, fault: str
) -> None:
    run_suite(tmp_path, [job(0)], results_dir=small_disk / "results")
    act, reason = BREAK[fault]
    act(small_disk)
    with pytest.raises(StoreError, match=reason):
        run_suite(tmp_path, [job(0), job(1)], results_dir=small_disk / "results")
    assert ended(tmp_path) == 1
    assert fault_jobs.children() == []
    MEND[fault](small_disk)


def test_a_row_that_only_the_worker_could_not_write_is_written_by_the_runner_with_the_workers_reason(
    tmp_path: Path, small_disk: Path
) -> None:
    """Space comes back between the worker's end and the runner's look at it: still one row, and not 'it died'."""
    summary = run_suite(
        tmp_path,
        [job(0, "fail")],
        results_dir=small_disk / "results",
        execute="fault_disk_jobs:fail_on_a_full_disk",
        preload=("fault_disk_jobs",),
    )
    assert summary.counts == {"failed": 1}
    assert "three is not four" in summary.failures[0].reason
    assert ResultStore(small_disk / "results").attempts(job(0, "fail").id) == 1


def test_a_checkpoint_that_does_not_fit_is_warned_of_and_the_one_before_stays(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(small_disk / "work")
    checkpoints.save({"step": 1, "weights": torch.zeros(1000)})
    checkpoints.save({"step": 2, "weights": torch.zeros(1 << 20)})
    assert "No space left on device" in caplog.text
    assert "latest.pt" in caplog.text
    assert checkpoints.load()["step"] == 1
    with pytest.raises(OSError, match=r"No space left on device.*best\.pt"):
        checkpoints.save_best({"weights": torch.zeros(1 << 20)})
    assert fault_jobs.leftovers(small_disk) == []


def test_features_that_do_not_fit_are_an_error_that_names_the_file_not_a_dead_process(small_disk: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device.*train\.npy"):
        features_file(small_disk, "train", count=100_000, width=512)


def test_a_lease_that_was_left_on_a_read_only_disk_is_removed_once_it_is_old(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    store.append({"job_id": "aa00", "status": "ok", "score": 0.5})
    old, young = (store.layout.root / "claims" / f"{name}.lease" for name in ("old", "young"))
    for path in (old, young):
        path.write_text("{}")
    os.utime(old, (time.time() - LEFTOVER_AGE_S - 60,) * 2)
    store.fold(force=True)
    assert (old.exists(), young.exists()) == (False, True)


@pytest.mark.slow
def test_a_cache_disk_without_room_fails_what_needs_it_with_the_file_named_and_leaves_nothing(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOB_CACHE", str(small_disk / "cache"))
    fault_jobs.write(tmp_path, ["none"], protocol="linear", params="{}")
    fault_jobs.jobs(tmp_path, tmp_path / "results", small_disk / "cache")  # the data are resolved while there is room
    fill(small_disk)
    summary = fault_jobs.run(tmp_path, cache=small_disk / "cache")
    assert summary.counts == {"failed": 1}
    assert "OSError" in summary.failures[0].reason
    assert "No space left on device" in summary.failures[0].reason
    assert str(small_disk) in summary.failures[0].reason
    assert fault_jobs.leftovers(small_disk) == []
    MEND["full"](small_disk)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert fault_jobs.run(tmp_path, cache=small_disk / "cache").counts == {"ok": 1}


def test_a_store_of_a_newer_version_is_refused_before_anything_runs_and_stays_as_it_is(tmp_path: Path) -> None:
    run_suite(tmp_path, [job(0)])
    store = ResultStore(tmp_path / "results")
    store.append({"job_id": "bb01", "status": "ok", "score": 0.5})
    record = next(store.layout.records.rglob("bb01.*"))
    record.write_text(json.dumps({**json.loads(record.read_text()), "schema_version": ROW_SCHEMA_VERSION + 1}))
    before = {path: path.read_bytes() for path in store.layout.root.rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="Upgrade BoB"):
        run_suite(tmp_path, [job(0), job(1), job(2, missing="no weights")])
    assert {path: path.read_bytes() for path in store.layout.root.rglob("*") if path.is_file()} == before
    assert ended(tmp_path) == 1


def test_rows_of_an_older_version_are_read_and_join_the_columns_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store written before a version with a column more: table, records and a run that goes on in it."""
    run_suite(tmp_path, [job(0), job(1)])
    store = ResultStore(tmp_path / "results")
    store.append({"job_id": "bb01", "status": "ok", "score": 0.25, "of_yesterday": 1})
    for module in ("records", "table", "values"):
        monkeypatch.setattr(f"bob.store.{module}.ROW_SCHEMA_VERSION", ROW_SCHEMA_VERSION + 1)
    assert run_suite(tmp_path, [job(0), job(1), job(2)]).done_before == 2
    store.append({"job_id": "bb02", "status": "ok", "score": 0.75, "of_today": "new"})
    table = store.load().set_index("job_id")
    assert len(table) == 5
    assert set(table.schema_version) == {ROW_SCHEMA_VERSION, ROW_SCHEMA_VERSION + 1}
    assert (table.of_yesterday["bb01"], table.of_today["bb02"]) == (1, "new")
    assert table.score.notna().all()
    assert store.damaged() == {}
    assert os.listdir(tmp_path / "results" / "leases") == []  # noqa: PTH208
