"""A real SLURM: arrays, signals, requeues, dead steps, a restarted slurmd; one row per job, resumed as uninterrupted.

``.ci/slurm start DIR`` starts a cluster on this machine; export the SLURM_CONF that it prints, then
``pytest -m slurm``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bob.runners.slurm.slurm import queue
from bob.runners.slurm.submission import read_submission, submissions
from bob.runners.state.presence import AtWork, RunnerState, runners_at_work
from bob.store import ResultStore

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

MAX_ARRAY_SIZE = 11
PATIENCE_S = 900
# Small jobs share allocations; a fine-tuning is long enough to be hit in the middle, and has one thread.
SUITE = """
name: cluster
backbones: {backbones}
datasets: [scenes]
tasks:
  - task: classification
    protocols: [{protocols}]
seeds: {seeds}
image_size: 64
budget: {{max_train: 80, max_val: 40, max_test: 40, images_seen: {seen}, trials: 1}}
precision: fp32
profile: false
cluster:
  cpus: 1
  time_min: 60
  pack_min: 0.3
  warn_s: 30
  rules:
    - {{protocol: finetune, time_min: 90}}
"""
BOTH = "[tf_efficientnet_lite0.in1k, tf_efficientnet_lite0.random]"
FINETUNE = "{protocol: finetune, params: {batch_size: 16}}"
ALL = f"linear, knn, fewshot, {FINETUNE}"


def suite_file(
    path: Path, *, protocols: str = ALL, backbones: str = BOTH, seeds: str = "[0, 1, 2, 3]", seen: int = 4800
) -> str:
    """Write a suite and return its path."""
    path.write_text(SUITE.format(protocols=protocols, backbones=backbones, seeds=seeds, seen=seen))
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
    if done.returncode:
        pytest.fail(f"no SLURM answers ({done.stderr.strip()}). Next: export SLURM_CONF=$(.ci/slurm start /tmp/slurm)")
    yield
    subprocess.run(["scancel", "--user", "root"], check=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for results and cache."""
    monkeypatch.setenv("BOB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BOB_RESULTS", str(tmp_path / "results"))
    return tmp_path


def bob(*arguments: str, code: int = 0) -> str:
    """Give a command and return what it prints."""
    done = subprocess.run([Path(sys.executable).with_name("bob"), *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def until(condition: Callable[[], Any], *, what: str, within_s: float = PATIENCE_S) -> Any:
    """Wait for a condition and return it."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen in {within_s:.0f} s; {queue()}"
        time.sleep(0.2)
    return found


def training(results: Path, *, beside: set[str] = frozenset(), steps: int = 3) -> tuple[RunnerState, AtWork] | None:
    """Return a runner whose fine-tuning is some steps on, other than of the jobs ``beside``."""
    for runner in runners_at_work(results):
        for job in runner.jobs:
            is_on = job.phase.startswith("trial") and job.done >= steps
            if "finetune" in job.what and is_on and job.job_id not in beside:
                return runner, job
    return None


def warn(allocation: str) -> None:
    """Send an allocation what SLURM sends before a time limit, and wait until it has given way."""
    # A step that ends at once is gone before scancel has reached all its parts: its own word says nothing.
    subprocess.run(["scancel", "--signal=USR2", allocation], capture_output=True, check=False)
    until(lambda: (one := queue().get(allocation)) is None or one.waits, what=f"{allocation} giving way", within_s=120)


def preempt(allocation: str) -> None:
    """Let a job of higher priority want the allocation's whole node, and wait until it has had it."""
    node = queue()[allocation].nodes
    wanted = ["sbatch", "--wait", "--partition=urgent", f"--nodelist={node}", "--exclusive", "--output=/dev/null"]
    subprocess.run([*wanted, "--wrap=true"], check=True, timeout=300, capture_output=True)
    assert (one := queue().get(allocation)) is not None and one.waits, f"{allocation} was not driven away: {one}"


def restart_slurmd(node: str) -> None:
    """Kill a node's daemon and start it again; what it has started goes on."""
    conf = Path(os.environ["SLURM_CONF"])
    os.kill(int((conf.parent / f"slurmd-{node}.pid").read_text()), signal.SIGKILL)
    time.sleep(1.0)
    subprocess.run(["slurmd", "-f", str(conf), "-N", node], check=True)


def test_a_suite_disturbed_in_every_way_has_one_row_per_job_and_the_numbers_of_an_undisturbed_one(folder: Path) -> None:
    results, suite = folder / "results", suite_file(folder / "cluster.yaml")
    planned = bob("plan", suite, "--executor", "slurm")
    assert "allocations for" in planned
    bob("run", suite, "--executor", "slurm")
    (submission,) = submissions(results)
    jobs = [job_id for array in submission.arrays for task in array.tasks for job_id in task]
    assert len(jobs) == len(set(jobs)) == 32
    assert all(len(array.tasks) <= MAX_ARRAY_SIZE for array in submission.arrays)
    assert any(len(task) > 1 for array in submission.arrays for task in array.tasks)
    assert "Nothing to submit" in bob("run", suite, "--executor", "slurm")
    assert len(submissions(results)) == 1

    hit: dict[str, str] = {}
    runner, job = until(lambda: training(results), what="a fine-tuning")
    warn(runner.allocation)
    hit[job.job_id] = "USR2"
    runner, job = until(lambda: training(results, beside=set(hit)), what="another fine-tuning")
    subprocess.run(["scontrol", "requeue", runner.allocation], check=True)
    hit[job.job_id] = "requeue"
    runner, job = until(lambda: training(results, beside=set(hit)), what="a third fine-tuning")
    os.kill(runner.pid, signal.SIGKILL)
    hit[job.job_id] = "kill -9"
    runner, job = until(lambda: training(results, beside=set(hit)), what="a fine-tuning to be driven away")
    preempt(runner.allocation)
    hit[job.job_id] = "preempted"
    until(lambda: training(results), what="a fine-tuning while slurmd is killed, be it one that has come back")
    for node in ("n1", "n2"):
        restart_slurmd(node)

    until(lambda: not queue(), what="the end of all allocations")
    state = json.loads(bob("status", "--json"))
    assert state["counts"] == {"ok": 32}, [bob("show", name) for name, kind in state["jobs"].items() if kind != "ok"]
    table = pd.read_parquet(results / "results.parquet")
    assert sorted(table.job_id) == sorted(jobs)
    store = ResultStore(results)
    assert Counter(store.attempts(job_id) for job_id in jobs) == {1: 32}
    assert (table.submission == submission.id).all() and (table.code_changed == False).all()  # noqa: E712
    assert set(table.allocation) == {
        f"{array.slurm_id}_{task}" for array in submission.arrays for task in range(len(array.tasks))
    }
    assert not any((results / name).exists() and list((results / name).rglob("*.json")) for name in ("runners",))
    rows = table.set_index("job_id")
    by_kind = {kind: rows.loc[job_id] for job_id, kind in hit.items()}
    assert by_kind["USR2"].resumed_from_step > 0 and by_kind["preempted"].resumed_from_step > 0
    compare_with_uninterrupted(folder, rows, sorted(hit))


def compare_with_uninterrupted(folder: Path, rows: pd.DataFrame, job_ids: list[str]) -> None:
    """Run the same fine-tunings here, undisturbed, and compare scores, trials and every sample's outcome."""
    alone = folder / "alone"
    backbones, seeds = (sorted(set(rows.loc[job_ids, name])) for name in ("backbone", "seed"))
    suite = suite_file(
        folder / "alone.yaml",
        protocols=FINETUNE,
        backbones=f"[{', '.join(backbones)}]",
        seeds=str(list(map(int, seeds))),
    )
    bob("run", suite, "--results", str(alone), "--workers", "2", "--display", "none")
    other = pd.read_parquet(alone / "results.parquet").set_index("job_id")
    for job_id in job_ids:
        assert (other.loc[job_id].status, other.loc[job_id].threads) == ("ok", rows.loc[job_id].threads)
        assert other.loc[job_id].score == rows.loc[job_id].score
        mine, theirs = (json.loads(frame.loc[job_id].search) for frame in (rows, other))
        assert [trial["val_loss"] for trial in mine] == [trial["val_loss"] for trial in theirs]
        pd.testing.assert_frame_equal(
            ResultStore(folder / "results").outcomes(job_id), ResultStore(alone).outcomes(job_id), check_exact=True
        )


def test_cancelled_jobs_leave_no_row_and_retry_runs_them(folder: Path) -> None:
    results = folder / "results"
    suite = suite_file(folder / "four.yaml", backbones="[tf_efficientnet_lite0.in1k]", seeds="[0]")
    bob("run", suite, "--executor", "slurm")
    _, job = until(lambda: training(results), what="a fine-tuning")
    assert job.job_id in bob("status") and "running" in bob("status")
    assert "Going on" in bob("logs", job.job_id) or bob("logs", job.job_id) != ""
    assert "Cancelled 1 of 1" in bob("cancel", job.job_id)
    until(lambda: not queue(), what="the end of all allocations")
    assert ResultStore(results).statuses().get(job.job_id) is None
    state = json.loads(bob("status", "--json"))
    assert state["counts"] == {"ok": 3, "cancelled": 1}
    bob("retry", "--cancelled", "--executor", "slurm", "--cpus", "1", "--wait")
    assert json.loads(bob("status", "--json"))["counts"] == {"ok": 4}
    assert ResultStore(results).record(job.job_id)["resumed_from_step"] > 0


def test_slurm_warns_before_the_time_limit_and_a_job_out_of_attempts_has_a_row_with_the_reason(folder: Path) -> None:
    results, one = folder / "results", "[tf_efficientnet_lite0.in1k]"
    suite = suite_file(folder / "one.yaml", protocols=FINETUNE, backbones=one, seeds="[0]", seen=160000)
    bob("run", suite, "--executor", "slurm", "--attempts", "1", "--time-min", "3")
    _, job = until(lambda: training(results), what="a fine-tuning")
    until(lambda: not queue(), what="the end of the allocation")
    row = ResultStore(results).record(job.job_id)
    assert (row["status"], row["error_class"]) == ("timeout", "OutOfAttempts")
    assert "started 1 times without an end: 1 x stopped by SIGUSR2" in row["error_message"]


def test_jobs_of_an_allocation_that_died_outright_are_lost_until_another_runner_takes_them_over(folder: Path) -> None:
    results, one = folder / "results", "[tf_efficientnet_lite0.in1k]"
    suite = suite_file(folder / "two.yaml", protocols="knn", backbones=one, seeds="[0, 1]")
    bob("run", suite, "--executor", "slurm", "--setup", "exit 3")
    until(lambda: not queue(), what="the end of all allocations")
    assert "2 lost" in bob("status") and ResultStore(results).statuses() == {}
    (submission,) = submissions(results)
    assert read_submission(submission.folder) == submission
    bob("retry", "--lost")
    assert json.loads(bob("status", "--json"))["counts"] == {"ok": 2}


def test_one_job_over_two_nodes_goes_on_after_a_warning_as_if_there_had_been_none(folder: Path) -> None:
    vit, results = "[vit_tiny_patch16_224.random]", folder / "results"
    suite = suite_file(folder / "nodes.yaml", protocols=FINETUNE, backbones=vit, seeds="[0]", seen=4800)
    bob("run", suite, "--executor", "slurm", "--nodes", "2", "--processes", "1")
    runner, job = until(lambda: training(results, steps=20), what="a fine-tuning over two nodes")
    warn(runner.allocation)
    assert ResultStore(results).statuses() == {}
    until(lambda: not queue(), what="the end of the allocation")
    bob("run", suite, "--results", str(folder / "alone"), "--processes", "2", "--workers", "1", "--display", "none")
    spread, alone = (ResultStore(folder / name).record(job.job_id) for name in ("results", "alone"))
    assert (spread["status"], spread["processes"], alone["processes"]) == ("ok", 2, 2)
    assert (spread["threads"], spread["resumed_from_step"] >= 20) == (alone["threads"], True)
    mine, theirs = (json.loads(row["search"])[0]["val_loss"] for row in (spread, alone))
    assert (mine, spread["score"]) == (theirs, alone["score"])
    pd.testing.assert_frame_equal(
        ResultStore(results).outcomes(job.job_id), ResultStore(folder / "alone").outcomes(job.job_id), check_exact=True
    )
