"""Task `classification`: one function per protocol, (job, context) -> TaskResult."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bob.context import Context
from bob.data.imagenet import wnid_labels
from bob.job import Job
from bob.tasks.classification_result import classified
from bob.tasks.classifier_features import FewshotProbe, KnnProbe, LinearProbe
from bob.tasks.classifier_pictures import FinetunedClassifier, PretrainedClassifier
from bob.tasks.result import TaskResult


def linear(job: Job, context: Context) -> TaskResult:
    """Logistic regression on centred, unit-length features; the strength best on val (top1, then nll) is tested."""
    probe = LinearProbe(job, context)
    notes = probe.notes(grid_edge=probe.grid_edge)
    return classified(probe, hparams={"l2": probe.model.l2}, search=probe.search, notes=notes)


def knn(job: Job, context: Context) -> TaskResult:
    """A vote of the nearest training pictures."""
    probe = KnnProbe(job, context)
    notes = probe.notes(**({"k_clipped": True} if probe.is_clipped else {}))
    return classified(probe, hparams={"k": probe.k, "temperature": probe.temperature}, notes=notes)


def fewshot(job: Job, context: Context) -> TaskResult:
    """Logistic regression on a few pictures per class, over several draws."""
    probe = FewshotProbe(job, context)
    hparams = {name: job.param(name) for name in ("shots", "draws", "c")}
    return classified(probe, hparams=hparams, notes=probe.notes())


def finetune(job: Job, context: Context) -> TaskResult:
    """Train a trial per learning rate, keep the best on val, score it on test; for the costs see ``SearchedWork``."""
    classifier = FinetunedClassifier(job, context)
    trained = classifier.trained
    facts: dict[str, Any] = {"hparams": trained.hparams, "search": trained.search, "cost": trained.cost}
    result = classified(classifier, **facts, notes=trained.notes)
    # Another job's training may have been asked for with another test set.
    return replace(result, notes={**result.notes, "n_test": len(result.outcomes["label"])}, shared_s=trained.shared_s)


def pretrained_head(job: Job, context: Context) -> TaskResult:
    """Score the most probable of all 1000 classes, however few of them the folders have.

    Raises:
        DataError: A class folder is no ImageNet-1k wnid.
        ConfigError: The backbone is a control, or its head has other classes.
    """
    classifier = PretrainedClassifier(job, context)
    test = classifier.setup.pictures("test")
    counts = {"n_test": len(test), "n_classes": len(classifier.classes), "dropped_pictures": len(test.dropped)}
    notes = {**classifier.setup.notes(), **counts}
    return classified(classifier, places=wnid_labels(test.classes), notes=notes)
