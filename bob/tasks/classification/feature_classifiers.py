"""The classifiers on frozen features: a logistic regression, a vote of neighbours, a few pictures per class."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bob.backbones.loader import BackboneModel
from bob.core.files import write_text
from bob.jobs.context import Context
from bob.jobs.job import Job, Need, OtherData
from bob.jobs.needs import classifier_need, corrupted_features_need, other_features_need
from bob.metrics.classification_metrics import classification_metrics
from bob.probes.feature_files import FeatureSet, SplitFeatures, corrupted_split, load_features
from bob.probes.fewshot import draw_support, fit_fewshot
from bob.probes.knn import knn_probabilities
from bob.probes.logistic import Centred, Logistic, fit_path
from bob.probes.unit_length import unit_rows
from bob.tasks.artifact_makers import make
from bob.tasks.classification.classification_spec import FewshotParams, KnnParams, LinearParams
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.frozen_features import best_strength, feature_notes, frozen_features, on_device
from bob.tasks.setup import Setup

log = logging.getLogger(__name__)

TENSORS, FACTS = "classifier.safetensors", "classifier.json"


class FeatureClassifier(SourceClassifier):
    """A classifier on pooled features, which are artifacts: one pass serves all jobs of a backbone and data set.

    Attributes:
        features: Of the job's own data set.
    """

    def __init__(self, setup: Setup, features: FeatureSet) -> None:
        self.setup = setup
        self.features = features
        self.classes = features.classes

    @abstractmethod
    def answer(self, x: Tensor) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the logits (draws, n, c) of features (n, width), and what a linear head sees of them, (n, d)."""

    def own(self, split: str) -> Answers:
        """Ask about a split of the job's data set."""
        return self._answers(self.features[split], self.classes)

    def other(self, other: OtherData) -> Answers:
        """Ask about the test pictures of another data set, from their features."""
        job, context = self.setup.job, self.setup.context
        found = load_features(make(other_features_need(job, other), job, context))
        return self._answers(found["test"], found.classes)

    def corrupted(self, names: Sequence[str], severities: Sequence[int]) -> Iterator[tuple[str, int, Answers]]:
        """Yield the answers for each corruption, from the features of corrupted pictures."""
        job, context = self.setup.job, self.setup.context
        found = load_features(make(corrupted_features_need(job), job, context))
        for name in names:
            for severity in severities:
                yield name, severity, self._answers(found[corrupted_split(name, severity)], self.classes)

    def x(self, split: str) -> Tensor:
        """Return a split's features, float32 (n, width), on the device."""
        return on_device(self.features[split], self.setup)

    def y(self, split: str) -> Tensor:
        """Return a split's labels, int64 (n,), on the device."""
        return torch.from_numpy(self.features[split].labels).to(self.setup.device)

    def notes(self, **more: Any) -> dict[str, Any]:
        """Return the columns that qualify the number; the precision is the one the features were computed in."""
        return feature_notes(self.setup, self.features, **more)

    def _answers(self, split: SplitFeatures, classes: tuple[str, ...]) -> Answers:
        logits, seen = self.answer(on_device(split, self.setup))
        return Answers(
            logits=logits,
            labels=split.labels,
            ids=split.ids,
            classes=classes,
            features=seen,
            label_sets=split.label_sets,
        )


@dataclass(frozen=True, kw_only=True)
class FittedLinear:
    """A logistic regression on centred, unit-length features, and how it was found.

    Attributes:
        centred: What its features go through.
        model: The regression.
        search: Every strength tried, as in ``TaskResult``.
        grid_edge: Whether the strength chosen lies on an edge of those tried.
    """

    centred: Centred
    model: Logistic
    search: list[dict[str, Any]]
    grid_edge: bool

    def save(self, folder: Path) -> None:
        """Write it to a folder."""
        tensors = {"mean": self.centred.mean, "weight": self.model.weight, "bias": self.model.bias}
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, folder / TENSORS)
        facts = {"l2": self.model.l2, "loss": self.model.loss, "search": self.search, "grid_edge": self.grid_edge}
        write_text(folder / FACTS, json.dumps(facts))

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> FittedLinear:
        """Read it from a folder."""
        tensors = load_file(folder / TENSORS, device=str(device))
        facts = json.loads((folder / FACTS).read_text())
        model = Logistic(weight=tensors["weight"], bias=tensors["bias"], l2=facts["l2"], loss=facts["loss"])
        mean = Centred(mean=tensors["mean"])
        return cls(centred=mean, model=model, search=facts["search"], grid_edge=facts["grid_edge"])


class LinearProbe(FeatureClassifier):
    """Logistic regression on centred, unit-length features; the strength best on val (top1, then nll)."""

    def __init__(self, setup: Setup, features: FeatureSet, fitted: FittedLinear) -> None:
        super().__init__(setup, features)
        self.centred, self.model = fitted.centred, fitted.model
        self.search, self.grid_edge = fitted.search, fitted.grid_edge

    def answer(self, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return logits and the centred features."""
        seen = self.centred(x)
        return self.model.logits(seen).cpu().numpy()[None], seen.cpu().numpy()

    def facts(self) -> dict[str, Any]:
        """Return the strength chosen, and the search for it."""
        notes = self.notes(grid_edge=self.grid_edge)
        return {"hparams": {"l2": self.model.l2}, "search": self.search, "notes": notes}

    def train_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the centred features of train and its labels, without the logits of a million pictures."""
        return self.centred(self.x("train")).cpu().numpy(), self.features["train"].labels

    def head(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias."""
        return self.model.weight, self.model.bias

    def module(self) -> nn.Module:
        """Return backbone, centring and head in one."""
        backbone = self.setup.model()
        self.setup.estimate_statistics(backbone)
        return _Probed(backbone, self.centred, self.model)


class _Probed(nn.Module):
    mean: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, backbone: BackboneModel, centred: Centred, model: Logistic) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", centred.mean.clone())
        self.register_buffer("weight", model.weight.clone())
        self.register_buffer("bias", model.bias.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return (n, c) logits of (n, 3, S, S) normalised images."""
        seen = unit_rows(self.backbone(images) - self.mean)
        return seen @ self.weight + self.bias


def fit_linear(job: Job, context: Context) -> LinearProbe:
    """Fit the logistic regression of a job, or load it where it is an artifact that jobs share."""
    setup, features = frozen_features(job, context)
    if "classifier" in job.uses:
        fitted = FittedLinear.load(make(classifier_need(job), job, context), setup.device)
    else:
        fitted = _searched_linear(setup, features)
    return LinearProbe(setup, features, fitted)


def write_linear(setup: Setup, need: Need, folder: Path) -> None:
    """Fit the logistic regression and write it: a maker of the artifact ``classifier``."""
    _, features = frozen_features(setup.job, setup.context)
    _searched_linear(setup, features).save(folder)


def _searched_linear(setup: Setup, features: FeatureSet) -> FittedLinear:
    """Fit a regression per strength and keep the best on val, by top1, then by nll."""
    train, val = (on_device(features[split], setup) for split in ("train", "val"))
    labels = torch.from_numpy(features["train"].labels).to(setup.device)
    centred = Centred.fit(train)
    x, x_val = centred(train), centred(val)
    strengths = list(LinearParams.of(setup.job).l2)

    def scored(model: Logistic) -> tuple[float, float]:
        found = classification_metrics(model.probabilities(x_val).cpu().numpy(), features["val"].labels)
        return found["top1"], found["nll"]

    path = fit_path(x, labels, classes=len(features.classes), l2=strengths)
    best = best_strength(path, strengths, scored, setup.context)
    return FittedLinear(centred=centred, model=best.model, search=best.search, grid_edge=best.grid_edge)


class KnnProbe(FeatureClassifier):
    """A vote of the nearest training pictures. A logit is the logarithm of a share of the votes.

    Attributes:
        k: Neighbours that vote.
        is_clipped: Whether more were asked for than there are.
    """

    def __init__(self, setup: Setup, features: FeatureSet) -> None:
        super().__init__(setup, features)
        params, count = KnnParams.of(setup.job), len(features["train"].labels)
        self.k, self.temperature = min(params.k, count), params.temperature
        self.is_clipped = params.k > count
        self._bank = self.x("train"), self.y("train")

    def answer(self, x: Tensor) -> tuple[np.ndarray, None]:
        """Return logits."""
        probabilities = knn_probabilities(
            *self._bank, x, classes=len(self.classes), k=self.k, temperature=self.temperature
        )
        return probabilities.log().cpu().numpy()[None], None

    def facts(self) -> dict[str, Any]:
        """Return what voted, and whether more was asked for than there is."""
        notes = self.notes(**({"k_clipped": True} if self.is_clipped else {}))
        return {"hparams": {"k": self.k, "temperature": self.temperature}, "notes": notes}


def knn_vote(job: Job, context: Context) -> KnnProbe:
    """Return the vote of a job's training pictures."""
    probe = KnnProbe(*frozen_features(job, context))
    if probe.is_clipped:
        log.warning("k=%d is more than the %d training pictures: all of them vote.", KnnParams.of(job).k, probe.k)
    return probe


class FewshotProbe(FeatureClassifier):
    """Logistic regressions on a few pictures per class, one per draw."""

    def __init__(self, setup: Setup, features: FeatureSet, models: Sequence[Logistic]) -> None:
        super().__init__(setup, features)
        self._models = models

    def answer(self, x: Tensor) -> tuple[np.ndarray, None]:
        """Return the logits of every draw."""
        unit = unit_rows(x)
        return np.stack([model.logits(unit).cpu().numpy() for model in self._models]), None

    def facts(self) -> dict[str, Any]:
        """Return the draws' settings."""
        return {"hparams": FewshotParams.of(self.setup.job).model_dump(), "notes": self.notes()}


def fit_fewshot_probe(job: Job, context: Context) -> FewshotProbe:
    """Draw a few training pictures per class, several times, and fit a logistic regression to each draw."""
    setup, features = frozen_features(job, context)
    params, labels = FewshotParams.of(job), features["train"].labels
    x, y = on_device(features["train"], setup), torch.from_numpy(labels).to(setup.device)
    models = []
    for draw in range(params.draws):
        support = draw_support(labels, class_names=features.classes, shots=params.shots, seed=job.seed, draw=draw)
        models.append(fit_fewshot(x, y, support=support, classes=len(features.classes), c=params.c))
        context.progress("fewshot", draw + 1, params.draws)
    return FewshotProbe(setup, features, models)
