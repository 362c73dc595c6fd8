"""Fine-tuning a classifier of whole pictures: all weights trained, the learning rate searched on val."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.backbones.loader import BackboneModel
from bob.data.dataset import SPLITS
from bob.data.loading import PictureBatches, derived_seed
from bob.tasks.searched import HEAD_STREAM, SearchedWork
from bob.tasks.setup import Setup
from bob.training.inference import Forward
from bob.training.search import Found
from bob.training.step import SumLoss
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


class FinetuneWork(SearchedWork):
    """One fine-tuning job: its splits, its recipe, and the pieces that the search calls."""

    def __init__(self, setup: Setup, stack: ExitStack) -> None:
        super().__init__(setup, {split: setup.pictures(split) for split in SPLITS})
        self.classes = len(self.pictures["train"].classes)
        batches = setup.batches(self.pictures["train"], batch_size=self.batch_size, targets=self.targets())
        self._train = stack.enter_context(batches)
        self._evaluated = stack.enter_context(setup.batches(self.pictures["val"]))
        self.pooling: str | None = None
        self.has_batch_norm = False

    def targets(self) -> np.ndarray | None:
        """Return what the loss takes beside the logits of each training picture, (n, ...); None for the labels."""
        return None

    @abstractmethod
    def loss(self) -> SumLoss:
        """Return the loss."""

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over train."""
        return self._train.steps_per_epoch

    def trial(self, lr: float) -> Trial:
        """Build the trial of a rate: the same each time, and but for the rate the same as every other."""
        model = self._model()
        return self.trial_of(
            model, lr, layers=model.layers(), no_decay_names=model.backbone.no_decay_names, loss=self.loss()
        )

    def training_batches(self, first_step: int) -> Batches:
        """Yield training batches for ever, from ``first_step`` (counted over all epochs) on."""
        epoch, step = divmod(first_step, self.steps_per_epoch)
        while True:
            yield from self._train.batches(epoch, start_step=step, part=self.setup.ranks.part)
            epoch, step = epoch + 1, 0

    def val_logits(self, model: nn.Module) -> Tensor:
        """Return (n, classes) float64 logits of val."""
        return logits_of(self.setup, model, self._evaluated, phase="scoring val")

    def notes(self, found: Found) -> dict[str, Any]:
        """Return the columns that qualify the number."""
        if self.pooling is None:  # every trial was finished by an earlier attempt
            self._model()
        training = self.training_notes(found, shrinks_norms=self.has_batch_norm)
        return {**self.setup.notes(self.pooling), **training, "n_classes": self.classes}

    def _model(self) -> FineTuned:
        model = fine_tuned_model(self.setup, classes=self.classes)
        self.pooling, self.has_batch_norm = model.backbone.pooling, model.backbone.has_batch_norm
        return model


def logits_of(setup: Setup, model: nn.Module, batches: PictureBatches, *, phase: str) -> Tensor:
    """Return (n, classes) float64 logits of a split's pictures."""
    forward = Forward(model, device=setup.device, precision=setup.precision)
    parts = [outputs for _, outputs in setup.outputs(forward, batches, phase=phase)]
    return torch.from_numpy(np.concatenate(parts)).double()


def fine_tuned_model(setup: Setup, *, classes: int) -> FineTuned:
    """Return the model before training: the backbone with its weights, and a new head."""
    return FineTuned(setup.model(), classes=classes, seed=setup.job.seed)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What training gave, and what it cost.

    Attributes:
        weights: The best trial's ``state_dict``, on the CPU.
        hparams: Its hyperparameters.
        search: Every trial, as in ``TaskResult``.
        cost: As in ``TaskResult``.
        notes: As in ``TaskResult``.
        shared_s: Seconds that another job, or the runner, spent on it; 0 where this job did.
    """

    weights: dict[str, Any]
    hparams: dict[str, Any]
    search: list[dict[str, Any]]
    cost: dict[str, float]
    notes: dict[str, Any]
    shared_s: float = 0.0


def train_with(work_class: type[FinetuneWork], setup: Setup, *, checkpoints: str) -> Trained:
    """Train a trial per learning rate and keep the best on val; for the costs see ``SearchedWork``.

    Args:
        work_class: What is trained.
        setup: The job's circumstances.
        checkpoints: Name of the folder below ``work_dir`` in which unfinished work is kept.
    """
    with ExitStack() as stack:
        work = work_class(setup, stack)
        found, weights, cost = work.search(checkpoints)
        notes = work.notes(found)
    return Trained(weights=weights, hparams=work.hparams(found), search=found.trials, cost=cost, notes=notes)
