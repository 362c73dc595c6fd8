"""Fine-tuning jobs: the same head and budget for every backbone, decay that acts, exact resume, an honest row."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch
from classification_jobs import CONTROL, LITE0, context_of, job_of, write_folder

from bob.backbones.loader import BackboneModel
from bob.core.errors import ConfigError
from bob.data.loading import PictureBatches
from bob.jobs.context import JobStopped
from bob.jobs.job import Budget
from bob.tasks.classification import classification_protocols as classification
from bob.tasks.classification.classification_finetune import Finetune
from bob.tasks.fine_tuning import FineTuned
from bob.tasks.setup import Setup

BUDGET = Budget(images_seen=48, trials=2)
SMALL = {"size": 32, "budget": BUDGET, "batch_size": 12}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("textures"))


def finetune_work(job, context, stack: ExitStack) -> Finetune:
    return Finetune(Setup.of(job, context), stack)


def test_a_job_trains_searches_and_says_how(data, tmp_path):
    context = context_of(tmp_path)
    job = job_of(data, context, "finetune", **SMALL)
    result = classification.finetune(job, context)
    assert result.score == pytest.approx(result.outcomes["outcome"].mean())
    assert [entry["lr"] for entry in result.search] == [3e-3, 1e-3]
    assert all(entry["steps"] == 4 and entry["val_score"] is not None for entry in result.search)
    best = max(result.search, key=lambda entry: (entry["val_score"], -entry["val_loss"]))
    assert result.hparams["lr"] == best["lr"]
    facts = {"images_seen": 48, "effective_batch": 12, "micro_batch": 12, "bn_backoff": False, "n_train": 36}
    assert facts.items() <= result.notes.items()
    assert result.notes["grid_edge"] is True, "two rates are nothing but edges"
    assert result.cost["train_s"] > 0
    assert result.cost["train_img_s"] > 0
    assert set(result.cost) == {"train_s", "train_img_s"}, "a CPU's peak is the whole process's: no figure of the job"
    again = classification.finetune(job, context)  # the row was not written yet: its checkpoint is still there
    assert again.score == result.score
    assert again.search == result.search


def test_a_stopped_job_resumes_to_the_same_outcomes(data, tmp_path):
    def stop(phase: str, done: int, total: int) -> None:
        if phase == "trial 2 of 2" and done == 2:
            raise JobStopped

    whole = classification.finetune(
        job_of(data, context_of(tmp_path / "a"), "finetune", **SMALL), context_of(tmp_path / "a")
    )
    job = job_of(data, context_of(tmp_path / "b"), "finetune", **SMALL)
    with pytest.raises(JobStopped):
        classification.finetune(job, context_of(tmp_path / "b", progress=stop))
    resumed = classification.finetune(job, context_of(tmp_path / "b"))
    assert resumed.notes["resumed_from_step"] == 2
    for name, column in whole.outcomes.items():
        assert np.array_equal(column, resumed.outcomes[name]), name
    assert resumed.metrics == whole.metrics
    for one, other in zip(whole.search, resumed.search, strict=True):
        assert (one["val_score"], one["val_loss"]) == (other["val_score"], other["val_loss"])


def test_memory_back_off_marks_the_row_of_a_batch_norm_model(data, tmp_path, monkeypatch):
    forward = FineTuned.forward

    def hungry(self: FineTuned, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return forward(self, images)

    monkeypatch.setattr(FineTuned, "forward", hungry)
    context = context_of(tmp_path)
    job = job_of(data, context, "finetune", **{**SMALL, "budget": Budget(images_seen=12, trials=1)})
    notes = classification.finetune(job, context).notes
    assert (notes["micro_batch"], notes["effective_batch"], notes["bn_backoff"]) == (6, 12, True)


def test_the_stem_of_a_real_backbone_learns_slower_by_its_depth(data, tmp_path):
    context = context_of(tmp_path)
    job = job_of(data, context, "finetune", **SMALL, layer_decay=0.8, clip_norm=0.0, warmup=0.0, weight_decay=0.0)
    with ExitStack() as stack:
        work = finetune_work(job, context, stack)
        trial = work.trial(1e-3)
        layers = trial.model.layers()
        before = [[parameter.detach().clone() for _, parameter in layer] for layer in layers]
        trial._step(*next(iter(work.training_batches(0))))
    # Adam's first step moves a weight by its group's rate wherever the gradient is well above epsilon.
    moved = [
        max(float((p.detach() - old).abs().max()) for (_, p), old in zip(layer, olds, strict=True))
        for layer, olds in zip(layers, before, strict=True)
    ]
    assert len(layers) > 10
    for depth, step in enumerate(moved):
        assert step == pytest.approx(1e-3 * 0.8 ** (len(layers) - 1 - depth), rel=0.05), depth


def test_norms_and_biases_of_a_real_backbone_do_not_decay(data, tmp_path):
    context = context_of(tmp_path)
    with ExitStack() as stack:
        trial = finetune_work(job_of(data, context, "finetune", **SMALL), context, stack).trial(1e-3)
        groups = trial._optimiser.param_groups
        for group in groups:
            assert (group["weight_decay"] > 0) == all(parameter.ndim > 1 for parameter in group["params"])
        held = [id(parameter) for group in groups for parameter in group["params"]]
        assert len(held) == len(set(held)) == len(list(trial.model.parameters()))


def test_the_head_is_small_and_the_same_for_every_backbone_of_a_width(data, tmp_path):
    context = context_of(tmp_path)
    heads = {}
    for backbone, seed in ((LITE0, 0), (CONTROL, 0), (LITE0, 1)):
        with ExitStack() as stack:
            job = job_of(data, context, "finetune", backbone=backbone, seed=seed, **SMALL)
            heads[backbone, seed] = finetune_work(job, context, stack).trial(1e-3).model.head
    first = heads[LITE0, 0]
    assert first.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not first.bias.any()
    assert torch.equal(first.weight, heads[CONTROL, 0].weight)
    assert not torch.equal(first.weight, heads[LITE0, 1].weight)


def test_the_seed_varies_order_and_views_but_not_the_subset(data, tmp_path):
    context = context_of(tmp_path)
    ids, pixels = [], []
    for seed in (0, 1):
        with ExitStack() as stack:
            budget = Budget(max_train=18, images_seen=18)
            job = job_of(data, context, "finetune", **{**SMALL, "budget": budget}, seed=seed)
            work = finetune_work(job, context, stack)
            ids.append(work.pictures["train"].ids)
            pixels.append(next(iter(work.training_batches(0)))[0])
    assert ids[0] == ids[1]
    assert not torch.equal(pixels[0], pixels[1])


def test_batches_go_on_across_epochs_from_any_step(data, tmp_path):
    context = context_of(tmp_path)
    with ExitStack() as stack:
        work = finetune_work(job_of(data, context, "finetune", **SMALL), context, stack)
        stream = iter(work.training_batches(0))
        labels = [next(stream)[1] for _ in range(8)]
        for first in (2, 3, 7):
            assert torch.equal(next(iter(work.training_batches(first)))[1], labels[first])


def test_a_batch_larger_than_the_data_set_is_the_data_set(data, tmp_path):
    context = context_of(tmp_path)
    with ExitStack() as stack:
        job = job_of(data, context, "finetune", size=32, budget=Budget(images_seen=100), batch_size=64)
        work = finetune_work(job, context, stack)
        assert (work.batch_size, work.steps) == (36, 3)
        assert isinstance(work._train, PictureBatches)


def test_more_trials_than_rates_are_refused(data, tmp_path):
    context = context_of(tmp_path)
    job = job_of(data, context, "finetune", size=32, budget=Budget(images_seen=12, trials=3), lrs=(1e-3, 1e-4))
    with pytest.raises(ConfigError, match="trials=3 is more than the 2 rates"):
        classification.finetune(job, context)


def test_a_backbones_pooled_output_is_what_the_head_sees(data, tmp_path):
    context = context_of(tmp_path)
    model = Setup.of(job_of(data, context, "finetune", **SMALL), context).model()
    assert isinstance(model, BackboneModel)
    tuned = FineTuned(model, classes=3, seed=0).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(tuned(images), tuned.head(model(images)))
