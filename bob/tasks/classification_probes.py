"""The protocols on frozen features: `linear`, `knn`, `fewshot`."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bob.context import Context
from bob.job import Job
from bob.metrics.classification import classification_metrics
from bob.probes.features import FeatureSet, load_features
from bob.probes.fewshot import draw_support, fewshot_probabilities
from bob.probes.knn import knn_probabilities
from bob.probes.logistic import Centred, fit_path
from bob.tasks.artifacts import make
from bob.tasks.classification_result import scored, scored_over_draws
from bob.tasks.result import TaskResult
from bob.tasks.setup import Setup

log = logging.getLogger(__name__)


class Probe:
    """A job on frozen features: the features on the job's device, and the notes of its row."""

    def __init__(self, job: Job, context: Context) -> None:
        self._setup = Setup.of(job, context)
        (need,) = (need for need in job.needs() if need.kind == "features")
        self.features: FeatureSet = load_features(make(need, job, context))
        self.classes = self.features.classes

    def x(self, split: str) -> Tensor:
        """Return a split's features, float32 (n, width), on the device."""
        return torch.from_numpy(np.array(self.features[split].features)).to(self._setup.device)

    def y(self, split: str) -> Tensor:
        """Return a split's labels, int64 (n,), on the device."""
        return torch.from_numpy(self.features[split].labels).to(self._setup.device)

    def notes(self, **more: Any) -> dict[str, Any]:
        """Return the columns that qualify the number; the precision is the one the features were computed in."""
        meta, splits = self.features.meta, self.features.splits
        counts = {f"n_{name}": len(split.labels) for name, split in splits.items()}
        facts = {"n_classes": len(self.classes), "dropped_pictures": meta["dropped"], "precision": meta["precision"]}
        facts["features_s"] = meta["seconds"]
        return {**self._setup.notes(meta["pooling"]), **counts, **facts, **more}


def linear(job: Job, context: Context) -> TaskResult:
    """Logistic regression on centred, unit-length features; the strength best on val (top1, then nll) is tested."""
    probe = Probe(job, context)
    centred = Centred.fit(probe.x("train"))
    x, x_val = centred(probe.x("train")), centred(probe.x("val"))
    val_labels = probe.features["val"].labels
    strengths = [float(value) for value in job.param("l2")]
    search, best, best_key = [], None, (-np.inf, -np.inf)
    for done, model in enumerate(fit_path(x, probe.y("train"), classes=len(probe.classes), l2=strengths), start=1):
        val = classification_metrics(model.probabilities(x_val).cpu().numpy(), val_labels)
        search.append({"l2": model.l2, "val_score": val["top1"], "val_loss": val["nll"]})
        key = (val["top1"], -val["nll"])
        if best is None or key > best_key:
            best, best_key = model, key
        context.progress("linear", done, len(strengths))
    if best is None:
        raise ValueError("no strength was tried")
    edge = len(strengths) > 1 and best.l2 in (min(strengths), max(strengths))
    test = probe.features["test"]
    probabilities = best.probabilities(centred(probe.x("test"))).cpu().numpy()
    notes = probe.notes(grid_edge=edge)
    return scored(probabilities, test.labels, test.ids, hparams={"l2": best.l2}, search=search, notes=notes)


def knn(job: Job, context: Context) -> TaskResult:
    """A vote of the nearest training pictures."""
    probe = Probe(job, context)
    asked, count = int(job.param("k")), len(probe.features["train"].labels)
    if asked > count:
        log.warning("k=%d is more than the %d training pictures: all of them vote.", asked, count)
    k, temperature = min(asked, count), float(job.param("temperature"))
    probabilities = knn_probabilities(
        probe.x("train"), probe.y("train"), probe.x("test"), classes=len(probe.classes), k=k, temperature=temperature
    )
    hparams = {"k": k, "temperature": temperature}
    test = probe.features["test"]
    notes = probe.notes(**({"k_clipped": True} if asked > count else {}))
    return scored(probabilities.cpu().numpy(), test.labels, test.ids, hparams=hparams, notes=notes)


def fewshot(job: Job, context: Context) -> TaskResult:
    """Logistic regression on a few pictures per class, over several draws."""
    probe = Probe(job, context)
    shots, draws, c = int(job.param("shots")), int(job.param("draws")), float(job.param("c"))
    train, labels, queries = probe.x("train"), probe.y("train"), probe.x("test")
    each = []
    for draw in range(draws):
        support = draw_support(
            probe.features["train"].labels, class_names=probe.classes, shots=shots, seed=job.seed, draw=draw
        )
        model = fewshot_probabilities(train, labels, queries, support=support, classes=len(probe.classes), c=c)
        each.append(model.cpu().numpy())
        context.progress("fewshot", draw + 1, draws)
    test = probe.features["test"]
    hparams = {"shots": shots, "draws": draws, "c": c}
    return scored_over_draws(np.stack(each), test.labels, test.ids, hparams=hparams, notes=probe.notes())
