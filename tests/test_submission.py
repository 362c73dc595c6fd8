"""A submission is kept whole: jobs with their ids, code with its changes; what started and never ended is known."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from runner_jobs import job

from bob import pins
from bob.cli.live import CHUNK_BYTES, _stream
from bob.cli.main import main
from bob.cluster import ClusterProfile
from bob.errors import StoreError
from bob.pins import Pin, changes, pin
from bob.runners import slurm
from bob.runners.aftermath import give_up, unfinished
from bob.runners.cancelling import Cancellations
from bob.runners.live import look, whole_allocations
from bob.runners.packing import Shape
from bob.runners.slurm import batch_text
from bob.runners.starts import Starts, out_of_attempts
from bob.runners.submission import (
    Array,
    Submission,
    jobs_of,
    new_id,
    read_jobs,
    read_submission,
    submissions,
    update_submission,
    write_submission,
)
from bob.store import ResultStore

PIN = Pin(git_commit="c0ffee", git_dirty=False, code="00", versions=(("torch", "2.13.0"),))
LITE0 = "tf_efficientnet_lite0.random"
FIELDS = {"backbone": LITE0, "task": "classification", "params": (("lrs", (0.1, 0.2)), ("k", 5))}
JOBS = [job(number, **FIELDS) for number in range(5)]


def submitted(folder: Path, **fields: object) -> Submission:
    """Write a submission of five jobs in two allocations and return it."""
    ids = [one.id for one in JOBS]
    values = {
        **{"id": new_id(), "suite": "toys", "executor": "slurm", "created_at": "2026-11-24T12:00:00+00:00"},
        **{"results_dir": str(folder / "results"), "cache_dir": str(folder / "cache"), "data_dir": str(folder)},
        **{"pin": PIN, "known": {}, "arrays": (Array(shape=Shape(), tasks=(tuple(ids[:3]), tuple(ids[3:]))),)},
        **{"attempts": 2},
    }
    submission = Submission(**{**values, **fields})
    write_submission(submission, JOBS)
    return submission


def finish(folder: Path, number: int, status: str = "ok") -> None:
    """Append a row of a job."""
    ResultStore(folder / "results").append({"job_id": JOBS[number].id, "status": status, "score": 0.5})


def fake_squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a ``squeue`` of one's own first on the path; return the file to which it writes what it is asked."""
    tool, asked = folder / "bin" / "squeue", folder / "asked"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$*" >> {asked}\n{script}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    return asked


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


def test_jobs_whose_allocation_is_gone_are_lost_until_they_have_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_squeue(tmp_path, monkeypatch, "true")
    submission = submitted(tmp_path)
    update_submission(replace(submission, arrays=(replace(submission.arrays[0], slurm_id="1"),)))
    finish(tmp_path, 0)
    Cancellations(tmp_path / "results").add([JOBS[4].id])
    assert look(tmp_path / "results").counts == {"ok": 1, "lost": 3, "cancelled": 1}


@pytest.mark.parametrize("is_here", [True, False], ids=["silent", "not-here"])
def test_nothing_is_called_lost_while_the_cluster_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_here: bool
) -> None:
    submission = submitted(tmp_path)
    update_submission(replace(submission, arrays=(replace(submission.arrays[0], slurm_id="1"),)))
    said = "Unable to contact slurm controller" if is_here else "squeue is not on this machine"
    tool = fake_squeue(tmp_path, monkeypatch, f"echo slurm_load_jobs error: {said} >&2; exit 1").parent / "bin/squeue"
    if not is_here:
        tool.unlink()
        monkeypatch.setenv("PATH", str(tool.parent))
    assert look(tmp_path / "results").counts == {"queued": 5}
    where = ["--results", str(tmp_path / "results")]
    assert main(["status", *where]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert main(["status", "--json", *where]) == 0
    assert said in json.loads(capsys.readouterr().out)["queue_unknown"]
    assert main(["retry", "--lost", *where]) == 2
    assert "nobody can say which of 5 jobs are lost" in capsys.readouterr().err
    assert main(["retry", "--failed", *where]) == 0
    assert "nothing to retry" in capsys.readouterr().out
    assert main(["cancel", "--all", *where]) == 0
    assert "no allocation is ended" in " ".join(capsys.readouterr().out.split())
    assert look(tmp_path / "results").counts == {"cancelled": 5}


@pytest.mark.parametrize(("owner", "me", "users"), [(4321, 1000, "1000,4321"), (0, 1000, "0,1000"), (None, 0, "0")])
def test_the_queue_is_asked_for_everybody_who_submitted_to_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int | None, me: int, users: str
) -> None:
    submission = submitted(tmp_path)
    update_submission(replace(submission, arrays=(replace(submission.arrays[0], slurm_id="7"),)))
    monkeypatch.setattr(slurm, "_owner", lambda submission: owner)
    monkeypatch.setattr(os, "getuid", lambda: me)
    asked = fake_squeue(tmp_path, monkeypatch, f'echo "7_0|{owner or 0}|RUNNING|None|n1"')
    live = look(tmp_path / "results")
    assert live.counts == {"queued": 3, "lost": 2}
    assert f"--user {users} " in asked.read_text()
    # What another submitted is stopped by its marker, not by SLURM, which would refuse.
    ids = {one.id for one in JOBS}
    assert whole_allocations(live, ids) == (["7_0"] if me == 0 else [])


def test_whose_a_submission_is_is_told_by_its_folder(tmp_path: Path) -> None:
    submission = submitted(tmp_path)
    assert slurm._owner(submission) == os.getuid()
    assert slurm._owner(replace(submission, id="gone")) is None


def test_a_letter_across_two_chunks_of_a_log_is_shown_whole_and_a_torn_one_as_torn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (CHUNK_BYTES - 1) + "é end ".encode() + "é".encode()[:1])
    _stream(path, follow=False, going_on=None)
    assert capsys.readouterr().out == "x" * (CHUNK_BYTES - 1) + "é end \ufffd"


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
    assert f"status=$?\n{sys.executable} -m bob.runners.aftermath {submission.folder} 0 " in after


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
