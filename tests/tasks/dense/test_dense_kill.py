"""A detection job with the full head, killed in the middle of training, ends with the numbers of an undisturbed one."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from classification_jobs import context_of
from dense_jobs import dense_job
from places import HELPERS

from bob.jobs.run import run_job
from bob.store import ResultStore

FULL = {"head": "faster_rcnn", "levels": (4, 8, 16, 32), "channels": 256, "convs": 4}


def full_job(context):
    return dense_job("detection", context, "finetune", seen=48, size=96, **FULL)


def child(folder: Path, kill_at: int) -> int:
    """Run the job in a process of its own, which kills itself at a training step; 0 for never."""
    tests = HELPERS
    paths = os.pathsep.join([str(tests), str(tests.parent)])
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), str(kill_at)]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, check=False, timeout=900).returncode


def outcome_of(folder: Path) -> tuple[pd.Series, pd.DataFrame]:
    store = ResultStore(folder / "results")
    (row,) = store.load().to_dict("records")
    return row, store.outcomes(row["job_id"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_detection_job_killed_twice_ends_with_the_same_numbers(tmp_path):
    assert child(tmp_path / "whole", 0) == 0
    assert child(tmp_path / "killed", 5) == -signal.SIGKILL
    assert child(tmp_path / "killed", 10) == -signal.SIGKILL
    assert child(tmp_path / "killed", 0) == 0
    whole, killed = outcome_of(tmp_path / "whole"), outcome_of(tmp_path / "killed")
    assert killed[0]["resumed_from_step"] == 9
    assert pd.isna(whole[0]["resumed_from_step"])
    for name in ("box_ap", "box_ap50", "box_ar100", "score_low", "score_high"):
        assert killed[0][name] == whole[0][name], name
    assert np.array_equal(killed[1].attrs["replicates"], whole[1].attrs["replicates"])
    for name in ("sample_id", "boxes", "scores", "labels"):
        assert repr(killed[1][name].tolist()) == repr(whole[1][name].tolist()), name


if __name__ == "__main__":
    from bob.tasks import searched

    # The usual minute is too long for a test.
    searched.Checkpoints = functools.partial(searched.Checkpoints, every_steps=3)
    work_folder, at = Path(sys.argv[1]), int(sys.argv[2])

    def kill(phase: str, done: int, total: int) -> None:
        if phase.startswith("trial") and done == at:
            os.kill(os.getpid(), signal.SIGKILL)

    running = context_of(work_folder, progress=kill)
    run_job(full_job(running), running)
