"""Real jobs, really killed: after a rerun there is one row per job and nothing is damaged (promises 1 and 3)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from places import REPOSITORY

from bob.store import ResultStore

JOBS = 14  # of the smoke suite
KILLS = 20


def start(results: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "bob", "run", "smoke", "--results", str(results), "--display", "none"]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def job_processes(runner: subprocess.Popen) -> list[psutil.Process]:
    """The forked workers: what is younger than the preloaded server that they come from."""
    try:
        servers = psutil.Process(runner.pid).children()
        return [worker for server in servers for worker in server.children()]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_of_workers_and_runners_leave_one_row_per_job(tmp_path, monkeypatch):
    monkeypatch.setenv("BOB_CACHE", str(tmp_path / "cache"))
    results, dice = tmp_path / "results", random.Random(20)
    kills = {"worker": 0, "runner": 0}
    runner = start(results)
    while sum(kills.values()) < KILLS:
        time.sleep(dice.uniform(0.2, 3.0))
        if runner.poll() is not None:
            for record in sorted((results / "records").rglob("*.json"))[: dice.randint(1, JOBS)]:
                record.unlink()  # something to do again
            runner = start(results)
            continue
        workers = job_processes(runner)
        if workers and dice.random() < 0.6:
            dice.choice(workers).send_signal(signal.SIGKILL)
            kills["worker"] += 1
        elif kills["runner"] <= kills["worker"]:
            os.kill(runner.pid, signal.SIGKILL)
            runner.wait()
            kills["runner"] += 1
            runner = start(results)
    runner.wait(timeout=900)
    assert start(results).wait(timeout=900) == 0
    rows = pd.read_parquet(results / "results.parquet")
    assert min(kills.values()) >= 5
    assert len(rows) == rows.job_id.nunique() == JOBS
    assert set(rows.status) == {"ok"}
    assert not ResultStore(results).damaged()
