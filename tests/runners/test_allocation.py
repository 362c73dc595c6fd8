"""An allocation runs its jobs and no others, once; changed code is said, changed data are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from classification_jobs import LITE0, write_folder

from bob.cli.main import main
from bob.jobs.code_version import pin
from bob.runners.slurm import slurm, submitting
from bob.runners.slurm.allocation import Allocation, run_task
from bob.runners.slurm.submission import Submission, submissions, update_submission
from bob.store import ResultStore


@pytest.fixture
def submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    """Two jobs in an allocation each, as the command line submits them; SLURM itself is left out."""
    write_folder(tmp_path / "pictures")
    monkeypatch.setattr(submitting, "submit", lambda submission, profile: submission)
    monkeypatch.setattr(slurm, "has_slurm", lambda: False)
    monkeypatch.setattr(submitting, "require_slurm", lambda: None)
    flags = f"--task classification --protocol knn --data {tmp_path / 'pictures'} --set image_size=32 --seed 0 --seed 1"
    flags += " --set precision=fp32 --set profile=false --pack-min 0"
    command = ["run", "--backbone", LITE0, *flags.split(), "--executor", "slurm", "--cpus", "1"]
    assert main([*command, "--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]) == 0
    (found,) = submissions(tmp_path / "results")
    assert [len(array.tasks) for array in found.arrays] == [2]
    return found


def test_an_allocation_runs_its_own_jobs_once_and_its_rows_say_where_they_come_from(
    submission: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "77")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    task = Allocation(folder=str(submission.folder), array=0, task=1)
    assert task() == {"ok": 1, "left": 0}
    assert task() == {"left": 0}
    rows = pd.read_parquet(Path(submission.results_dir) / "results.parquet")
    assert rows.job_id.tolist() == list(submission.arrays[0].tasks[1])
    row = rows.iloc[0]
    assert (row.status, row.submission, row.allocation) == ("ok", submission.id, "77_1")
    assert not row.code_changed and row.git_commit == submission.pin.git_commit


def test_code_that_changed_since_the_submission_is_a_warning_and_marks_the_rows(
    submission: Submission, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = tuple((name, "0.1" if name == "timm" else version) for name, version in pin().versions)
    update_submission(replace(submission, pin=replace(submission.pin, code="other", versions=versions)))
    run_task(submission.folder, 0, 0)
    assert ResultStore(submission.results_dir).record(submission.arrays[0].tasks[0][0])["code_changed"] is True
    assert "timm was 0.1 at the submission" in (submission.folder / "code-changed.txt").read_text()
    assert main(["status", "--results", submission.results_dir]) == 0
    assert "The code changed between submission" in " ".join(capsys.readouterr().out.split())


def test_data_that_changed_since_the_submission_give_no_number(submission: Submission, tmp_path: Path) -> None:
    next((tmp_path / "pictures" / "test").rglob("*.png")).unlink()
    run_task(submission.folder, 0, 0)
    row = ResultStore(submission.results_dir).record(submission.arrays[0].tasks[0][0])
    assert row["status"] == "skipped" and "changed since the submission" in row["error_message"]
    assert row["score"] is None if "score" in row else True
