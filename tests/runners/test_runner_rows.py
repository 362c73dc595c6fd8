"""Whatever becomes of a job, it leaves one row, and the others do not notice."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from runner_jobs import events, job, run_suite

from bob.core.errors import BobError
from bob.core.interrupts import Interrupts
from bob.runners.local import attempt, session, worker_process
from bob.runners.local.worker_process import WorkerProcess
from bob.runners.worker.assignment import Assignment
from bob.runners.worker.worker_server import ForkServer
from bob.store import ResultStore


def runs(folder: Path, number: int) -> list[list[str]]:
    """Return the starts of a job: its process, its server, its threads."""
    return [words[2:] for words in events(folder / "cache") if words[:2] == ["run", str(number)]]


def when(condition: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Do something once, from another thread, as soon as a condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


ENDINGS = {
    "quick": ("ok", None),
    "fail": ("failed", "ValueError: three is not four"),
    "odd": ("failed", "OddError: OddError, whose message cannot be shown: RuntimeError"),
    "exit": ("failed", "SystemExit: 0"),
    "memory": ("oom", "MemoryError: no room"),
    "hard_exit": ("failed", "WorkerDied: its process ended with exit code 3"),
    "segfault": ("failed", "WorkerDied: its process was killed by signal 11 (SIGSEGV)"),
    "chatter": ("ok", None),
}


def test_every_ending_is_one_row_with_its_reason_and_a_log(tmp_path: Path) -> None:
    jobs = {act: job(number, act) for number, act in enumerate(ENDINGS)}
    summary = run_suite(tmp_path, list(jobs.values()))
    store = ResultStore(tmp_path / "results")
    assert summary.counts == {"ok": 2, "failed": 5, "oom": 1}
    assert len(store.load()) == len(jobs)
    for act, (status, reason) in ENDINGS.items():
        row = store.record(jobs[act].id)
        assert (row["status"], store.attempts(jobs[act].id)) == (status, 1), act
        assert reason is None or f"{row['error_class']}: {row['error_message']}".startswith(reason), act
        assert "says hello" in Path(row["log_path"]).read_text(), act
    assert "Segmentation fault" in Path(store.record(jobs["segfault"].id)["log_path"]).read_text()
    assert "Traceback" in Path(store.record(jobs["fail"].id)["log_path"]).read_text()
    assert {str(failure).split(":")[0] for failure in summary.failures} == {"failed", "oom"}


def test_a_finished_suite_runs_nothing_and_starts_no_server(tmp_path: Path) -> None:
    jobs = [job(number) for number in range(3)]
    run_suite(tmp_path, [*jobs, jobs[0]])
    before = events(tmp_path / "cache")
    summary = run_suite(tmp_path, jobs, preload=("no_such_module_would_be_an_error",))
    assert (summary.counts, summary.done_before, events(tmp_path / "cache")) == ({}, 3, before)


def test_a_rerun_runs_only_what_has_no_number(tmp_path: Path) -> None:
    jobs = [job(0), job(1, "fail")]
    run_suite(tmp_path, jobs)
    summary = run_suite(tmp_path, [*jobs, job(2)])
    assert summary.counts == {"failed": 1, "ok": 1}
    assert [len(runs(tmp_path, number)) for number in range(3)] == [1, 2, 1]
    assert len(ResultStore(tmp_path / "results").load()) == 3


def test_a_job_that_cannot_run_is_skipped_with_its_reason_once(tmp_path: Path) -> None:
    jobs = [job(0), job(1, missing="no weights of toy.a are here")]
    assert run_suite(tmp_path, jobs).skipped == 1
    assert run_suite(tmp_path, jobs).skipped == 1
    store = ResultStore(tmp_path / "results")
    assert store.record(jobs[1].id)["error_message"] == "no weights of toy.a are here"
    assert (store.attempts(jobs[1].id), store.statuses()[jobs[1].id]) == (1, "skipped")


def test_a_job_that_returns_without_a_row_is_recorded_as_failed(tmp_path: Path) -> None:
    summary = run_suite(tmp_path, [job(0)], execute="runner_jobs:base_row")
    assert summary.counts == {"failed": 1}
    assert "left no row" in summary.failures[0].reason


def test_a_job_that_is_done_before_its_start_returns_is_settled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ResultStore(tmp_path / "results")

    class Slow(WorkerProcess):
        def __init__(self, server: ForkServer, assignment: Assignment) -> None:
            super().__init__(server, assignment)
            while not store.attempts(assignment.job.id):
                time.sleep(0.005)

    monkeypatch.setattr(session, "WorkerProcess", Slow)
    assert run_suite(tmp_path, [job(0), job(1, "fail")]).counts == {"ok": 1, "failed": 1}
    assert [store.attempts(job(0).id), store.attempts(job(1, "fail").id)] == [1, 1]


def test_a_module_that_the_server_cannot_import_is_an_error_not_a_silence(tmp_path: Path) -> None:
    with pytest.raises(BobError, match="no_such_module"):
        run_suite(tmp_path, [job(0)], preload=("no_such_module",))
    assert ResultStore(tmp_path / "results").statuses() == {}
    assert run_suite(tmp_path, [job(0)]).counts == {"ok": 1}


def test_a_killed_worker_costs_its_job_alone_and_no_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imports = tmp_path / "imports"
    monkeypatch.setenv("RUNNER_TEST_IMPORTS", str(imports))
    jobs = [job(number, "sleep", seconds=0.5) for number in range(4)]

    def kill() -> None:
        os.kill(int(runs(tmp_path, 0)[0][0]), signal.SIGKILL)

    when(lambda: bool(runs(tmp_path, 0)), kill)
    summary = run_suite(tmp_path, jobs)
    assert summary.counts == {"failed": 1, "ok": 3}
    assert "killed by signal 9" in ResultStore(tmp_path / "results").record(jobs[0].id)["error_message"]
    servers = {runs(tmp_path, number)[0][1] for number in range(4)}
    assert imports.read_text().split() == sorted(servers)
    assert len(servers) == 1


def test_a_lost_worker_is_gone_before_its_job_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was killed, and may be in the middle of writing its row: on a busy machine that was a second one."""
    asked: list[int] = []

    def running(pid: int) -> bool:
        asked.append(pid)
        assert len(runs(tmp_path, 0)) == 1, "the job runs again beside the worker that is not gone"
        return len(asked) < 4

    monkeypatch.setattr(worker_process, "is_running", running)
    assert run_suite(tmp_path, [job(0, "kill_server")]).counts == {"ok": 1}
    first, _ = runs(tmp_path, 0)
    assert asked == [int(first[0])] * 4


def test_jobs_that_lose_their_server_are_run_again_from_a_new_one(tmp_path: Path) -> None:
    jobs = [job(number, "sleep", seconds=1.0) for number in range(3)]

    def kill() -> None:
        os.kill(int(runs(tmp_path, 0)[0][1]), signal.SIGKILL)

    when(lambda: bool(runs(tmp_path, 0) and runs(tmp_path, 1)), kill)
    summary = run_suite(tmp_path, jobs)
    assert summary.counts == {"ok": 3}
    first, second = runs(tmp_path, 0)
    assert first[1] != second[1]
    assert not psutil.pid_exists(int(first[0]))
    assert all(ResultStore(tmp_path / "results").attempts(each.id) == 1 for each in jobs)


def test_a_job_over_its_time_is_ended_with_its_children(tmp_path: Path) -> None:
    summary = run_suite(tmp_path, [job(0, "family", timeout_min=0.02), job(1)])
    assert summary.counts == {"timeout": 1, "ok": 1}
    child = next(int(words[1]) for words in events(tmp_path / "cache") if words[0] == "child")
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "a child of the job lives on"
        time.sleep(0.02)


def test_a_job_over_its_time_may_save_before_it_ends(tmp_path: Path) -> None:
    summary = run_suite(tmp_path, [job(0, "save", seconds=60.0)], timeout_min=0.01, grace_s=30.0)
    assert summary.counts == {"timeout": 1}
    assert summary.wall_s < 20
    assert (tmp_path / "cache" / "saved-0").exists()


def test_a_profile_is_made_alone_with_all_threads_before_anything_else(tmp_path: Path) -> None:
    jobs = [job(n, seconds=0.1, backbone=f"toy{n}.a", uses=("features", "profile")) for n in range(3)]
    assert run_suite(tmp_path, jobs, workers=3).counts == {"ok": 3}
    seen = events(tmp_path / "cache")
    profiles = [words for words in seen if words[1].startswith("profile-")]
    assert seen[:6] == profiles
    assert [words[0] for words in profiles] == ["run", "end"] * 3
    # Busy waiting is only a burden where workers share the cores: the profiles' server does without the remedy.
    assert {words[3] for words in profiles if words[0] == "run"} != {runs(tmp_path, 0)[0][1]}
    assert {words[4] for words in profiles if words[0] == "run"} == {str(len(os.sched_getaffinity(0)))}
    assert run_suite(tmp_path, jobs).done_before == 3


def test_a_failed_profile_costs_no_job(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    jobs = [job(n, uses=("profile",), dataset="broken") for n in range(2)]
    assert run_suite(tmp_path, jobs, display="lines").counts == {"ok": 2}
    profiles = [words for words in events(tmp_path / "cache") if words[1].startswith("profile-")]
    assert [words[0] for words in profiles] == ["run"], "it is tried once"
    assert "No profile of toy.a (failed, ValueError: no artifact of broken things)" in capfd.readouterr().err


def test_features_are_made_once_and_a_failure_is_every_dependents_reason(tmp_path: Path) -> None:
    good = [job(0, uses=("features",), protocol=name) for name in ("linear", "knn", "fewshot")]
    bad = [job(1, uses=("features",), protocol=name, dataset="broken", dataset_fingerprint="b") for name in "ab"]
    assert run_suite(tmp_path, [*good, *bad]).counts == {"ok": 3, "failed": 2}
    made = [words for words in events(tmp_path / "cache") if words[0] == "run" and words[1].startswith("features-")]
    assert len(made) == 2
    store = ResultStore(tmp_path / "results")
    assert {store.record(each.id)["error_message"] for each in bad} == {"no artifact of broken things"}
    assert "no artifact of broken things" in Path(store.record(bad[0].id)["log_path"]).read_text()


def test_a_kill_is_called_out_of_memory_only_with_the_kernels_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(0, "kill")]
    monkeypatch.setattr(attempt, "oom_kills", lambda: 3)
    assert run_suite(tmp_path, jobs).failures[0].reason.endswith("possibly out of memory")
    monkeypatch.setattr(attempt, "oom_kills", itertools.count().__next__)
    assert run_suite(tmp_path, jobs).counts == {"oom": 1}


def test_an_interrupt_breaks_off_a_wait_that_cannot_be_torn() -> None:
    before = signal.getsignal(signal.SIGINT)
    gc.disable()  # what the interrupt raises inside a callback of the collector is lost
    try:
        with Interrupts() as interrupts:
            with interrupts.breaking():
                os.kill(os.getpid(), signal.SIGINT)
                pytest.fail("the block goes on after the interrupt")
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupts.count == 2
    finally:
        gc.enable()
    assert signal.getsignal(signal.SIGINT) is before
