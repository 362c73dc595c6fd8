"""Protocol `finetune`: all weights trained, the learning rate searched on val, the best trial scored once on test."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.backbones.loader import BackboneModel
from bob.context import Context
from bob.data.loading import PictureBatches, derived_seed
from bob.data.spec import SPLITS
from bob.job import Job
from bob.metrics.classification import classification_metrics
from bob.tasks.classification_result import scored
from bob.tasks.result import TaskResult
from bob.tasks.searched import HEAD_STREAM, SearchedWork
from bob.tasks.setup import EVALUATION_BATCH, Setup
from bob.training.inference import Forward
from bob.training.search import Found
from bob.training.step import of_outputs
from bob.training.trial import Batches, Trial

HEAD_STD = 0.01


class FineTuned(nn.Module):
    """A backbone and a freshly initialised linear head: weights N(0, 0.01), bias 0, the same for every backbone.

    timm's own initialisation depends on the family; for EfficientNets it is so wide that the first steps spoil the
    pretrained body.
    """

    def __init__(self, backbone: BackboneModel, *, classes: int, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, classes)
        generator = torch.Generator().manual_seed(derived_seed(seed, HEAD_STREAM))
        nn.init.normal_(self.head.weight, std=HEAD_STD, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, classes) logits of (n, 3, S, S) images."""
        return self.head(self.backbone(images))

    def layers(self) -> list[list[tuple[str, nn.Parameter]]]:
        """Return the named parameters per layer, stem to head."""
        return [*self.backbone.layer_groups(), list(self.head.named_parameters(prefix="head"))]


class Finetune(SearchedWork):
    """One fine-tuning job: its splits, its recipe, and the pieces that the search calls."""

    def __init__(self, setup: Setup, stack: ExitStack) -> None:
        super().__init__(setup, {split: setup.pictures(split) for split in SPLITS})
        self.classes = len(self.pictures["train"].classes)
        self._train = stack.enter_context(setup.batches(self.pictures["train"], batch_size=self.batch_size))
        self._evaluated = {
            split: stack.enter_context(setup.batches(self.pictures[split], batch_size=EVALUATION_BATCH))
            for split in ("val", "test")
        }
        self.pooling: str | None = None
        self.has_batch_norm = False

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over train."""
        return self._train.steps_per_epoch

    def trial(self, lr: float) -> Trial:
        """Build the trial of a rate: the same each time, and but for the rate the same as every other."""
        model = self._model()
        smoothing = float(self.params["label_smoothing"])
        loss = functools.partial(nn.functional.cross_entropy, label_smoothing=smoothing, reduction="sum")
        return self.trial_of(
            model,
            lr,
            layers=model.layers(),
            no_decay_names=model.backbone.no_decay_names,
            loss=of_outputs(loss),
        )

    def training_batches(self, first_step: int) -> Batches:
        """Yield training batches for ever, from ``first_step`` (counted over all epochs) on."""
        epoch, step = divmod(first_step, self.steps_per_epoch)
        while True:
            yield from self._train.batches(epoch, start_step=step)
            epoch, step = epoch + 1, 0

    def val_score(self, trial: Trial) -> tuple[float, float]:
        """Return (top1, nll) on val."""
        metrics = classification_metrics(self.probabilities(trial.model, "val"), self.pictures["val"].labels)
        return metrics["top1"], metrics["nll"]

    def probabilities(self, model: nn.Module, split: str) -> np.ndarray:
        """Return (n, classes) float64 probabilities of a split."""
        forward = Forward(model, device=self.setup.device, precision=self.setup.precision)
        batches: PictureBatches = self._evaluated[split]
        parts = [outputs for _, outputs in self.setup.outputs(forward, batches, phase=f"scoring {split}")]
        return torch.softmax(torch.from_numpy(np.concatenate(parts)).double(), dim=1).numpy()

    def test_probabilities(self, weights: dict[str, Any]) -> np.ndarray:
        """Return the test probabilities of a trial's weights."""
        model = self._model()
        model.load_state_dict(weights)
        return self.probabilities(model, "test")

    def notes(self, found: Found) -> dict[str, Any]:
        """Return the columns that qualify the number."""
        training = self.training_notes(found, shrinks_norms=self.has_batch_norm)
        return {**self.setup.notes(self.pooling), **training, "n_classes": self.classes}

    def _model(self) -> FineTuned:
        backbone = self.setup.model()
        self.pooling, self.has_batch_norm = backbone.pooling, backbone.has_batch_norm
        return FineTuned(backbone, classes=self.classes, seed=self.setup.job.seed)


def finetune(job: Job, context: Context) -> TaskResult:
    """Train a trial per learning rate, keep the best on val, score it on test; for the costs see ``SearchedWork``."""
    setup = Setup.of(job, context)
    with ExitStack() as stack:
        work = Finetune(setup, stack)
        found, weights, cost = work.search()
        probabilities = work.test_probabilities(weights)
    test = work.pictures["test"]
    facts = {"hparams": work.hparams(found), "search": found.trials, "cost": cost, "notes": work.notes(found)}
    return scored(probabilities, test.labels, test.ids, **facts)
