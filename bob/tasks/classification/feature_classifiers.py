"""The classifiers on frozen features: a logistic regression, a vote of neighbours, a few pictures per class."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bob.backbones.loader import BackboneModel
from bob.core.files import write_text
from bob.data.pictures import require_split
from bob.jobs.context import Context
from bob.jobs.job import Job, Need, OtherData
from bob.jobs.needs import classifier_need, corrupted_features_need, features_need, other_features_need
from bob.metrics.classification_metrics import classification_metrics
from bob.probes.feature_files import FeatureSet, SplitFeatures, corrupted_split, load_features
from bob.probes.fewshot import draw_support, fit_fewshot
from bob.probes.knn import knn_probabilities
from bob.probes.logistic import Centred, Logistic, fit_path
from bob.tasks.artifact_makers import make
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.setup import Setup

log = logging.getLogger(__name__)

TENSORS, FACTS = "classifier.safetensors", "classifier.json"


class FeatureClassifier(SourceClassifier):
    """A classifier on pooled features, which are artifacts: one pass serves all jobs of a backbone and data set.

    Attributes:
        features: Of the job's own data set.
    """

    def __init__(self, job: Job, context: Context) -> None:
        self.setup = Setup.of(job, context)
        require_split(self.setup.spec, "train", self.setup.splits)
        self.features: FeatureSet = load_features(make(features_need(job), job, context))
        self.classes = self.features.classes

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
        return self._on_device(self.features[split])

    def y(self, split: str) -> Tensor:
        """Return a split's labels, int64 (n,), on the device."""
        return torch.from_numpy(self.features[split].labels).to(self.setup.device)

    def notes(self, **more: Any) -> dict[str, Any]:
        """Return the columns that qualify the number; the precision is the one the features were computed in."""
        meta, splits = self.features.meta, self.features.splits
        counts = {f"n_{name}": len(split.labels) for name, split in splits.items()}
        facts = {"n_classes": len(self.classes), "dropped_pictures": meta["dropped"], "precision": meta["precision"]}
        facts["features_s"] = meta["seconds"]
        return {**self.setup.notes(meta["pooling"]), **counts, **facts, **more}

    def _on_device(self, split: SplitFeatures) -> Tensor:
        return torch.from_numpy(np.array(split.features)).to(self.setup.device)

    def _answers(self, split: SplitFeatures, classes: tuple[str, ...]) -> Answers:
        logits, seen = self.answer(self._on_device(split))
        return Answers(
            logits=logits,
            labels=split.labels,
            ids=split.ids,
            classes=classes,
            features=seen,
            label_sets=split.label_sets,
        )


class LinearProbe(FeatureClassifier):
    """Logistic regression on centred, unit-length features; the strength best on val (top1, then nll)."""

    def __init__(self, job: Job, context: Context) -> None:
        super().__init__(job, context)
        self.search: list[dict[str, Any]] = []
        if "classifier" in job.uses:
            self._load(make(classifier_need(job), job, context))
        else:
            self._fit()

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

    def save(self, folder: Path) -> None:
        """Write it to a folder."""
        tensors = {"mean": self.centred.mean, "weight": self.model.weight, "bias": self.model.bias}
        save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, folder / TENSORS)
        facts = {"l2": self.model.l2, "loss": self.model.loss, "search": self.search, "grid_edge": self.grid_edge}
        write_text(folder / FACTS, json.dumps(facts))

    def _load(self, folder: Path) -> None:
        tensors = load_file(folder / TENSORS, device=str(self.setup.device))
        facts = json.loads((folder / FACTS).read_text())
        self.centred = Centred(mean=tensors["mean"])
        self.model = Logistic(weight=tensors["weight"], bias=tensors["bias"], l2=facts["l2"], loss=facts["loss"])
        self.search, self.grid_edge = facts["search"], facts["grid_edge"]

    def _fit(self) -> None:
        self.centred = Centred.fit(self.x("train"))
        x, x_val = self.centred(self.x("train")), self.centred(self.x("val"))
        strengths = [float(value) for value in self.setup.job.param("l2")]
        best, best_key = None, (-np.inf, -np.inf)
        path = fit_path(x, self.y("train"), classes=len(self.classes), l2=strengths)
        for done, model in enumerate(path, start=1):
            val = classification_metrics(model.probabilities(x_val).cpu().numpy(), self.features["val"].labels)
            self.search.append({"l2": model.l2, "val_score": val["top1"], "val_loss": val["nll"]})
            key = (val["top1"], -val["nll"])
            if best is None or key > best_key:
                best, best_key = model, key
            self.setup.context.progress("linear", done, len(strengths))
        if best is None:
            raise ValueError("no strength was tried")
        self.model = best
        self.grid_edge = len(strengths) > 1 and best.l2 in (min(strengths), max(strengths))


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
        seen = nn.functional.normalize(self.backbone(images) - self.mean, dim=1)
        return seen @ self.weight + self.bias


def write_linear(setup: Setup, need: Need, folder: Path) -> None:
    """Fit the logistic regression and write it: a maker of the artifact ``classifier``."""
    LinearProbe(replace(setup.job, uses=("features",)), setup.context).save(folder)


class KnnProbe(FeatureClassifier):
    """A vote of the nearest training pictures. A logit is the logarithm of a share of the votes.

    Attributes:
        k: Neighbours that vote.
        is_clipped: Whether more were asked for than there are.
    """

    def __init__(self, job: Job, context: Context) -> None:
        super().__init__(job, context)
        asked, count = int(job.param("k")), len(self.features["train"].labels)
        self.is_clipped = asked > count
        if self.is_clipped:
            log.warning("k=%d is more than the %d training pictures: all of them vote.", asked, count)
        self.k, self.temperature = min(asked, count), float(job.param("temperature"))
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


class FewshotProbe(FeatureClassifier):
    """Logistic regressions on a few pictures per class, one per draw."""

    def answer(self, x: Tensor) -> tuple[np.ndarray, None]:
        """Return the logits of every draw."""
        unit = nn.functional.normalize(x, dim=1)
        return np.stack([model.logits(unit).cpu().numpy() for model in self._models]), None

    @cached_property
    def _models(self) -> list[Logistic]:
        job = self.setup.job
        shots, draws, c = int(job.param("shots")), int(job.param("draws")), float(job.param("c"))
        train, labels = self.x("train"), self.y("train")
        models = []
        for draw in range(draws):
            support = draw_support(
                self.features["train"].labels, class_names=self.classes, shots=shots, seed=job.seed, draw=draw
            )
            models.append(fit_fewshot(train, labels, support=support, classes=len(self.classes), c=c))
            self.setup.context.progress("fewshot", draw + 1, draws)
        return models

    def facts(self) -> dict[str, Any]:
        """Return the draws' settings."""
        hparams = {name: self.setup.job.param(name) for name in ("shots", "draws", "c")}
        return {"hparams": hparams, "notes": self.notes()}
