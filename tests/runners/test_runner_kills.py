"""The runner itself is killed, interrupted, or not alone: nothing is lost, nothing is left running."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from places import HELPERS
from runner_jobs import events

from bob.store import ResultStore


def start(folder: Path, count: int, act: str, seconds: float) -> subprocess.Popen[str]:
    """Start a runner in a process and a session of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{HELPERS}{os.pathsep}{HELPERS.parent}"}
    return subprocess.Popen(
        [sys.executable, "-m", "runner_jobs", str(folder), str(count), act, str(seconds)],
        **{"env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True},
        start_new_session=True,
    )


def finish(runner: subprocess.Popen[str]) -> dict[str, object]:
    """Wait for a runner's summary."""
    out, err = runner.communicate(timeout=120)
    assert runner.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def happened(folder: Path, word: str) -> int:
    """Count the events of a kind so far."""
    return sum(words[0] == word for words in events(folder / "cache"))


def wait_for(folder: Path, word: str, *, runner: subprocess.Popen[str], before: int = 0) -> None:
    """Wait until an event of a kind has happened, in addition to those ``before``."""
    while happened(folder, word) <= before:
        assert runner.poll() is None, runner.communicate()
        time.sleep(0.005)


def assert_gone(pids: set[int]) -> None:
    """Fail unless every process ends within seconds."""
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5)
    assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []


def descendants(runner: subprocess.Popen[str]) -> set[int]:
    """Return the numbers of every process below a runner."""
    return {child.pid for child in psutil.Process(runner.pid).children(recursive=True)}


@pytest.mark.parametrize("rounds", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_runner_killed_at_random_moments_leaves_one_row_per_job_and_no_orphan(tmp_path: Path, rounds: int) -> None:
    chance, folder = random.Random(rounds), tmp_path
    count = 8 * rounds + 8
    # Every start names the same jobs, and each round waits for jobs of its own: what is killed is at work.
    suite = (folder, count, "sleep", 0.1)
    store = ResultStore(folder / "results")
    for _ in range(rounds):
        before = happened(folder, "run")
        runner = start(*suite)
        wait_for(folder, "run", runner=runner, before=before + chance.randint(0, 4))
        time.sleep(chance.uniform(0.0, 0.2))
        below = descendants(runner)
        runner.kill()
        runner.communicate()
        assert_gone(below)
        if store.layout.root.is_dir():
            store.load()
    kept = sum(status == "ok" for status in store.statuses().values())
    assert 0 < kept < count, "the kills found nothing done, or nothing left to do"
    summary = finish(start(*suite))
    assert summary["done_before"] == kept
    table = store.load()
    assert len(table) == table.job_id.nunique() == count
    assert set(table.status) == {"ok"}
    assert store.damaged() == {}


def test_the_children_of_a_job_end_with_a_killed_runner(tmp_path: Path) -> None:
    runner = start(tmp_path, 1, "family", 0)
    wait_for(tmp_path, "child", runner=runner)
    below = descendants(runner)
    child = next(int(words[1]) for words in events(tmp_path / "cache") if words[0] == "child")
    assert child in below
    runner.kill()
    runner.communicate()
    assert_gone(below)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_jobs_save_and_the_next_run_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    runner = start(tmp_path, 3, "save", 5.0)
    wait_for(tmp_path, "run", runner=runner)
    below = descendants(runner)
    runner.send_signal(number)
    out, err = runner.communicate(timeout=30)
    summary = json.loads(out.splitlines()[-1])
    assert summary["interrupted"]
    assert summary["left"] == 3
    assert "3 of 3 jobs left" in err
    assert list((tmp_path / "cache").glob("saved-*"))
    assert ResultStore(tmp_path / "results").statuses() == {}
    assert_gone(below)
    assert finish(start(tmp_path, 3, "save", 0.02))["counts"] == {"ok": 3}


def test_a_second_interrupt_ends_jobs_that_do_not_listen_at_once(tmp_path: Path) -> None:
    runner = start(tmp_path, 2, "family", 0)
    wait_for(tmp_path, "child", runner=runner)
    below = descendants(runner)
    runner.send_signal(signal.SIGINT)
    time.sleep(0.1)
    runner.send_signal(signal.SIGINT)
    assert json.loads(runner.communicate(timeout=30)[0].splitlines()[-1])["left"] == 2
    assert_gone(below)


def test_two_runners_share_a_store_and_run_no_job_twice(tmp_path: Path) -> None:
    count = 12
    summaries = [finish(runner) for runner in [start(tmp_path, count, "sleep", 0.2) for _ in range(2)]]
    started = Counter(words[1] for words in events(tmp_path / "cache") if words[0] == "run")
    assert started == Counter({str(number): 1 for number in range(count)})
    for summary in summaries:
        assert summary["counts"].get("ok", 0) + summary["elsewhere"] + summary["done_before"] == count
    assert all(summary["counts"] for summary in summaries)
    assert len(ResultStore(tmp_path / "results").load()) == count


@pytest.mark.slow
def test_the_memory_of_the_runner_stays_flat_over_hundreds_of_jobs(tmp_path: Path) -> None:
    runner = start(tmp_path, 400, "quick", 0)
    sizes: dict[int, float] = {}
    while runner.poll() is None:
        ended = happened(tmp_path, "end")
        sizes[ended // 100] = psutil.Process(runner.pid).memory_info().rss / 1e6
        time.sleep(0.2)
    assert finish(runner)["counts"] == {"ok": 400}
    assert sizes[3] < sizes[1] + 8, sizes
