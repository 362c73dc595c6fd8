"""Task `multilabel`: which classes each picture shows, any number of them. (job, context) -> TaskResult."""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor, nn

from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import multilabel_features_need
from bob.probes.feature_files import FeatureSet
from bob.probes.knn import knn_values
from bob.probes.logistic import Centred, Logistic, fit_path, one_vs_rest
from bob.tasks.classification.classification_spec import KnnParams, LinearParams
from bob.tasks.fine_tuning import FinetuneWork, fine_tuned_model, logits_of, train_with
from bob.tasks.frozen_features import best_strength, feature_notes, frozen_features, on_device
from bob.tasks.multilabel.multilabel_result import Asked, require_contrast, scored, val_score
from bob.tasks.multilabel.multilabel_spec import USED
from bob.tasks.result import TaskResult
from bob.tasks.setup import Setup
from bob.training.step import SumLoss, of_outputs
from bob.training.trial import Trial

log = logging.getLogger(__name__)


def linear(job: Job, context: Context) -> TaskResult:
    """Fit a logistic regression per class; the strength best on val (mean average precision, then nll) is tested.

    Raises:
        DataError: The pictures used show no class that others lack.
    """
    setup, features, values = _features(job, context)
    train = on_device(features["train"], setup)
    centred, strengths = Centred.fit(train), list(LinearParams.of(job).l2)
    val, test = (centred(on_device(features[split], setup)) for split in ("val", "test"))
    path = fit_path(
        centred(train),
        torch.from_numpy(values["train"]).to(setup.device),
        classes=len(features.classes),
        l2=strengths,
        data_loss=one_vs_rest,
    )
    best = best_strength(path, strengths, lambda model: val_score(_probabilities(model, val), values["val"]), context)
    return scored(
        features.classes,
        train_values=values["train"],
        val=_asked(features, "val", _probabilities(best.model, val)),
        test=_asked(features, "test", _probabilities(best.model, test)),
        hparams={"l2": best.model.l2},
        search=best.search,
        notes=feature_notes(setup, features, grid_edge=best.grid_edge),
    )


def knn(job: Job, context: Context) -> TaskResult:
    """Score each class by the share of the nearest training pictures that show it.

    Raises:
        DataError: The pictures used show no class that others lack.
    """
    setup, features, values = _features(job, context)
    params, count = KnnParams.of(job), len(features["train"].ids)
    k = min(params.k, count)
    if params.k > count:
        log.warning("k=%d is more than the %d training pictures: all of them vote.", params.k, count)
    bank = on_device(features["train"], setup), torch.from_numpy(values["train"]).to(setup.device)

    def ask(split: str) -> Asked:
        found = knn_values(*bank, on_device(features[split], setup), k=k, temperature=params.temperature)
        return _asked(features, split, found.cpu().numpy())

    return scored(
        features.classes,
        train_values=values["train"],
        val=ask("val"),
        test=ask("test"),
        hparams={"k": k, "temperature": params.temperature},
        notes=feature_notes(setup, features, **({"k_clipped": True} if params.k > count else {})),
    )


def finetune(job: Job, context: Context) -> TaskResult:
    """Train a trial per learning rate, keep the best on val, score it on test; for the costs see ``SearchedWork``.

    Raises:
        DataError: The pictures used show no class that others lack.
    """
    setup = Setup.of(job, context)
    pictures = {split: setup.pictures(split) for split in USED}
    values = require_contrast({split: each.values for split, each in pictures.items()}, dataset=setup.spec.name)
    trained = train_with(MultilabelFinetune, setup, checkpoints=job.id)
    classes = pictures["train"].classes
    model = fine_tuned_model(setup, classes=len(classes))
    model.load_state_dict(trained.weights)

    def ask(split: str) -> Asked:
        with setup.batches(pictures[split]) as batches:
            logits = logits_of(setup, model, batches, phase=f"scoring {split}")
        return Asked(probabilities=torch.sigmoid(logits).numpy(), values=values[split], ids=pictures[split].ids)

    return scored(
        classes,
        train_values=values["train"],
        val=ask("val"),
        test=ask("test"),
        hparams=trained.hparams,
        search=trained.search,
        cost=trained.cost,
        notes=trained.notes,
    )


class MultilabelFinetune(FinetuneWork):
    """One job that learns which classes each picture shows."""

    def targets(self) -> np.ndarray | None:
        """Return the values of the training pictures."""
        return self.pictures["train"].values

    def loss(self) -> SumLoss:
        """Return the binary cross-entropy."""
        return of_outputs(masked_cross_entropy)

    def val_score(self, trial: Trial) -> tuple[float, float]:
        """Return (mean average precision, nll) on val."""
        return val_score(torch.sigmoid(self.val_logits(trial.model)).numpy(), self.pictures["val"].values)


def masked_cross_entropy(logits: Tensor, values: Tensor) -> Tensor:
    """Return the binary cross-entropy summed over what is known, divided by the number of classes.

    Args:
        logits: (n, c).
        values: (n, c): 1, 0 or NaN; entries of NaN have no loss and no gradient.
    """
    each = nn.functional.binary_cross_entropy_with_logits(logits.float(), values.nan_to_num(), reduction="none")
    return (each * ~values.isnan()).sum() / values.shape[1]


def _features(job: Job, context: Context) -> tuple[Setup, FeatureSet, dict[str, np.ndarray]]:
    """Return a job's circumstances, features and, by split, which classes each picture shows."""
    setup, features = frozen_features(job, context, need=multilabel_features_need)
    known = {split: features[split].values for split in USED}
    return setup, features, require_contrast(known, dataset=setup.spec.name)


def _asked(features: FeatureSet, split: str, probabilities: np.ndarray) -> Asked:
    part = features[split]
    assert part.values is not None, "features without values are refused"
    return Asked(probabilities=probabilities, values=part.values, ids=part.ids)


def _probabilities(model: Logistic, x: Tensor) -> np.ndarray:
    return torch.sigmoid(model.logits(x)).cpu().numpy()
