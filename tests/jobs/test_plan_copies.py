"""Copies in a plan: said once for each data set, part of the jobs' identity, and counted in every row."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from data_helpers import class_folders
from rich.console import Console

from bob.cli.plan_view import print_plan
from bob.core.settings import Settings
from bob.jobs.context import Context
from bob.jobs.request import Request
from bob.jobs.run import base_row
from bob.runners.suite_runs import Planned, planned_of

BACKBONES = ["tf_efficientnet_lite0.random", "resnet18.random"]


@pytest.fixture
def data(tmp_path) -> Path:
    for name in ("own", "other"):
        for split in ("train", "val", "test"):
            class_folders(tmp_path / name / split, {"cat": 5, "dog": 5})
    shutil.copy(tmp_path / "own/train/cat/000.jpg", tmp_path / "own/test/cat/again.jpg")
    shutil.copy(tmp_path / "own/test/dog/001.jpg", tmp_path / "other/test/cat/x.jpg")
    return tmp_path


def planned(folder: Path, **settings: str) -> Planned:
    request = Request(
        backbones=BACKBONES,
        task="ood_detection",
        protocols=["linear"],
        data=[str(folder / "own")],
        near=[str(folder / "other")],
        settings=settings,
    )
    here = Settings.resolve(results=str(folder / "results"), cache=str(folder / "cache"), data_dir=str(folder))
    return planned_of(request, here, device="cpu")


def shown(plan: Planned) -> str:
    console = Console(file=io.StringIO(), width=400)
    print_plan(console, plan)
    return console.file.getvalue()


def row(plan: Planned) -> dict:
    context = Context(results_dir=plan.settings.results_dir, cache_dir=plan.settings.cache_dir)
    return base_row(plan.jobs[0], context)


def test_copies_are_said_once_change_the_jobs_and_are_counted(data):
    with_copies = planned(data)
    text = shown(with_copies)
    assert text.count("copies in own:") == 1 and "train/cat/000.jpg (test/cat/again.jpg)" in text
    assert text.count("copies in other beside own:") == 1 and "test/cat/x.jpg (test/dog/001.jpg)" in text
    assert row(with_copies)["copies_left_out"] == 2
    kept = planned(data, copies="keep")
    assert "kept (copies=keep)" in shown(kept) and row(kept)["copies_left_out"] == 0
    assert not {job.id for job in kept.jobs} & {job.id for job in with_copies.jobs}
    assert {job.cell for job in kept.jobs} == {job.cell for job in with_copies.jobs}


def test_without_copies_the_jobs_are_as_if_nobody_had_looked(data):
    (data / "own/test/cat/again.jpg").unlink()
    (data / "other/test/cat/x.jpg").unlink()
    plan = planned(data)
    assert "copies in" not in shown(plan) and row(plan)["copies_left_out"] == 0
    assert {job.id for job in plan.jobs} == {job.id for job in planned(data, copies="keep").jobs}


def test_a_class_that_only_copies_train_skips_the_job_with_the_reason(data):
    for index in range(5):
        shutil.copy(data / f"own/train/dog/{index:03d}.jpg", data / f"own/test/dog/again{index}.jpg")
    plan = planned(data)
    assert "train has nothing of dog then" in shown(plan)
    assert all("no training picture of dog without copies" in job.missing for job in plan.jobs)
