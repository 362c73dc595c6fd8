"""Pictures that break or hang after they were checked, read in the job's process and in loader processes."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import fault_jobs
import psutil
import pytest
from classification_jobs import write_folder

from bob.data import check
from bob.data.check import bad_pictures
from bob.data.resolve import resolve_dataset
from bob.jobs.context import Context
from bob.store import ResultStore

COUNTS = {"train": 8, "val": 4, "test": 4}


def truncate(path: Path) -> None:
    """Leave half of a picture."""
    os.truncate(path, path.stat().st_size // 2)


def pipe(path: Path) -> None:
    """Put in a picture's place what would be waited for without end."""
    path.unlink()
    os.mkfifo(path)


def stop_loaders(path: Path) -> None:
    """Freeze the processes that decode pictures, as a network drive that is gone does."""
    loaders = psutil.Process().children()
    assert loaders, "no process decodes pictures"
    for loader in loaders:
        loader.suspend()


def vanish(path: Path) -> None:
    """Remove a picture."""
    path.unlink()


def prepared(folder: Path, act: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write pictures and a suite of one backbone, in whose training, after every check, a picture of val acts up."""
    monkeypatch.setenv("BOB_CACHE", str(folder / "cache"))
    data = write_folder(folder / "data", counts=COUNTS)
    fault_jobs.write(folder, ["picture"], data=f"folder:{data}")
    victim = data / "val" / "dots" / "0.png"
    (folder / "faults-on").write_text(f"{act.__name__} {victim}")
    return victim


@pytest.mark.slow
@pytest.mark.parametrize("loader_workers", [0, 1])
@pytest.mark.parametrize("act", [truncate, vanish, pipe])
def test_a_picture_that_breaks_after_its_check_costs_the_job_that_reads_it_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Path], None], loader_workers: int
) -> None:
    victim = prepared(tmp_path, act, monkeypatch)
    whole = victim.read_bytes()
    seen = victim.stat()
    summary = fault_jobs.run(tmp_path, loader_workers=loader_workers)
    store = ResultStore(tmp_path / "results")
    row = store.load().iloc[0]
    assert summary.counts == {"failed": 1}, row.error_message
    assert row.error_class == "DataError"
    assert row.error_message.startswith("picture 'val/dots/0.png' could be read when it was checked, but not now")
    assert "Traceback" not in row.error_message
    assert fault_jobs.children() == []
    victim.unlink(missing_ok=True)
    victim.write_bytes(whole)
    os.utime(victim, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    again = fault_jobs.run(tmp_path, loader_workers=loader_workers)
    assert again.counts == {"ok": 1}, again
    assert len(store.load()) == 1
    assert fault_jobs.leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_data_loader_that_hangs_ends_in_a_timeout_that_says_where_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path, stop_loaders, monkeypatch)
    summary = fault_jobs.run(tmp_path, loader_workers=1, timeout_min=lambda fault: 1.0)
    store = ResultStore(tmp_path / "results")
    row = store.load().iloc[0]
    assert summary.counts == {"timeout": 1}, row.error_message
    assert "its last report: 'trial 1 of 1'" in row.error_message
    assert "most recent call first" in (tmp_path / "results" / row.log_path).read_text()
    assert fault_jobs.children() == []
    assert fault_jobs.run(tmp_path, loader_workers=1).counts == {"ok": 1}
    assert fault_jobs.leftovers(tmp_path) == []


def test_a_machine_without_a_file_handle_left_makes_no_picture_bad_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_folder(tmp_path / "data", counts=COUNTS)
    context = Context(results_dir=tmp_path / "results", cache_dir=tmp_path / "cache")
    spec = resolve_dataset(f"folder:{data}", cache_dir=context.cache_dir, data_dir=None)
    read, (soft, hard) = check.why_bad, resource.getrlimit(resource.RLIMIT_NOFILE)
    one_at_a_time = threading.Lock()  # the pictures are read in threads, and the limit is the whole process's

    def out_of_handles(samples: object, index: int) -> str | None:
        with one_at_a_time:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                return read(samples, index)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    monkeypatch.setattr(check, "why_bad", out_of_handles)
    with pytest.raises(OSError, match="Too many open files"):
        bad_pictures(spec, context.cache_dir)
    monkeypatch.undo()
    assert bad_pictures(spec, context.cache_dir) == {}
