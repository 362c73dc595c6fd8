"""Task `classification`: one function per protocol, (job, context) -> TaskResult."""

from __future__ import annotations

from dataclasses import replace

from bob.data.imagenet import wnid_labels
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.tasks.classification.classification_result import classified
from bob.tasks.classification.feature_classifiers import fit_fewshot_probe, fit_linear, knn_vote
from bob.tasks.classification.picture_classifiers import load_pretrained, train_finetuned
from bob.tasks.result import TaskResult


def linear(job: Job, context: Context) -> TaskResult:
    """Logistic regression on centred, unit-length features; the strength best on val (top1, then nll) is tested."""
    return classified(fit_linear(job, context))


def knn(job: Job, context: Context) -> TaskResult:
    """A vote of the nearest training pictures."""
    return classified(knn_vote(job, context))


def fewshot(job: Job, context: Context) -> TaskResult:
    """Logistic regression on a few pictures per class, over several draws."""
    return classified(fit_fewshot_probe(job, context))


def finetune(job: Job, context: Context) -> TaskResult:
    """Train a trial per learning rate, keep the best on val, score it on test; for the costs see ``SearchedWork``."""
    classifier = train_finetuned(job, context)
    return replace(classified(classifier), shared_s=classifier.trained.shared_s)


def pretrained_head(job: Job, context: Context) -> TaskResult:
    """Score the most probable of all 1000 classes, however few of them the folders have.

    Raises:
        DataError: A class folder is no ImageNet-1k wnid.
        ConfigError: The backbone is a control, or its head has other classes.
    """
    classifier = load_pretrained(job, context)
    return classified(classifier, places=wnid_labels(classifier.setup.pictures("test").classes))
