"""Protocol `finetune`: all weights trained, the learning rate searched on val, the best trial scored once on test."""

from __future__ import annotations

import functools
import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.backbones.loader import BackboneModel
from bob.context import Context
from bob.data.loading import PictureBatches, derived_seed
from bob.errors import ConfigError
from bob.job import Job
from bob.metrics.classification import classification_metrics
from bob.tasks.classification_result import scored
from bob.tasks.result import TaskResult
from bob.tasks.setup import EVALUATION_BATCH, Setup
from bob.training.checkpoint import Checkpoints
from bob.training.inference import Forward
from bob.training.memory import PeakMemory
from bob.training.optimiser import parameter_groups
from bob.training.search import Found, Search, run_search
from bob.training.step import of_outputs
from bob.training.trial import Batches, Recipe, Trial

HEAD_STD = 0.01
HEAD_STREAM, MODEL_STREAM = 1, 2  # what a derived seed is for


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


class Finetune:
    """One fine-tuning job: its splits, its recipe, and the pieces that the search calls."""

    def __init__(self, setup: Setup, stack: ExitStack) -> None:
        self.setup = setup
        self.params = dict(setup.job.params)
        self.pictures = {split: setup.pictures(split) for split in ("train", "val", "test")}
        self.classes = len(self.pictures["train"].classes)
        # An epoch has whole batches only: a batch larger than the data set would never be seen.
        self.batch_size = min(int(self.params["batch_size"]), len(self.pictures["train"]))
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

    @property
    def steps(self) -> int:
        """Steps per trial: the budget's pictures seen, rounded up to whole batches."""
        return max(1, math.ceil(self._spent("images_seen") / self.batch_size))

    def rates(self) -> list[float]:
        """Return the learning rates to try.

        Raises:
            ConfigError: More trials are asked for than there are rates.
        """
        lrs = [float(lr) for lr in self.params["lrs"]]
        trials = self._spent("trials")
        if trials > len(lrs):
            raise ConfigError(f"trials={trials} is more than the {len(lrs)} rates in lrs.", hint="--set lrs=[...]")
        return lrs[:trials]

    def _spent(self, name: str) -> int:
        value = getattr(self.setup.job.budget, name)
        if value is None:
            raise ConfigError(f"the budget of job {self.setup.job.id} has no {name}.", hint="Plans settle it.")
        return value

    def trial(self, lr: float) -> Trial:
        """Build the trial of a rate: the same each time, and but for the rate the same as every other."""
        model = self._model()
        recipe = Recipe(
            lr=lr,
            steps=self.steps,
            warmup_steps=round(float(self.params["warmup"]) * self.steps),
            batch_size=self.batch_size,
            clip_norm=float(self.params["clip_norm"]),
            precision=self.setup.precision,
        )
        groups = parameter_groups(
            model.layers(),
            lr=lr,
            layer_decay=float(self.params["layer_decay"]),
            weight_decay=float(self.params["weight_decay"]),
            no_decay_names=model.backbone.no_decay_names,
        )
        smoothing = float(self.params["label_smoothing"])
        loss = functools.partial(nn.functional.cross_entropy, label_smoothing=smoothing, reduction="sum")
        torch.manual_seed(derived_seed(self.setup.job.seed, MODEL_STREAM))
        return Trial(model=model, groups=groups, loss=of_outputs(loss), recipe=recipe, device=self.setup.device)

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
        micro = int(found.winner()["micro_batch"])
        counts = {f"n_{split}": len(pictures) for split, pictures in self.pictures.items()}
        return {
            **self.setup.notes(self.pooling),
            **counts,
            "n_classes": self.classes,
            "dropped_pictures": len({name for pictures in self.pictures.values() for name in pictures.dropped}),
            "images_seen": self.steps * self.batch_size,
            "grid_edge": found.grid_edge(),
            "micro_batch": micro,
            "effective_batch": self.batch_size,
            "bn_backoff": self.has_batch_norm and micro < self.batch_size,
            "resumed_from_step": found.resumed_from_step,
        }

    def _model(self) -> FineTuned:
        backbone = self.setup.model()
        self.pooling, self.has_batch_norm = backbone.pooling, backbone.has_batch_norm
        return FineTuned(backbone, classes=self.classes, seed=self.setup.job.seed)


def finetune(job: Job, context: Context) -> TaskResult:
    """Train a trial per learning rate, keep the best on val, score it on test.

    Cost columns: ``train_s`` is the best trial's time in training steps, waiting for data included, evaluation,
    checkpoints and other trials aside; ``train_img_s`` is its rate without the first 3 steps after each start;
    ``train_peak_mb``, on a GPU only, is the most memory of tensors over the search. On a CPU only the whole process
    can be measured, the interpreter and all its libraries included: there the profile's figure stands.
    """
    setup = Setup.of(job, context)
    checkpoints = Checkpoints(context.work_dir / job.id)
    with ExitStack() as stack:
        work = Finetune(setup, stack)
        peak = PeakMemory(setup.device) if setup.device.type == "cuda" else None
        search = Search(
            lrs=work.rates(),
            build=work.trial,
            batches=work.training_batches,
            evaluate=work.val_score,
            checkpoints=checkpoints,
            progress=context.progress,
        )
        found, weights = run_search(search)
        cost = {} if peak is None else {"train_peak_mb": peak.mb()}
        probabilities = work.test_probabilities(weights)
    best, test = found.winner(), work.pictures["test"]
    cost["train_s"] = best["train_s"]
    if best["train_img_s"] is not None:
        cost["train_img_s"] = best["train_img_s"]
    hparams = {**work.params, "lr": best["lr"], "steps": work.steps, "batch_size": work.batch_size}
    facts = {"hparams": hparams, "search": found.trials, "cost": cost, "notes": work.notes(found)}
    return scored(probabilities, test.labels, test.ids, **facts)
