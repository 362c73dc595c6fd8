"""A disk that is full or read-only gives an error that names the folder and the next step, and loses no row."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bob.core.errors import StoreError
from bob.store import ResultStore
from bob.store.store import LEFTOVER_AGE_S


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, 512 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextlib.contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)


def _row(index: int) -> dict[str, object]:
    return {"job_id": f"aa{index:02d}", "status": "ok", "score": 0.5}


def test_full_disk_refuses_the_row_keeps_the_others_and_recovers(small_disk: Path) -> None:
    store = ResultStore(small_disk / "results")
    store.append(_row(0))
    store.load()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)
    with pytest.raises(StoreError, match=r"results[\s\S]*No space left[\s\S]*Free some space"):
        store.append(_row(1))
    assert store.statuses() == {"aa00": "ok"} and len(store.load()) == 1
    filler.unlink()
    store.append(_row(1))
    assert len(store.load()) == 2 and store.damaged() == {}
    assert not list(small_disk.rglob(".tmp-*"))


def test_table_that_does_not_fit_on_the_disk_is_put_together_in_memory(small_disk: Path) -> None:
    store = ResultStore(small_disk / "results")
    store.append(_row(0))
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 1024)
    assert len(store.load()) == 1
    with pytest.raises(StoreError, match="No space left"):
        store.fold(force=True)


def test_read_only_store_is_loaded_and_refuses_rows(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(small_disk / "results")
    store.append(_row(0))
    store.load()
    store.append(_row(1))
    with _read_only(small_disk):
        assert len(store.load()) == 2
        assert "put together in memory" in caplog.text
        with pytest.raises(StoreError, match=r"cannot be written: Read-only[\s\S]*--results DIR"):
            store.append(_row(2))
    assert len(store.load()) == 2


def test_damaged_record_on_a_read_only_store_hides_no_other(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = ResultStore(small_disk / "results")
    store.append(_row(0))
    store.append(_row(1))
    next(store.layout.records.rglob("aa01.*")).write_bytes(b"")
    with _read_only(small_disk):
        assert list(store.load()["job_id"]) == ["aa00"]
    assert "could not be set aside" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir(mode=0o555)
    with pytest.raises(StoreError, match=r"Permission denied[\s\S]*--results DIR"):
        ResultStore(folder).append(_row(0))


def test_results_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("not a folder")
    with pytest.raises(StoreError, match=r"results.* cannot be written: Not a directory"):
        ResultStore(tmp_path / "results").append(_row(0))


def test_leftover_temporary_files_go_once_they_are_old_and_work_is_left_alone(tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results")
    store.append(_row(0))
    folder = next(store.layout.records.iterdir())
    work = tmp_path / "results" / "work"
    work.mkdir()
    old, young, at_work = folder / ".tmp-old-x", folder / ".tmp-young-x", work / ".tmp-old-x"
    for path in (old, young, at_work):
        path.write_text("half")
    for path in (old, at_work):
        os.utime(path, (time.time() - LEFTOVER_AGE_S - 60,) * 2)
    store.fold(force=True)
    assert (old.exists(), young.exists(), at_work.exists()) == (False, True, True)
