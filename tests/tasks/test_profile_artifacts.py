"""A profile as an artifact: a round at a call, gone on with after a kill, and replaced only by a quieter one."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from plain_job import JOB

from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context, UnfinishedError
from bob.jobs.needs import profile_need
from bob.jobs.profiles import PROFILE_FILE, is_renewed, is_settled, read_profile
from bob.store import ResultStore
from bob.tasks import profile_artifacts
from bob.tasks.artifact_makers import make

SIZED = replace(JOB, backbone="mobilenetv3_small_050.random", uses=("profile",), precision="fp32")
NEED = profile_need(SIZED)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Rounds cost nothing; the last entry is what others take of the host."""
    others = [0.0]

    def measure(taken: list, backbone: object, where: object) -> dict[str, float]:
        figures = {"latency_ms_b1_p50": 9.0, "latency_ms_b1_p95": 10.0, "throughput_img_s": 100.0}
        once = {} if taken else {"gmacs": 0.1}
        return {**once, **figures, "throughput_batch": 4, "profile_others_cpu": others[-1], "round_s": 4.0}

    monkeypatch.setattr(profile_artifacts, "next_round", measure)
    return others


def context(folder: Path, run: str = "first") -> Context:
    return Context(results_dir=folder / "results", cache_dir=folder / "cache", run=run)


def turns_until_made(where: Context) -> int:
    for number in range(1, 100):
        try:
            make(NEED, SIZED, where)
        except UnfinishedError:
            continue
        return number
    raise AssertionError("it is never whole")


def test_a_runner_gets_a_round_at_a_call_and_the_profile_at_the_last(tmp_path: Path, rounds: list[float]) -> None:
    where = context(tmp_path)
    assert turns_until_made(where) == 6
    figures = read_profile(ArtifactStore(where.cache_dir), NEED)
    assert figures is not None
    assert (figures["profile_rounds"], figures["profile_run"], figures["gmacs"]) == (6, "first", 0.1)
    assert figures["profile_key"] == NEED.key
    assert not (where.work_dir / NEED.key).exists() and not (where.results_dir / "profiles").exists()


def test_a_later_run_goes_on_with_rounds_of_the_last_hour_and_with_no_older_ones(
    tmp_path: Path, rounds: list[float]
) -> None:
    for _ in range(4):
        with pytest.raises(UnfinishedError):
            make(NEED, SIZED, context(tmp_path))
    kept = context(tmp_path).work_dir / NEED.key / profile_artifacts.ROUNDS_FILE
    with pytest.raises(UnfinishedError):
        make(NEED, SIZED, context(tmp_path, "second"))
    assert len(json.loads(kept.read_text())["rounds"]) == 5
    long_ago = time.time() - profile_artifacts.KEPT_S - 1
    os.utime(kept, (long_ago, long_ago))
    assert turns_until_made(context(tmp_path, "third")) == 6
    assert (read_profile(ArtifactStore(tmp_path / "cache"), NEED) or {})["profile_run"] == "third"


def test_a_disturbed_profile_gives_way_to_a_quieter_one_and_to_no_other(tmp_path: Path, rounds: list[float]) -> None:
    where, artifacts = context(tmp_path), ArtifactStore(tmp_path / "cache")
    rounds.append(0.4)
    turns_until_made(where)
    assert artifacts.has(NEED) and not is_settled(artifacts, NEED) and not is_renewed(artifacts, NEED)
    before = (artifacts.path(NEED) / PROFILE_FILE).read_bytes()
    for others in (0.5, 0.3):
        rounds.append(others)
        turns_until_made(where)
        assert (artifacts.path(NEED) / PROFILE_FILE).read_bytes() == before
    rounds.append(0.02)
    turns_until_made(where)
    assert is_settled(artifacts, NEED) and is_renewed(artifacts, NEED)
    figures = read_profile(artifacts, NEED) or {}
    assert figures["profile_others_cpu"] == 0.02 and "renewed" not in figures
    store = ResultStore(where.results_dir)
    assert [path.name.partition(".")[0] for path in store.layout.profiles.iterdir()] == [NEED.key]
    quiet = (artifacts.path(NEED) / PROFILE_FILE).read_bytes()
    rounds.append(0.01)
    turns_until_made(where)
    assert (artifacts.path(NEED) / PROFILE_FILE).read_bytes() == quiet, "a quiet one stays, whatever comes after it"


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"run": "first", "rounds": [{}]}', '{"rounds": 3}'])
def test_a_damaged_file_of_rounds_is_begun_anew(tmp_path: Path, rounds: list[float], content: str) -> None:
    kept = context(tmp_path).work_dir / NEED.key / profile_artifacts.ROUNDS_FILE
    kept.parent.mkdir(parents=True)
    kept.write_text(content)
    assert turns_until_made(context(tmp_path)) == 6


def test_the_rounds_of_another_host_are_not_gone_on_with(
    tmp_path: Path, rounds: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        with pytest.raises(UnfinishedError):
            make(NEED, SIZED, context(tmp_path))
    monkeypatch.setattr(profile_artifacts.socket, "gethostname", lambda: "elsewhere")
    assert turns_until_made(context(tmp_path, "second")) == 6


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_without_a_runner_it_is_made_in_one_go_for_real(tmp_path: Path, precision: str) -> None:
    small = replace(SIZED, precision=precision, input=replace(SIZED.input, image_size=32))
    path = make(profile_need(small), small, replace(context(tmp_path), run=""))
    figures = json.loads((path / PROFILE_FILE).read_text())
    assert figures["latency_ms_b1_low"] <= figures["latency_ms_b1_p50"] <= figures["latency_ms_b1_high"]
    assert (figures["profile_precision"], figures["profile_image_size"]) == (precision, 32)
