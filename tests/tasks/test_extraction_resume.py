"""A stopped or killed extraction goes on where it was, and its artifact is bit-equal to an undisturbed one."""

from __future__ import annotations

import functools
import json
import logging
import multiprocessing
import random
import time
from pathlib import Path

import numpy as np
import pytest
from classification_jobs import CONTROL, LITE0, context_of, job_of, write_folder
from store_workers import said, say

from bob.jobs.context import Context, JobStopped
from bob.jobs.job import Job
from bob.jobs.needs import features_need
from bob.tasks import features as extraction
from bob.tasks.artifact_makers import make
from bob.tasks.unfinished_features import Done, Unfinished

COUNTS = {"train": 34, "val": 6, "test": 24}  # of each of three classes: 4 + 1 + 3 batches
BATCHES = 8
FORK = multiprocessing.get_context("fork")
TIMES = ("seconds", "pictures_per_s", "infer_peak_mb")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("pictures"), counts=COUNTS)


def content_of(folder: Path) -> dict[str, object]:
    """Return every file of an artifact, less the times."""
    files: dict[str, object] = {path.name: path.read_bytes() for path in folder.iterdir()}
    meta = json.loads(files.pop("meta.json"))
    return {**files, **{name: value for name, value in meta.items() if name not in TIMES}}


class Reports:
    """Notes progress reports, and stops the job at one of them."""

    def __init__(self, stop_at: int = 0) -> None:
        self.seen: list[tuple[str, int, int]] = []
        self._stop_at = stop_at

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.seen.append((phase, done, total))
        if len(self.seen) == self._stop_at:
            raise JobStopped("asked to")


def attempt(data: Path, folder: Path, backbone: str, reports: Reports) -> Path:
    context = context_of(folder, reports)
    job = job_of(data, context, "linear", backbone=backbone, size=32)
    return make(features_need(job), job, context)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict, list]]:
    """By backbone the artifact of an undisturbed pass, and its reports."""
    made = {}
    for backbone in (LITE0, CONTROL):
        reports = Reports()
        folder = attempt(data, tmp_path_factory.mktemp("whole"), backbone, reports)
        made[backbone] = content_of(folder), reports.seen
        assert len(reports.seen) == BATCHES
    return made


@pytest.mark.parametrize(("backbone", "stops"), [(LITE0, (1, 3, 3)), (CONTROL, (3, 3))])
def test_a_stopped_extraction_computes_no_batch_twice_and_is_bit_equal(data, tmp_path, whole, backbone, stops) -> None:
    seen = []
    for stop in stops:
        reports = Reports(stop)
        with pytest.raises(JobStopped):
            attempt(data, tmp_path, backbone, reports)
        seen += reports.seen
    last = Reports()
    folder = attempt(data, tmp_path, backbone, last)
    content, undisturbed = whole[backbone]
    assert seen + last.seen == undisturbed
    assert content_of(folder) == content
    assert list((tmp_path / "results" / "work").iterdir()) == []


def test_a_stop_after_the_last_batch_leaves_only_the_writing(data, tmp_path, whole) -> None:
    with pytest.raises(JobStopped):
        attempt(data, tmp_path, LITE0, Reports(BATCHES))
    last = Reports()
    assert content_of(attempt(data, tmp_path, LITE0, last)) == whole[LITE0][0]
    assert last.seen == []


def test_the_seconds_of_all_attempts_add_up(data, tmp_path) -> None:
    class Slow(Reports):
        def __call__(self, phase: str, done: int, total: int) -> None:
            time.sleep(0.1)
            super().__call__(phase, done, total)

    with pytest.raises(JobStopped):
        attempt(data, tmp_path, LITE0, Slow(7))
    folder = attempt(data, tmp_path, LITE0, Reports())
    assert json.loads((folder / "meta.json").read_text())["seconds"] > 0.1 * 6


def _make_saving_always(job: Job, context: Context, log: Path) -> None:
    extraction.Unfinished = functools.partial(Unfinished, every_s=0.0)

    def report(phase: str, done: int, total: int) -> None:
        say(log, f"{phase} {done} of {total}")
        time.sleep(0.05)

    make(features_need(job), job, Context(**{**vars(context), "progress": report}))


@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_an_extraction_killed_at_random_goes_on_and_is_bit_equal(data, tmp_path, whole, kills: int) -> None:
    dice, context = random.Random(kills), context_of(tmp_path)
    job = job_of(data, context, "linear", size=32)
    log, killed, rounds = tmp_path / "log", 0, 0
    while killed < kills:
        rounds += 1
        context = context_of(tmp_path / f"round-{killed // 4}")
        artifact = context.cache_dir / "artifacts" / features_need(job).key
        before = len(said(log))
        maker = FORK.Process(target=_make_saving_always, args=(job, context, log))
        maker.start()
        while maker.is_alive() and len(said(log)) <= before + 1:
            time.sleep(0.005)
        time.sleep(dice.uniform(0, 0.1))
        maker.kill()
        maker.join()
        killed += 1
        assert not artifact.exists() or maker.exitcode == 0
        if killed % 4 == 0:
            maker = FORK.Process(target=_make_saving_always, args=(job, context, log))
            maker.start()
            maker.join(120)
            assert maker.exitcode == 0
            assert content_of(artifact) == whole[LITE0][0]
    passes = len(said(log)) / max(1, kills // 4)
    # Starting from nothing each time would have cost two batches and more per kill.
    assert passes < BATCHES + 4 * 1.5, f"{passes} batches for each artifact of {BATCHES}"


@pytest.mark.parametrize("harm", ["progress", "rows", "threads"])
def test_damaged_or_foreign_progress_is_named_and_the_extraction_starts_again(
    data, tmp_path, whole, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    with pytest.raises(JobStopped):
        attempt(data, tmp_path, LITE0, Reports(3))
    (progress,) = (tmp_path / "results" / "work").glob("*/*/progress.json")
    if harm == "progress":
        progress.write_text(progress.read_text()[:-9])
    elif harm == "threads":
        progress.write_text(progress.read_text().replace('"threads":1', '"threads":7'))
    else:
        rows = progress.with_name("train.rows")
        rows.write_bytes(rows.read_bytes()[:-40] + b"\1" * 40)
    reports = Reports()
    with caplog.at_level(logging.WARNING):
        folder = attempt(data, tmp_path, LITE0, reports)
    assert "starts again" in caplog.text and str(progress.parent) in caplog.text
    assert reports.seen == whole[LITE0][1]
    assert content_of(folder) == whole[LITE0][0]


ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


def unfinished(folder: Path, **circumstances: str) -> Unfinished:
    return Unfinished(folder, {"device": "cpu", **circumstances}, batch=2)


def test_a_maker_overtaken_by_its_successor_neither_disturbs_it_nor_fails(tmp_path: Path, caplog) -> None:
    folder, empty = tmp_path / "KEY", np.zeros_like(ROWS)
    stalled = unfinished(folder)
    stalled.advance("train", ROWS, done=4, seconds=1.0)
    stalled.save()
    successor = unfinished(folder)
    assert successor.restore("train", empty).rows == 4
    empty[4:6] = ROWS[4:6]
    successor.advance("train", empty, done=6, seconds=2.0)
    successor.save()
    stalled.advance("train", -ROWS, done=10, seconds=9.0)
    stalled.save()
    assert "kept no longer" in caplog.text
    again = np.zeros_like(ROWS)
    third = unfinished(folder).restore("train", again)
    assert (third.rows, third.seconds) == (6, 2.0)
    assert (again[:6] == ROWS[:6]).all() and not again[6:].any()


def test_an_attempt_that_came_less_far_does_not_replace_one_that_came_further(tmp_path: Path) -> None:
    first = unfinished(tmp_path)
    first.advance("train", ROWS, done=10, seconds=1.0)
    first.advance("test", ROWS, done=8, seconds=1.0)
    first.save()
    second, rows = unfinished(tmp_path), np.zeros_like(ROWS)
    second.restore("train", rows)
    second.save()
    third = unfinished(tmp_path)
    assert third.restore("train", rows) and third.restore("test", rows).rows == 8


def test_rows_off_a_border_of_batches_are_not_gone_on_from(tmp_path: Path) -> None:
    first = unfinished(tmp_path)
    first.advance("train", ROWS, done=3, seconds=1.0)
    first.save()
    assert unfinished(tmp_path).restore("train", np.zeros_like(ROWS)) == Done()
    assert unfinished(tmp_path, device="cuda").restore("train", np.zeros_like(ROWS)) == Done()


def test_a_disk_that_takes_no_progress_is_said_once_and_costs_nothing_else(tmp_path: Path, caplog) -> None:
    (tmp_path / "KEY").write_text("a file where the folder should be")
    attempt = unfinished(tmp_path / "KEY")
    for done in (2, 4):
        attempt.advance("train", ROWS, done=done, seconds=1.0)
        attempt.save()
    assert caplog.text.count("kept no longer") == 1
