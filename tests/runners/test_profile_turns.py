"""Artifacts that are made in turns: rounds over all of a run, taken again when they were disturbed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from runner_jobs import events, job, note, run_suite

from bob.core import machine
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context, UnfinishedError
from bob.jobs.job import Job, Need
from bob.jobs.needs import profile_need
from bob.jobs.profiles import PROFILE_FILE, RENEWED
from bob.runners.local import local_runner, turns
from bob.runners.local.schedule import Schedule, Work
from bob.store import ResultStore

TURNS = 3


def take_turn(need: Need, job: Job, context: Context) -> Path:
    """Take a turn of a profile, which is whole at the third; the cache says how busy the host is."""
    if need.kind != "profile":
        return ArtifactStore(context.cache_dir).get_or_make(need, lambda folder: None)
    note(context, f"turn {job.backbone} {os.getpid()}")
    taken = [words for words in events(context.cache_dir) if words[:2] == ["turn", job.backbone]]
    if job.backbone == "dies.a" and len(taken) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    if len(taken) % TURNS:
        raise UnfinishedError
    artifacts = ArtifactStore(context.cache_dir)
    others = float((context.cache_dir / "others").read_text())
    path = artifacts.get_or_make(need, lambda folder: None) / PROFILE_FILE
    figures = {"profile_others_cpu": others, "profile_taken_at": f"2026-01-0{len(taken)}T00:00:00Z"}
    if path.exists():
        figures[RENEWED] = True
        ResultStore(context.results_dir).amend_profile(need.key, figures)
    path.write_text(json.dumps(figures))
    return path


def run(folder: Path, jobs: list[Job], *, others: float = 0.0) -> Any:
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    (folder / "cache" / "others").write_text(str(others))
    return run_suite(folder, jobs, make_artifact="test_profile_turns:take_turn", workers=2)


def profiled(*names: str) -> list[Job]:
    return [job(number, backbone=name, uses=("profile",)) for number, name in enumerate(names)]


def taken_by(folder: Path) -> list[str]:
    return [words[1] for words in events(folder / "cache") if words[0] == "turn"]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The host is quiet, as long as the last entry says so."""
    said = [True]
    for module in (local_runner, turns):
        monkeypatch.setattr(module, "is_quiet", lambda: said[-1])
    return said


def test_the_backbones_of_a_run_take_turns_each_in_a_process_of_its_own(tmp_path: Path) -> None:
    summary = run(tmp_path, profiled("a.x", "b.x", "c.x"))
    assert summary.counts == {"ok": 3}
    order = taken_by(tmp_path)
    assert [sorted(order[at : at + 3]) for at in (0, 3, 6)] == [["a.x", "b.x", "c.x"]] * 3 and len(order) == 9
    started = [words[0] for words in events(tmp_path / "cache")]
    assert started.index("run") == 9, "no job runs before the last turn"
    assert len({words[2] for words in events(tmp_path / "cache") if words[0] == "turn"}) == 9
    assert not list((tmp_path / "results" / "claims").rglob("*.lease")), "no claim outlives the run"


def test_a_turn_that_dies_costs_that_backbone_its_costs_and_nobody_else(tmp_path: Path) -> None:
    summary = run(tmp_path, profiled("dies.a", "b.x"))
    assert summary.counts == {"ok": 2}
    assert taken_by(tmp_path).count("b.x") == TURNS
    first, second = profiled("dies.a", "b.x")
    artifacts = ArtifactStore(tmp_path / "cache")
    assert not artifacts.has(profile_need(first)) and artifacts.has(profile_need(second))


def test_a_disturbed_profile_is_taken_again_at_the_end_of_the_run_if_the_host_is_quiet_then(tmp_path: Path) -> None:
    assert run(tmp_path, profiled("a.x"), others=0.5).counts == {"ok": 1}
    assert taken_by(tmp_path) == ["a.x"] * 2 * TURNS, "once, and once more at the end; not for ever"


def test_a_disturbed_profile_is_taken_again_by_a_later_run_of_a_finished_suite(tmp_path: Path, quiet: list) -> None:
    jobs = profiled("a.x", "b.x")
    quiet.append(False)
    run(tmp_path, jobs, others=0.5)
    run(tmp_path, jobs, others=0.0)
    assert len(taken_by(tmp_path)) == 2 * TURNS, "the host is as busy as before: nothing is taken again"
    quiet.append(True)
    assert run(tmp_path, jobs, others=0.0).done_before == 2
    assert len(taken_by(tmp_path)) == 4 * TURNS
    run(tmp_path, jobs, others=0.0)
    assert len(taken_by(tmp_path)) == 4 * TURNS, "a quiet profile stays"


def test_a_disturbed_profile_is_taken_again_before_new_jobs_of_its_backbone(tmp_path: Path, quiet: list) -> None:
    quiet.append(False)
    run(tmp_path, profiled("a.x"), others=0.5)
    quiet.append(True)
    run(tmp_path, [job(7, backbone="a.x", uses=("profile",))], others=0.0)
    words = [(entry[0], entry[1]) for entry in events(tmp_path / "cache")]
    assert words.index(("run", "7")) == len(words) - 2 and len(taken_by(tmp_path)) == 2 * TURNS


def test_another_store_on_the_same_cache_gets_what_was_taken_again(tmp_path: Path, quiet: list) -> None:
    jobs = profiled("a.x")
    quiet.append(False)
    run(tmp_path, jobs, others=0.5)
    other = tmp_path / "other"
    other.mkdir()
    (other / "cache").symlink_to(tmp_path / "cache")
    run(other, jobs, others=0.5)
    quiet.append(True)
    run(tmp_path, jobs, others=0.0)
    amended = other / "results" / "profiles"
    assert not amended.exists()
    run(other, jobs, others=0.0)
    assert [path.name.partition(".")[0] for path in amended.iterdir()] == [profile_need(jobs[0]).key]


def test_two_runners_on_one_store_never_wait_for_each_other(tmp_path: Path) -> None:
    """Each has the two profiles in another order, as what waits for them weighs differently."""
    (tmp_path / "cache").mkdir()
    runners = [
        subprocess.Popen(
            [sys.executable, "-c", f"import test_profile_turns as t; t.run_weighted({str(tmp_path)!r}, {first!r})"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for first in ("a.x", "b.x")
    ]
    assert [runner.wait(timeout=60) for runner in runners] == [0, 0]
    assert len(ResultStore(tmp_path / "results").load()) == 4
    assert len(taken_by(tmp_path)) == 2 * TURNS, "what one has made, the other does not make again"


def run_weighted(folder: str, first: str) -> None:
    """Be a runner of two jobs, the first of whose profiles comes first; each turn takes a moment."""
    jobs = [
        job(100 * ("ab".index(first[0]) + 1) + place, backbone=name, uses=("profile",), estimate_s=9.0 - place)
        for place, name in enumerate(sorted(("a.x", "b.x"), key=lambda name: name != first))
    ]
    assert run(Path(folder), jobs).counts == {"ok": 2}


def test_profiles_that_are_taken_again_take_turns_however_many_they_had_before(tmp_path: Path) -> None:
    schedule = Schedule(profiled("a.x", "b.x"), made=lambda need: False)
    first = schedule.take()
    assert first is not None and first.need is not None
    for _ in range(5):
        schedule.next_turn(first)
        other = schedule.take()
        if other is not None and other != first:
            schedule.done(other)
            first = schedule.take() or first
    schedule.done(first)
    again = [Work(job=one, need=profile_need(one)) for one in profiled("a.x", "b.x")]
    for work in again:
        schedule.add(work)
    order = []
    while len(order) < 4:
        work = schedule.take()
        assert work is not None
        if work.need is None:
            schedule.done(work)
            continue
        order.append(work.job.backbone)
        schedule.next_turn(work)
    assert order[:2] == order[2:] and set(order) == {"a.x", "b.x"}


def test_what_no_job_waits_for_runs_and_is_waited_for() -> None:
    owner = job(0, backbone="a.x", uses=("profile",))
    schedule = Schedule([], made=lambda need: True)
    assert schedule.finished
    work = Work(job=owner, need=profile_need(owner))
    schedule.add(work)
    assert not schedule.finished and schedule.take() == work
    schedule.next_turn(work)
    assert schedule.take() == work
    schedule.done(work)
    assert schedule.finished


def test_a_host_is_quiet_until_other_processes_compute() -> None:
    busy = [
        subprocess.Popen([sys.executable, "-c", "while True: sum(range(1000))"]) for _ in range(os.cpu_count() or 1)
    ]
    try:
        time.sleep(0.3)
        assert not machine.is_quiet(over_s=0.5)
    finally:
        for process in busy:
            process.kill()
            process.wait()
