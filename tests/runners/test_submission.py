"""A submission is kept whole: jobs with their ids, code with its changes; what started and never ended is known."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from submission_jobs import JOBS, finish, submitted

from bob.cli.main import main
from bob.core.errors import StoreError
from bob.jobs import code_version as pins
from bob.jobs.cluster_profile import ClusterProfile
from bob.jobs.code_version import changes, pin
from bob.runners.slurm.aftermath import give_up, unfinished
from bob.runners.slurm.packing import Shape
from bob.runners.slurm.slurm import batch_text
from bob.runners.slurm.submission import (
    Array,
    jobs_of,
    read_jobs,
    read_submission,
    submissions,
    update_submission,
)
from bob.runners.state.cancellations import Cancellations
from bob.runners.state.starts import Starts, out_of_attempts
from bob.store import ResultStore


def test_jobs_come_back_equal_with_their_ids(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    assert read_submission(submission.folder) == submission
    assert list(read_jobs(submission.folder).values()) == JOBS
    assert jobs_of(tmp_path / "results", [JOBS[1].id, "nobody"]) == {JOBS[1].id: (JOBS[1], submission)}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 3}', "null"])
def test_a_damaged_submission_is_an_error_by_name_and_hides_no_other(tmp_path: Path, content: str) -> None:
    whole, broken = submitted(tmp_path), submitted(tmp_path)
    (broken.folder / "submission.json").write_text(content)
    with pytest.raises(StoreError, match="cannot be read"):
        read_submission(broken.folder)
    assert submissions(tmp_path / "results") == [whole]


def test_a_submission_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    update_submission(replace(submission, format=99))
    with pytest.raises(StoreError, match="format 99"):
        read_submission(submission.folder)


def test_changed_code_is_told_apart_file_by_file_and_version_by_version(tmp_path: Path) -> None:
    plugin = tmp_path / "own.py"
    plugin.write_text("x = 1\n")
    before = pin([str(plugin)])
    assert changes(before, pin([str(plugin)])) == []
    plugin.write_text("x = 2\n")
    (said,) = changes(before, pin([str(plugin)]))
    assert "Python files differ" in said
    old = replace(before, git_commit="abc", versions=(("torch", "2.6.0"),))
    said = " ".join(changes(old, before))
    assert "commit was abc" in said and "torch was 2.6.0" in said
    assert dict(before.versions).keys() >= {"python", "torch", "timm", "battle-of-the-backbones"}


def test_uncommitted_changes_are_kept_as_a_patch_that_applies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> bytes:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout

    file = tmp_path / "bob" / "a.py"
    file.parent.mkdir()
    file.write_text("x = 1\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "first")
    monkeypatch.setattr(pins, "PACKAGE", file.parent)
    assert pins.dirty_diff() == b""
    file.write_text("x = 2\n")
    patch = pins.dirty_diff()
    git("checkout", "-q", "--", ".")
    (tmp_path / "p.diff").write_bytes(patch)
    git("apply", "p.diff")
    assert file.read_text() == "x = 2\n"


def test_what_an_allocation_left_is_what_has_no_row_since_and_nobody_cancelled(tmp_path: Path) -> None:
    finish(tmp_path, 2, "failed")
    submission = submitted(tmp_path, known={JOBS[2].id: 1})
    assert [one.id for one in unfinished(submission, 0, 0)] == [one.id for one in JOBS[:3]]
    finish(tmp_path, 0)
    Cancellations(tmp_path / "results").add([JOBS[1].id])
    assert unfinished(submission, 0, 0) == [JOBS[2]]
    finish(tmp_path, 2, "failed")
    assert unfinished(submission, 0, 0) == []


def test_a_job_is_given_up_after_its_attempts_with_how_each_ended(tmp_path: Path) -> None:
    submission, starts = submitted(tmp_path), Starts(tmp_path / "results")
    starts.begin(JOBS[0].id, "77_0")
    assert give_up(submission, 0, 0, starts_so_far=1) == JOBS[:3]
    starts.stop(JOBS[0].id, "stopped by SIGUSR2")
    starts.begin(JOBS[0].id, "77_0")
    assert out_of_attempts(starts, JOBS[0].id)["status"] == "failed"
    assert give_up(submission, 0, 0, starts_so_far=2) == JOBS[1:3]
    row = ResultStore(tmp_path / "results").record(JOBS[0].id)
    assert (row["status"], row["error_class"], row["submission"]) == ("failed", "OutOfAttempts", submission.id)
    assert "started 2 times without an end: 1 x stopped by SIGUSR2; 1 x killed without a word" in row["error_message"]
    assert starts.count(JOBS[0].id) == 0


def test_an_allocation_that_never_gets_anything_done_is_not_started_for_ever(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    assert give_up(submission, 0, 0, starts_so_far=1) == JOBS[:3]
    assert give_up(submission, 0, 0, starts_so_far=2) == []
    assert "never started" in ResultStore(tmp_path / "results").record(JOBS[2].id)["error_message"]


def test_one_that_broke_after_it_had_begun_is_not_started_for_ever_either(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    Starts(tmp_path / "results").begin(JOBS[0].id, "77_0")
    assert give_up(submission, 0, 0, starts_so_far=7) == JOBS[:3]
    assert give_up(submission, 0, 0, starts_so_far=8) == []


def test_jobs_that_had_no_turn_yet_are_not_given_up_while_others_of_their_allocation_finish(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    finish(tmp_path, 0)
    assert give_up(submission, 0, 0, starts_so_far=5) == JOBS[1:3]


def test_a_row_that_cannot_be_written_is_tried_again_at_the_next_start(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    (tmp_path / "results" / "records").write_text("no folder")
    (tmp_path / "results" / "claims").mkdir()
    Starts(tmp_path / "results").begin(JOBS[0].id, "77_0")
    Starts(tmp_path / "results").begin(JOBS[0].id, "77_0")
    with contextlib.suppress(StoreError):
        assert give_up(submission, 0, 0, starts_so_far=1) == JOBS[:3]
    assert Starts(tmp_path / "results").count(JOBS[0].id) == 2


def test_a_line_cut_short_by_a_kill_is_no_start(tmp_path: Path) -> None:
    starts = Starts(tmp_path)
    starts.begin("abcd", "here")
    with (tmp_path / "starts" / "ab" / "abcd").open("a") as file:
        file.write('{"event": "sta')
    assert starts.count("abcd") == 1


def test_the_batch_script_says_what_the_profile_says(tmp_path: Path) -> None:
    shape = Shape(partition="gpu", gpus=2, nodes=2, cpus=8, mem_gb=32.5, time_min=90, constraint="a100|h100")
    submission = submitted(tmp_path, arrays=(Array(shape=shape, tasks=(("a",), ("b",), ("c",))),), suite="small")
    profile = ClusterProfile(
        **{"account": "lab", "qos": "low", "setup": ["module load cuda"], "array_parallelism": 2, "warn_s": 200},
        options={"mail-type": "END"},
    )
    text = batch_text(submission, 0, profile)
    wanted = {
        *("--account=lab", "--array=0-2%2", "--constraint='a100|h100'", "--cpus-per-task=8", "--gpus-per-node=2"),
        *("--job-name=bob-small", "--mail-type=END", "--mem=30994M", "--nodes=2", "--ntasks-per-node=1"),
        *("--partition=gpu", "--qos=low", "--requeue", "--signal=USR2@200", "--time=90", "--open-mode=append"),
        f"--comment={submission.id}",
    }
    said = {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert wanted <= said
    assert {line.split("=")[0] for line in said - wanted} == {"--output"}
    assert "\nmodule load cuda\n" in text
    assert (
        f"srun --unbuffered --output {submission.folder}/slurm/%A_%a_%t_log.out --cpus-per-task=8 --nodes=1 --ntasks=1 "
        in text
    )
    after = text[text.index("srun") :]
    assert f"status=$?\n{sys.executable} -m bob.runners.slurm.aftermath {submission.folder} 0 " in after


def test_planning_what_would_be_submitted_needs_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = ["--executor", "slurm", "--results", str(tmp_path / "results"), "--partition", "gpu", "--pack-min", "0"]
    assert main(["plan", "smoke", *flags]) == 0
    assert "allocations for" in capsys.readouterr().out
    assert main(["run", "smoke", *flags, "--dry-run"]) == 0
    assert "#SBATCH --partition=gpu" in capsys.readouterr().out
    assert not (tmp_path / "results" / "submissions").exists()
    assert main(["run", "smoke", *flags]) == 2
    assert "sbatch and srun are not on this machine" in capsys.readouterr().err
    assert main(["status", "--json", "--results", str(tmp_path / "results")]) == 0
    json.loads(capsys.readouterr().out)
