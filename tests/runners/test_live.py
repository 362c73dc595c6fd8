"""How jobs are: by the store, by SLURM's queue of everybody who submitted to it, and where the queue says nothing."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from submission_jobs import JOBS, finish, submitted

from bob.cli.main import main
from bob.cli.queue_commands import CHUNK_BYTES, _stream
from bob.runners.live_jobs import look, whole_allocations
from bob.runners.slurm import slurm
from bob.runners.slurm.submission import Submission, update_submission
from bob.runners.state.cancellations import Cancellations


def accepted(folder: Path, slurm_id: str) -> Submission:
    """Write a submission that SLURM has accepted under a number, and return it."""
    submission = submitted(folder)
    update_submission(replace(submission, arrays=(replace(submission.arrays[0], slurm_id=slurm_id),)))
    return submission


def fake_squeue(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """Put a ``squeue`` of one's own first on the path; return the file to which it writes what it is asked."""
    tool, asked = folder / "bin" / "squeue", folder / "asked"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$*" >> {asked}\n{script}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    return asked


def test_jobs_whose_allocation_is_gone_are_lost_until_they_have_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_squeue(tmp_path, monkeypatch, "true")
    accepted(tmp_path, "1")
    finish(tmp_path, 0)
    Cancellations(tmp_path / "results").add([JOBS[4].id])
    assert look(tmp_path / "results").counts == {"ok": 1, "lost": 3, "cancelled": 1}


@pytest.mark.parametrize("is_here", [True, False], ids=["silent", "not-here"])
def test_nothing_is_called_lost_while_the_cluster_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_here: bool
) -> None:
    accepted(tmp_path, "1")
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
    assert "so is which of 5 jobs are lost" in capsys.readouterr().err
    assert main(["retry", "--failed", *where]) == 0
    assert "nothing to retry" in capsys.readouterr().out
    assert main(["cancel", "--all", *where]) == 0
    assert "no allocation is ended" in " ".join(capsys.readouterr().out.split())
    assert look(tmp_path / "results").counts == {"cancelled": 5}
    for number in range(len(JOBS)):
        finish(tmp_path, number)
    assert look(tmp_path / "results").queue_error == "", "nothing depends on the queue any more"


@pytest.mark.parametrize(("owner", "me", "users"), [(4321, 1000, "1000,4321"), (0, 1000, "0,1000"), (None, 0, "0")])
def test_the_queue_is_asked_for_everybody_who_submitted_to_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int | None, me: int, users: str
) -> None:
    accepted(tmp_path, "7")
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
