"""Heartbeats: who is at work on a store, by what it last said; what killed runners leave is forgotten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bob.runners.state.presence import FOLDER, FORGET_S, GONE_S, AtWork, Presence, forget_dead, runners_at_work

JOB = AtWork(job_id="ab12", what="toy.a toy/linear on toys", phase="trial 1 of 2", done=3, total=9, for_s=4.0)


def heartbeat(folder: Path, host: str, *, age_s: float = 0.0) -> Path:
    """Leave the heartbeat of a runner on some host, so many seconds old; return its file."""
    Presence(folder).tell([JOB], 2, at_once=True)
    (path,) = (folder / FOLDER).glob("*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": host}))
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def test_a_runner_tells_what_it_is_at_until_it_closes(tmp_path: Path) -> None:
    me = Presence(tmp_path, submission="one")
    me.tell([JOB], 5)
    (state,) = runners_at_work(tmp_path)
    assert (state.pid, state.submission, state.jobs, state.waiting) == (os.getpid(), "one", (JOB,), 5)
    me.tell([], 0)
    assert runners_at_work(tmp_path)[0].waiting == 5, "more than one heartbeat in a few seconds"
    me.tell([], 0, at_once=True)
    assert runners_at_work(tmp_path)[0].waiting == 0
    me.close()
    assert runners_at_work(tmp_path) == [] and list((tmp_path / FOLDER).iterdir()) == []


def test_a_runner_of_this_host_that_was_killed_is_gone_at_once(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from bob.runners.state.presence import Presence\n"
        "Presence(Path(sys.argv[1])).tell([], 1); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == -9
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    assert runners_at_work(tmp_path) == []
    forget_dead(tmp_path)
    assert list((tmp_path / FOLDER).iterdir()) == []


@pytest.mark.parametrize(
    ("age_s", "at_work", "kept"), [(0.0, 1, 1), (GONE_S + 5, 0, 1), (FORGET_S + 60, 0, 0)], ids=["now", "late", "old"]
)
def test_a_runner_elsewhere_counts_by_the_age_of_its_heartbeat(
    tmp_path: Path, age_s: float, at_work: int, kept: int
) -> None:
    heartbeat(tmp_path, "node-of-another-rack", age_s=age_s)
    assert len(runners_at_work(tmp_path)) == at_work
    forget_dead(tmp_path)
    assert len(list((tmp_path / FOLDER).iterdir())) == kept


def test_a_heartbeat_that_cannot_be_read_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    beside = heartbeat(tmp_path, "elsewhere")
    beside.with_name("damaged.json").write_text("{")
    beside.with_name("unreadable.json").mkdir()
    assert [state.host for state in runners_at_work(tmp_path)] == ["elsewhere"]
    assert "damaged.json cannot be read" in caplog.text and "unreadable.json cannot be read" in caplog.text


def test_a_heartbeat_that_cannot_be_removed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = heartbeat(tmp_path, "elsewhere", age_s=FORGET_S + 60)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    forget_dead(tmp_path)
    assert path.exists()
