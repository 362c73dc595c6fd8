"""Dense jobs end to end: a row that carries its circumstances, frozen that is frozen, resume that is exact."""

from __future__ import annotations

import io
import itertools
import json
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from classification_jobs import context_of
from dense_jobs import dense_job
from PIL import Image

from bob.backbones import catalogue
from bob.core.errors import ConfigError, DataError
from bob.jobs.context import JobStopped
from bob.jobs.run import run_job
from bob.metrics.resampling import RESAMPLES
from bob.store import ResultStore
from bob.tasks.dense.detection import detection_protocols as detection
from bob.tasks.dense.segmentation import segmentation_protocols as segmentation
from bob.tasks.setup import Setup
from bob.tasks.spec import TASKS

WORK = {
    "detection": detection.DetectionWork,
    "instance_segmentation": detection.DetectionWork,
    "semantic_segmentation": segmentation.SegmentationWork,
}
RUN = {"detection": detection, "instance_segmentation": detection, "semantic_segmentation": segmentation}


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.pyramid.body.state_dict().items()}


@pytest.mark.parametrize("task", WORK)
def test_a_job_leaves_a_row_outcomes_replicates_and_a_sheet(task, tmp_path):
    context = context_of(tmp_path)
    job = dense_job(task, context)
    row = run_job(job, context)
    described = TASKS.get(task)
    assert (row["status"], row["metric"]) == ("ok", described.metric)
    assert row["score"] == row[described.metric]
    assert 0 <= row["score_low"] <= row["score_high"] <= 1
    assert set(row) >= {"eval_img_s", "head_params_m", "train_s", "dropped_annotations"}
    assert (row["input_height"], row["input_width"], row["n_test"], row["images_seen"]) == (64, 64, 6, 16)
    assert set(json.loads(row["per_class"])) <= {*Setup.of(job, context).job.dataset_spec.classes, "background"}
    sheet = Image.open(context.results_dir / row["contact_sheet"])
    assert min(sheet.size) > 100
    outcomes = ResultStore(context.results_dir).outcomes(job.id)
    assert list(outcomes["sample_id"]) == sorted(outcomes["sample_id"])
    assert len(outcomes) == 6
    assert outcomes.attrs["replicates"].shape == (RESAMPLES,)
    assert np.isfinite(outcomes.attrs["replicates"]).all()


@pytest.mark.parametrize("task", WORK)
def test_the_same_job_gives_the_same_numbers(task, tmp_path):
    results = []
    for folder in ("a", "b"):
        context = context_of(tmp_path / folder)
        results.append(RUN[task].finetune(dense_job(task, context, "finetune", seen=8), context))
    assert results[0].metrics == results[1].metrics
    assert np.array_equal(results[0].replicates, results[1].replicates)
    assert results[0].contact_sheet == results[1].contact_sheet
    assert results[0].outcomes["sample_id"].tolist() == results[1].outcomes["sample_id"].tolist()


@pytest.mark.parametrize("task", WORK)
def test_a_frozen_backbone_keeps_every_weight_and_statistic_while_the_head_learns(task, tmp_path):
    context = context_of(tmp_path)
    with ExitStack() as stack:
        work = WORK[task](Setup.of(dense_job(task, context), context), stack, frozen=True)
        trial = work.trial(1e-2)
        before, head = state_of(trial.model), {n: p.clone() for n, p in trial.model.named_parameters()}
        trial.run(work.training_batches(0), after_step=lambda: None)
        after = state_of(trial.model)
        assert all(torch.equal(value, after[name]) for name, value in before.items())
        changed = [n for n, p in trial.model.named_parameters() if not torch.equal(p, head[n])]
        assert changed and not any(name.startswith("pyramid.body") for name in changed)


@pytest.mark.parametrize("task", WORK)
def test_fine_tuning_moves_the_backbone_but_never_its_batch_norm_statistics(task, tmp_path):
    context = context_of(tmp_path)
    with ExitStack() as stack:
        work = WORK[task](Setup.of(dense_job(task, context, "finetune", seen=8), context), stack, frozen=False)
        trial = work.trial(1e-2)
        before = state_of(trial.model)
        trial.run(work.training_batches(0), after_step=lambda: None)
        after = state_of(trial.model)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any(name.endswith("weight") for name in moved)
    assert not any("running_" in name for name in moved)


def test_a_random_control_gets_the_statistics_of_train_first(tmp_path):
    context = context_of(tmp_path)
    with ExitStack() as stack:
        job = dense_job("semantic_segmentation", context, backbone="tf_efficientnet_lite0.random")
        model = segmentation.SegmentationWork(Setup.of(job, context), stack, frozen=True).model(trained=False)
    means = [value for name, value in model.pyramid.body.named_buffers() if name.endswith("bn1.running_mean")]
    assert means and all(bool(mean.abs().sum() > 0) for mean in means[:5])


@pytest.mark.parametrize("task", ["detection", "semantic_segmentation"])
def test_a_stopped_job_goes_on_to_the_same_numbers(task, tmp_path):
    def stop(phase: str, done: int, total: int) -> None:
        if phase == "trial 2 of 2" and done == 2:
            raise JobStopped

    whole = RUN[task].finetune(dense_job(task, context := context_of(tmp_path / "a"), "finetune", trials=2), context)
    job = dense_job(task, context_of(tmp_path / "b"), "finetune", trials=2)
    with pytest.raises(JobStopped):
        RUN[task].finetune(job, context_of(tmp_path / "b", progress=stop))
    resumed = RUN[task].finetune(job, context_of(tmp_path / "b"))
    assert resumed.notes["resumed_from_step"] == 2
    assert resumed.metrics == whole.metrics
    assert np.array_equal(resumed.replicates, whole.replicates)
    assert [entry["val_score"] for entry in resumed.search] == [entry["val_score"] for entry in whole.search]


def test_windows_and_the_whole_picture_agree_on_what_fits_one_window(tmp_path):
    context = context_of(tmp_path)
    maps = {}
    for inference in ("whole", "slide"):
        with ExitStack() as stack:
            job = dense_job("semantic_segmentation", context, inference=inference, scale=(1.0, 1.0))
            work = segmentation.SegmentationWork(Setup.of(job, context), stack, frozen=True)
            batches = work.maps(work.model(trained=False).eval(), "test")
            maps[inference] = dict(itertools.chain.from_iterable(batches))
    for index, labels in maps["whole"].items():
        assert labels.shape == (160, 160)
        # Not to the last pixel: sums of a batch of one come out in another order than those of four.
        assert np.mean(labels != maps["slide"][index]) < 0.001


def test_memory_back_off_keeps_the_batch_and_says_so(tmp_path, monkeypatch):
    from bob.heads.detectors import Detector

    losses = Detector.losses

    def hungry(self, images, targets):
        if len(images) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return losses(self, images, targets)

    monkeypatch.setattr(Detector, "losses", hungry)
    context = context_of(tmp_path)
    notes = detection.finetune(dense_job("detection", context, "finetune", seen=4), context).notes
    assert (notes["micro_batch"], notes["effective_batch"], notes["bn_backoff"]) == (2, 4, False)


def test_more_trials_than_rates_are_refused(tmp_path):
    context = context_of(tmp_path)
    with pytest.raises(ConfigError, match="trials=2 is more than the 1 rates"):
        detection.frozen(dense_job("detection", context, trials=2, lrs=(1e-3,)), context)


def test_the_sheet_is_a_picture(tmp_path):
    context = context_of(tmp_path)
    result = segmentation.frozen(dense_job("semantic_segmentation", context, seen=4), context)
    with Image.open(io.BytesIO(result.contact_sheet)) as sheet:
        assert sheet.format == "PNG"
    assert catalogue.find("tf_efficientnet_lite0.in1k").name in str(sheet.info.get("title", "")) or sheet.width > 200


def test_a_split_without_objects_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(detection.DetectionWork, "has_truth", lambda self, split, index: split != "val")
    context = context_of(tmp_path)
    with pytest.raises(DataError, match="no picture of split 'val' of data set 'scenes' has anything to score"):
        detection.frozen(dense_job("detection", context), context)


def test_labels_at_another_size_are_those_of_all_classes_at_once():
    logits = torch.randn(19, 13, 17, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(logits[None], size=(50, 41), mode="bilinear", align_corners=False)
    assert np.array_equal(segmentation.labels_at(logits, (50, 41)), whole[0].argmax(0).numpy())
