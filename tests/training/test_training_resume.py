"""Resume is exact: whatever ends a run, the next one goes on and gives the same weights, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from places import HELPERS
from training_toys import STEPS, evaluate, network, search, trial

from bob.core.errors import NumericalError
from bob.jobs.context import JobStopped
from bob.training.checkpoint import Checkpoints, rng_state, set_rng_state
from bob.training.search import run_search
from bob.training.termination import EXIT_CODE

CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from training_toys import search
from bob.training.search import run_search

torch.set_num_threads(1)
folder, number, at = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
steps = 0

def progress(phase, done, total):
    global steps
    steps += 1
    if steps == at:
        os.kill(os.getpid(), number)

run_search(search(folder, progress=progress))
"""


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    torch.set_num_threads(1)
    return run_search(search(tmp_path_factory.mktemp("whole")))


def assert_same(one, other):
    (found, weights), (other_found, other_weights) = one, other
    assert found.best == other_found.best
    for mine, theirs in zip(found.trials, other_found.trials, strict=True):
        for name in ("lr", "val_score", "val_loss", "error", "steps", "micro_batch"):
            assert mine[name] == theirs[name], name
    assert weights.keys() == other_weights.keys()
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name


def run_child(folder: Path, number: signal.Signals, at: int) -> int:
    paths = os.pathsep.join([str(HELPERS), str(HELPERS.parent)])
    command = [sys.executable, "-c", CHILD, str(folder), str(int(number)), str(at)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False, timeout=300).returncode


def stop(folder: Path, *, at: int) -> None:
    def progress(phase: str, done: int, total: int) -> None:
        if done == at:
            raise JobStopped

    with pytest.raises(JobStopped):
        run_search(search(folder, every_steps=1000, progress=progress))


@pytest.mark.parametrize("at", [8, pytest.param(STEPS + 3, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, uninterrupted, at):
    assert run_child(tmp_path / "job", signal.SIGKILL, at) == -signal.SIGKILL
    found, weights = run_search(search(tmp_path / "job"))
    assert found.resumed_from_step == 5 or at > STEPS
    assert_same((found, weights), uninterrupted)


def test_sigterm_leaves_a_checkpoint_of_that_very_step(tmp_path, uninterrupted):
    def terminate(phase: str, done: int, total: int) -> None:
        if done == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit) as caught:
        run_search(search(tmp_path / "job", every_steps=1000, progress=terminate))
    assert caught.value.code == EXIT_CODE
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    found, weights = run_search(search(tmp_path / "job", every_steps=1000))
    assert found.resumed_from_step == 7
    assert_same((found, weights), uninterrupted)


def test_a_runner_that_stops_the_job_loses_no_step(tmp_path, uninterrupted):
    stop(tmp_path, at=9)
    found, weights = run_search(search(tmp_path, every_steps=1000))
    assert found.resumed_from_step == 9
    assert_same((found, weights), uninterrupted)


def test_a_job_stopped_while_it_is_evaluated_does_not_train_that_trial_again(tmp_path, uninterrupted):
    def stopping(trained):
        raise JobStopped

    with pytest.raises(JobStopped):
        run_search(replace(search(tmp_path, every_steps=1000), evaluate=stopping))
    steps = []
    run = search(tmp_path, every_steps=1000, progress=lambda phase, done, total: steps.append(phase))
    assert_same(run_search(run), uninterrupted)
    assert steps == ["trial 2 of 2"] * STEPS


def test_a_damaged_checkpoint_starts_again_and_says_so(tmp_path, uninterrupted, caplog):
    stop(tmp_path, at=8)
    (tmp_path / "latest.pt").write_bytes(b"PK\x03\x04 torn")
    assert_same(run_search(search(tmp_path)), uninterrupted)
    assert "cannot be read" in caplog.text


def test_a_diverged_trial_loses_and_the_others_go_on(tmp_path):
    def diverging(lr: float):
        return trial(lr, clip_norm=0.0) if lr > 1 else trial(lr)

    found, _ = run_search(search(tmp_path, lrs=(1e30, 3e-2), build=diverging))
    assert found.best == 1
    assert "lr 1e+30" in found.trials[0]["error"]
    assert "step" in found.trials[0]["error"]
    assert found.trials[1]["error"] is None


def test_a_job_whose_every_trial_diverges_fails(tmp_path):
    with pytest.raises(NumericalError, match="every trial diverged"):
        run_search(search(tmp_path, lrs=(1e30,), build=lambda lr: trial(lr, clip_norm=0.0)))


def test_the_best_on_val_wins_and_an_edge_is_flagged(tmp_path):
    found, weights = run_search(search(tmp_path / "a", lrs=(3e-2, 1e-6, 1e-1)))
    scores = [entry["val_score"] for entry in found.trials]
    assert found.best == scores.index(max(scores))
    assert found.grid_edge() == (found.winner()["lr"] in (1e-6, 1e-1))
    model = network()
    model.load_state_dict(weights)
    again = trial(1.0, model=model)
    assert evaluate(again)[0] == max(scores)
    single, _ = run_search(search(tmp_path / "b", lrs=(1e-3,)))
    assert single.grid_edge() is False


def test_generators_come_back_exactly():
    state = rng_state(torch.device("cpu"))
    first = (random.random(), np.random.rand(), torch.rand(3).tolist(), torch.randn(3).tolist())
    set_rng_state(state, torch.device("cpu"))
    assert first == (random.random(), np.random.rand(), torch.rand(3).tolist(), torch.randn(3).tolist())


def test_checkpoints_are_read_without_running_code_and_removed_when_done(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.system, ("touch " + str(tmp_path / "ran"),))

    folder = tmp_path / "job"
    folder.mkdir()
    torch.save({"trap": Trap()}, folder / "latest.pt")
    checkpoints = Checkpoints(folder)
    assert checkpoints.load() is None
    assert not (tmp_path / "ran").exists()
    checkpoints.save({"step": 1})
    assert checkpoints.load() == {"step": 1}
    checkpoints.clear()
    assert not folder.exists()
