"""Protocol `finetune`: all weights trained, the learning rate searched on val, the best trial scored once on test."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from bob.metrics.classification_metrics import classification_metrics
from bob.tasks.classification.classification_spec import FinetuneParams
from bob.tasks.fine_tuning import FinetuneWork, Trained, train_with
from bob.tasks.setup import Setup
from bob.training.step import SumLoss, of_outputs
from bob.training.trial import Trial


class Finetune(FinetuneWork):
    """One job that learns the class of each picture."""

    def loss(self) -> SumLoss:
        """Return the cross-entropy."""
        smoothing = FinetuneParams.of(self.setup.job).label_smoothing
        loss = functools.partial(nn.functional.cross_entropy, label_smoothing=smoothing, reduction="sum")
        return of_outputs(loss)

    def val_score(self, trial: Trial) -> tuple[float, float]:
        """Return (top1, nll) on val."""
        metrics = classification_metrics(self.val_probabilities(trial.model), self.pictures["val"].labels)
        return metrics["top1"], metrics["nll"]

    def val_probabilities(self, model: nn.Module) -> np.ndarray:
        """Return (n, classes) float64 probabilities of val."""
        return torch.softmax(self.val_logits(model), dim=1).numpy()


def train(setup: Setup, *, checkpoints: str) -> Trained:
    """Train the classifier of a job, see ``train_with``."""
    return train_with(Finetune, setup, checkpoints=checkpoints)
