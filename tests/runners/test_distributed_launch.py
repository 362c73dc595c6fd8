"""Several processes of one job, started and ended: one row whatever becomes of them, none of them left, no hang."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import rank_jobs
from places import HELPERS
from rank_jobs import assignment, events, launched
from runner_jobs import run_suite

from bob.core.devices import plan_slots
from bob.core.errors import ConfigError
from bob.core.interrupts import Interrupts
from bob.jobs.context import JobStopped
from bob.jobs.job import Budget, Need
from bob.runners.ranks.rank_commands import local_commands, processes_per_node, srun_command
from bob.runners.ranks.rank_launch import processes_of
from bob.runners.ranks.rank_process import take_place
from bob.store import ResultStore

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def modules_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HELPERS))


def ranks_of(folder: Path) -> list[int]:
    return [int(words[2]) for words in events(folder / "cache") if words[0] == "run"]


def wait_until(condition, *, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def the_row(folder: Path) -> dict:
    """Return the one record of the one job."""
    records = list((folder / "results" / "records").rglob("*.json"))
    assert len(records) == 1, records
    store = ResultStore(folder / "results")
    ((job_id, _),) = store.statuses().items()
    return store.record(job_id)


def test_rank_0_alone_writes_the_row(tmp_path):
    assert launched(tmp_path, "quick", processes=3)["status"] == "ok"
    runs = sorted(words[1:2] + words[3:] for words in events(tmp_path / "cache") if words[0] == "run")
    assert runs == [["0", "3", "3"], ["1", "3", "3"], ["2", "3", "3"]]
    assert len(set(ranks_of(tmp_path))) == 3
    assert os.getpid() not in ranks_of(tmp_path)
    assert the_row(tmp_path)["status"] == "ok"


@pytest.mark.parametrize(
    ("act", "error_class", "message"),
    [
        ("fail", "ValueError", "rank 1 of 2: three is not four"),
        ("die", "WorkerDied", "rank 1 of 2: its process was killed by signal 9 (SIGKILL)"),
        ("echo", "WorkerDied", "rank 1 of 2: its process was killed by signal 9 (SIGKILL)"),
    ],
)
def test_the_rank_that_failed_gives_the_row_and_no_other_outlives_it(tmp_path, act, error_class, message):
    started = time.monotonic()
    outcome = launched(tmp_path, act)
    assert time.monotonic() - started < PATIENCE_S
    row = the_row(tmp_path)
    assert (row["status"], row["error_class"], row["error_message"]) == ("failed", error_class, message)
    assert outcome["error_message"] == message
    assert len(ranks_of(tmp_path)) == 2
    assert not any(map(alive, ranks_of(tmp_path)))


def test_memory_that_runs_out_on_one_rank_starts_all_again_with_half_the_micro_batch(tmp_path):
    assert launched(tmp_path, "hungry")["status"] == "ok"
    limits = [words[2] for words in events(tmp_path / "cache") if words[:2] == ["limit", "1"]]
    assert limits == ["None", "5", "3", "2"]
    assert the_row(tmp_path)["status"] == "ok"
    assert not any(map(alive, ranks_of(tmp_path)))


def test_a_back_off_that_does_not_help_ends_in_an_oom_row(tmp_path):
    assert launched(tmp_path, "starving")["status"] == "oom"
    assert the_row(tmp_path)["error_class"] == "MicroBatchError"
    # One of the ranks may be ended before it has said anything.
    limits = [words[2] for words in events(tmp_path / "cache") if words[0] == "limit"]
    assert sorted(dict.fromkeys(limits)) == ["2", "None"]


def test_a_port_that_is_taken_is_replaced(tmp_path):
    ports = iter([1, 29_500])
    assert launched(tmp_path, "port", port=lambda: next(ports))["status"] == "ok"
    assert len(ranks_of(tmp_path)) == 4


def test_a_stop_reaches_rank_0_which_saves_and_leaves_no_row(tmp_path):
    def progress(phase: str, done: int, total: int) -> None:
        if phase == "waiting" and done > 5:
            raise JobStopped

    assert launched(tmp_path, "save", progress=progress) == {"status": "stopped"}
    assert ["saved", "0"] in events(tmp_path / "cache")
    assert not list((tmp_path / "results").rglob("*.json"))
    assert not any(map(alive, ranks_of(tmp_path)))


def test_ranks_end_with_a_launcher_that_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    launcher = subprocess.Popen([sys.executable, "-m", "rank_jobs", str(tmp_path), "hang"], env=environment)
    try:
        wait_until(lambda: len(ranks_of(tmp_path)) == 2)
        assert all(map(alive, ranks_of(tmp_path)))
    finally:
        launcher.kill()
        launcher.wait()
    wait_until(lambda: not any(map(alive, ranks_of(tmp_path))))


def run_ranks(folder: Path, act: str, **options):
    names = {name: f"rank_jobs:{name}" for name in ("execute", "failure_row")}
    return run_suite(folder, [rank_jobs.job(act)], preload=("rank_jobs",), workers=1, processes=2, **names, **options)


def test_the_runner_runs_a_job_in_fresh_processes_and_counts_one_row(tmp_path):
    assert run_ranks(tmp_path, "quick").counts == {"ok": 1}
    assert len(ranks_of(tmp_path)) == 2
    assert the_row(tmp_path)["status"] == "ok"


@pytest.mark.parametrize("act", ["fail", "die"])
def test_the_runner_gets_one_failed_row_and_no_process_is_left(tmp_path, act):
    assert run_ranks(tmp_path, act).counts == {"failed": 1}
    assert the_row(tmp_path)["error_message"].startswith("rank 1 of 2")
    assert not any(map(alive, ranks_of(tmp_path)))


@pytest.mark.parametrize("moment", ["starting", "at work"])
def test_slurms_warning_to_every_process_of_a_step_stops_a_job_over_several_and_leaves_no_row(tmp_path, moment):
    def is_time() -> bool:
        if moment == "at work":
            return len(ranks_of(tmp_path)) == 2
        return any(map(is_rank, psutil.Process().children(recursive=True)))

    def is_rank(process: psutil.Process) -> bool:
        try:
            return "bob.runners.ranks.rank_process" in process.cmdline()
        except psutil.NoSuchProcess:
            return False

    def warn() -> None:
        wait_until(is_time)
        for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGUSR2)

    interrupts = Interrupts(patient=True)
    warner = threading.Thread(target=warn)
    warner.start()
    with interrupts:
        summary = run_ranks(tmp_path, "save", interrupts=interrupts, grace_s=30.0)
    warner.join()
    assert (summary.counts, summary.left, summary.interrupted) == ({}, 1, True)
    assert ResultStore(tmp_path / "results").statuses() == {}
    assert (["saved", "0"] in events(tmp_path / "cache")) == (moment == "at work")
    assert not any(map(alive, ranks_of(tmp_path)))


def test_a_job_over_its_time_is_stopped_with_all_its_ranks(tmp_path):
    assert run_ranks(tmp_path, "hang", timeout_min=3 / 60).counts == {"timeout": 1}
    assert len(ranks_of(tmp_path)) == 2
    wait_until(lambda: not any(map(alive, ranks_of(tmp_path))))


def test_only_what_trains_runs_in_several_processes():
    trains, probes = rank_jobs.job("quick"), replace(rank_jobs.job("quick"), budget=Budget())
    assert processes_of(trains, None, 4) == 4
    assert processes_of(trains, Need(kind="classifier", content=()), 4) == 4
    assert processes_of(trains, Need(kind="profile", content=()), 4) == 1
    assert processes_of(probes, None, 4) == 1


def test_a_slot_has_a_gpu_or_a_share_of_the_cores_for_each_process():
    slots = plan_slots(gpu_names=("0", "1", "2", "3", "4"), cores=8, processes=2)
    assert [(slot.gpu, slot.threads) for slot in slots] == [("0,1", 4), ("2,3", 4)]
    with pytest.raises(ConfigError, match="3 processes on 2 GPUs"):
        plan_slots(gpu_names=("0", "1"), cores=8, processes=3)
    assert len(plan_slots(gpu_names=(), cores=8, memory_gb=100.0, processes=4)) == 2
    assert len(plan_slots(gpu_names=(), cores=2, memory_gb=100.0, processes=4)) == 1


def test_ranks_on_gpus_see_all_of_the_slots_and_have_one_each(tmp_path):
    told = assignment(tmp_path, "quick")
    told = replace(told, gpu="2,3", context=replace(told.context, device="cuda:0"))
    for rank, (_, variables) in enumerate(local_commands(told, {"HOME": "/x"}, port=29_500)):
        facts = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "CUDA_VISIBLE_DEVICES": "2,3"}
        facts |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "false", "HOME": "/x"}
        assert facts.items() <= variables.items()


def test_several_nodes_are_one_srun_whose_ranks_find_their_place_in_slurms_variables(tmp_path):
    told = assignment(tmp_path, "quick", processes=4)
    told = replace(told, nodes=2, gpu="0,1", context=replace(told.context, device="cuda:0", threads=3))
    command, variables = srun_command(told, {"RANK": "7", "LOCAL_RANK": "7"}, port=29_500, first_host="node-a")
    wanted = {"--overlap", "--nodes=2", "--ntasks=4", "--ntasks-per-node=2", "--cpus-per-task=3"}
    assert wanted | {"--kill-on-bad-exit=1"} <= set(command)
    assert command[0] == "srun"
    assert command[-3:] == [sys.executable, "-m", "bob.runners.ranks.rank_process"]
    assert variables["MASTER_ADDR"] == "node-a"
    assert variables["LOCAL_WORLD_SIZE"] == "2"
    assert not {"RANK", "LOCAL_RANK"} & set(variables)
    own = {**variables, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    take_place(own, gpus="0,1")
    assert (own["RANK"], own["LOCAL_RANK"]) == ("3", "1")
    bound = {**variables, "SLURM_PROCID": "3", "SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "1"}
    take_place(bound, gpus="0,1")
    assert (bound["RANK"], bound["LOCAL_RANK"]) == ("3", "0")
    with pytest.raises(ConfigError, match="3 processes on 2 nodes"):
        processes_per_node(3, 2)
