"""What every protocol that trains has in common: a budget spent in steps, rates to try, the search, what it cost."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from bob.core.errors import ConfigError
from bob.data.dataset import SPLITS
from bob.data.loading import derived_seed
from bob.tasks.setup import Setup
from bob.tasks.training_params import TrainingParams
from bob.training.checkpoint import Checkpoints
from bob.training.memory_backoff import PeakMemory
from bob.training.optimiser import NamedParameters, parameter_groups
from bob.training.search import Found, Search, run_search
from bob.training.step import SumLoss
from bob.training.trial import Batches, Recipe, Trial

HEAD_STREAM, MODEL_STREAM = 1, 2  # what a derived seed is for


class SearchedWork(ABC):
    """One job that trains a trial per learning rate and keeps the best on val.

    Args:
        setup: The job's circumstances.
        pictures: Its splits, each with ``__len__`` and ``dropped``.
    """

    def __init__(self, setup: Setup, pictures: Mapping[str, Any]) -> None:
        self.setup = setup
        self.params = TrainingParams.of(setup.job)
        self.pictures = dict(pictures)
        # An epoch has whole batches only: a batch larger than the data set would never be seen.
        self.batch_size = min(self.params.batch_size, len(pictures["train"]))
        self._require_a_picture_each()

    @abstractmethod
    def trial(self, lr: float) -> Trial:
        """Build the trial of a rate: the same each time, and but for the rate the same as every other."""

    @abstractmethod
    def training_batches(self, first_step: int) -> Batches:
        """Yield training batches for ever, from ``first_step`` (counted over all epochs) on."""

    @abstractmethod
    def val_score(self, trial: Trial) -> tuple[float, float | None]:
        """Return the primary metric on val and a loss that breaks ties, None where there is none."""

    @property
    def steps(self) -> int:
        """Steps per trial: the budget's pictures seen, rounded up to whole batches."""
        return max(1, math.ceil(self._spent("images_seen") / self.batch_size))

    def rates(self) -> list[float]:
        """Return the learning rates to try.

        Raises:
            ConfigError: More trials are asked for than there are rates.
        """
        lrs = list(self.params.lrs)
        trials = self._spent("trials")
        if trials > len(lrs):
            raise ConfigError(f"trials={trials} is more than the {len(lrs)} rates in lrs.", hint="--set lrs=[...]")
        return lrs[:trials]

    def trial_of(
        self,
        model: nn.Module,
        lr: float,
        *,
        layers: Sequence[NamedParameters],
        no_decay_names: frozenset[str],
        loss: SumLoss,
    ) -> Trial:
        """Return the trial of a model; a protocol without ``layer_decay`` trains every layer at ``lr``."""
        recipe = Recipe(
            lr=lr,
            steps=self.steps,
            warmup_steps=round(self.params.warmup * self.steps),
            batch_size=self.batch_size,
            clip_norm=self.params.clip_norm,
            precision=self.setup.precision,
        )
        groups = parameter_groups(
            layers,
            lr=lr,
            layer_decay=dict(self.setup.job.params).get("layer_decay", 1.0),
            weight_decay=self.params.weight_decay,
            no_decay_names=no_decay_names,
        )
        ranks = self.setup.ranks
        # Each rank draws its own dropout; the first, and so a job of one process, as ever.
        torch.manual_seed(derived_seed(self.setup.job.seed, MODEL_STREAM, *([] if ranks.first else [ranks.rank])))
        return Trial(model=model, groups=groups, loss=loss, recipe=recipe, device=self.setup.device, ranks=ranks)

    def search(self, checkpoints: str) -> tuple[Found, dict[str, Any], dict[str, float]]:
        """Train every trial and return what was found, the best one's weights, and what training cost.

        ``train_s`` is the best trial's time in training steps, waiting for data included, evaluation, checkpoints and
        other trials aside; ``train_img_s`` is its rate without the first 3 steps after each start; ``train_peak_mb``,
        on a GPU only, is the most memory of tensors over the search. On a CPU only the whole process can be measured,
        the interpreter and all its libraries included: there the profile's figure stands.

        Args:
            checkpoints: Name of the folder below ``work_dir`` in which unfinished work is kept.
        """
        setup = self.setup
        peak = PeakMemory(setup.device) if setup.device.type == "cuda" else None
        search = Search(
            lrs=self.rates(),
            build=self.trial,
            batches=self.training_batches,
            evaluate=self.val_score,
            checkpoints=Checkpoints(setup.context.work_dir / checkpoints),
            progress=setup.context.progress,
            ranks=setup.ranks,
        )
        found, weights = run_search(search)
        best = found.winner()
        cost = {} if peak is None else {"train_peak_mb": peak.mb()}
        cost["train_s"] = best["train_s"]
        if best["train_img_s"] is not None:
            cost["train_img_s"] = best["train_img_s"]
        return found, weights, cost

    def hparams(self, found: Found) -> dict[str, Any]:
        """Return the hyperparameters of the scored model."""
        chosen = {"lr": found.winner()["lr"], "steps": self.steps, "batch_size": self.batch_size}
        return {**dict(self.setup.job.params), **chosen}

    def training_notes(self, found: Found, *, shrinks_norms: bool) -> dict[str, Any]:
        """Return the columns that qualify the number: pictures, batches, the grid.

        Args:
            found: What the search found.
            shrinks_norms: Whether a batch norm trains on the micro-batch.
        """
        micro, ranks = int(found.winner()["micro_batch"]), self.setup.ranks
        # On GPUs SyncBatchNorm sees what all ranks have at once; on a CPU each sees its own share, which is less.
        seen_at_once = ranks.largest_share(self.batch_size) if self.setup.device.type == "cuda" else self.batch_size
        return {
            **{f"n_{split}": len(self.pictures[split]) for split in SPLITS},
            "dropped_pictures": len({name for split in SPLITS for name in self.pictures[split].dropped}),
            "images_seen": self.steps * self.batch_size,
            "grid_edge": found.grid_edge(),
            "micro_batch": micro,
            "effective_batch": self.batch_size,
            "bn_backoff": shrinks_norms and micro < seen_at_once,
            "resumed_from_step": found.resumed_from_step,
        }

    def _require_a_picture_each(self) -> None:
        processes = self.setup.ranks.processes
        if processes > self.batch_size:
            raise ConfigError(
                f"{processes} processes share batches of {self.batch_size} pictures: expected a picture for each.",
                hint=f"Use --processes {self.batch_size} at most, or set a larger batch_size.",
            )

    def _spent(self, name: str) -> int:
        value = getattr(self.setup.job.budget, name)
        if value is None:
            raise ConfigError(f"the budget of job {self.setup.job.id} has no {name}.", hint="Plans settle it.")
        return value
