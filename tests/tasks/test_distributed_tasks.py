"""Whole jobs over several processes: the score of one process, one row, the circumstances said."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from classification_jobs import LITE0, context_of, job_of, write_folder
from dense_jobs import dense_job

from bob.data.annotations import IGNORE
from bob.jobs.context import Context
from bob.jobs.job import Budget, Job
from bob.jobs.run import run_job
from bob.runners.ranks.rank_launch import launch
from bob.runners.worker.assignment import Assignment, References
from bob.runners.worker.worker import recorded
from bob.store import ResultStore
from bob.tasks.dense.detection.detection_protocols import DetectionWork
from bob.tasks.dense.segmentation.segmentation_protocols import SegmentationWork
from bob.tasks.setup import Setup

VIT = "vit_tiny_patch16_224.random"
BUDGET = Budget(images_seen=36, trials=2)
LOSS_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("textures"))


def over(context: Context, job: Job, processes: int) -> dict[str, Any]:
    """Run a job in fresh processes; return its one row."""
    context = replace(context, processes=processes, log_path=context.results_dir / "job.log")
    told = Assignment(job=job, need=None, context=context, gpu="", references=References())
    outcome = recorded(told, launch(told, context))
    assert outcome["status"] == "ok", outcome
    assert len(list((context.results_dir / "records").rglob("*.json"))) == 1
    return ResultStore(context.results_dir).record(job.id)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3])
def test_fine_tuning_a_transformer_gives_one_processs_score(data, tmp_path, processes):
    one, several = context_of(tmp_path / "one"), context_of(tmp_path / "several")
    options = {"backbone": VIT, "size": 32, "budget": BUDGET, "batch_size": 12}
    job = job_of(data, one, "finetune", **options)
    alone, row = run_job(job, one), over(several, job, processes)
    assert (row["score"], row["processes"], row["effective_batch"]) == (alone["score"], processes, 12)
    assert row["micro_batch"] == 12 // processes
    assert row["bn_backoff"] is False
    for mine, theirs in zip(json.loads(row["search"]), json.loads(alone["search"]), strict=True):
        assert mine["val_score"] == theirs["val_score"]
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], abs=LOSS_TOLERANCE)
    mine, theirs = (ResultStore(context.results_dir).outcomes(job.id) for context in (several, one))
    assert len(mine) == 24, "each test picture once"
    assert mine["sample_id"].tolist() == theirs["sample_id"].tolist()
    assert np.allclose(mine["confidence"], theirs["confidence"], atol=LOSS_TOLERANCE)
    assert not (several.work_dir / job.id).exists()


@pytest.mark.slow
def test_batch_norm_on_a_cpu_marks_the_row(data, tmp_path):
    context = context_of(tmp_path)
    job = job_of(data, context, "finetune", backbone=LITE0, size=32, budget=Budget(images_seen=12, trials=1))
    assert over(context, job, 2)["bn_backoff"] is True


@pytest.mark.slow
def test_more_processes_than_pictures_in_a_batch_are_refused(data, tmp_path):
    context = replace(context_of(tmp_path), processes=3, log_path=tmp_path / "job.log")
    job = job_of(data, context, "finetune", backbone=VIT, size=32, budget=BUDGET, batch_size=2)
    told = Assignment(job=job, need=None, context=context, gpu="", references=References())
    outcome = recorded(told, launch(told, context))
    assert outcome["error_class"] == "ConfigError"
    assert "3 processes share batches of 2 pictures" in outcome["error_message"]
    assert ResultStore(context.results_dir).record(job.id)["status"] == "failed"


@pytest.mark.slow
def test_a_segmentation_job_on_a_cpu_scores_every_picture_once_and_is_marked(tmp_path):
    context = context_of(tmp_path)
    job = dense_job("semantic_segmentation", context, data="scenes:train=12,val=3,test=5")
    row = over(context, job, 2)
    assert row["bn_backoff"] is True, "every head has batch norm, and sees half of each batch"
    outcomes = ResultStore(context.results_dir).outcomes(job.id)
    with ExitStack() as stack:
        work = SegmentationWork(Setup.of(job, context), stack, frozen=True)
        maps = [work.pictures["test"].semantic(index) for index in work.by_id("test")]
    assert [sum(areas) for areas in outcomes["truth"]] == [int((truth != IGNORE).sum()) for truth in maps]
    assert [sum(areas) for areas in outcomes["predicted"]] == [sum(areas) for areas in outcomes["truth"]]
    assert (context.results_dir / row["contact_sheet"]).exists()


@pytest.mark.slow
def test_a_detection_job_gives_one_processs_score(tmp_path):
    one, several = context_of(tmp_path / "one"), context_of(tmp_path / "several")
    job = dense_job("detection", one, head="retinanet", seen=96, lrs=(3e-3,), scale=(1.0, 1.0))
    alone, row = run_job(job, one), over(several, job, 2)
    assert alone["score"] > 0, "a job that finds nothing would prove nothing"
    assert row["score"] == pytest.approx(alone["score"], abs=0.02)
    mine, theirs = (ResultStore(context.results_dir).outcomes(job.id) for context in (several, one))
    assert mine["sample_id"].tolist() == theirs["sample_id"].tolist()


@pytest.mark.parametrize(("head", "same"), [("retinanet", True), ("fcos", False)])
def test_the_shares_losses_add_up_to_the_batchs_where_a_head_normalises_by_picture(tmp_path, head, same):
    """What docs/protocols.md says of each head: RetinaNet's loss is a mean over pictures, FCOS's over objects."""
    context = context_of(tmp_path)
    with ExitStack() as stack:
        work = DetectionWork(Setup.of(dense_job("detection", context, head=head), context), stack, frozen=True)
        model = work.model(trained=False).train()
        images, targets = next(work.training_batches(0))
        with torch.no_grad():
            whole = float(work.loss(model, images, targets))
            parts = [float(work.loss(model, images[part], targets[part])) for part in (slice(0, 2), slice(2, 4))]
    assert (sum(parts) == pytest.approx(whole, rel=1e-4)) is same
    assert sum(parts) == pytest.approx(whole, rel=0.5)


@pytest.mark.slow
def test_a_classifier_for_several_tasks_is_trained_by_all_ranks_and_written_once(data, tmp_path):
    context = context_of(tmp_path)
    job = replace(
        job_of(data, context, "finetune", backbone=VIT, size=32, budget=BUDGET, batch_size=12), uses=("classifier",)
    )
    row = over(context, job, 2)
    (folder,) = [path for path in (context.cache_dir / "artifacts").iterdir() if path.name.startswith("classifier-")]
    assert (folder / "classifier.safetensors").exists()
    assert row["n_test"] == 24
    assert over_again(context, job)["score"] == row["score"]


def over_again(context: Context, job: Job) -> dict[str, Any]:
    """Run the job once more on the classifier that is there, in one process."""
    return run_job(job, replace(context, results_dir=context.results_dir.with_name("again")))
