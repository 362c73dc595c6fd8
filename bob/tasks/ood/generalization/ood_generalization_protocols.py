"""Task `ood_generalization`: a classifier of one data set, scored on shifted and corrupted pictures as it is."""

from __future__ import annotations

import numpy as np

from bob.data.class_map import class_places
from bob.data.corrupted import require_corruptions
from bob.data.imagenet import wnid_labels, wnids
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import corruptions_of
from bob.tasks.classification.classifiers import SourceClassifier
from bob.tasks.classification.feature_classifiers import fit_fewshot_probe, fit_linear, knn_vote
from bob.tasks.classification.picture_classifiers import load_pretrained, train_finetuned
from bob.tasks.ood.generalization.ood_generalization_result import (
    SEVERAL,
    Corrupted,
    ScoredSet,
    generalised,
    scored_set,
)
from bob.tasks.ood.generalization.ood_generalization_spec import check_job
from bob.tasks.result import TaskResult


def linear(job: Job, context: Context) -> TaskResult:
    """Score the logistic regression on frozen features."""
    require_scorable(job)
    return on_shifts(fit_linear(job, context))


def knn(job: Job, context: Context) -> TaskResult:
    """Score the vote of the nearest training pictures."""
    require_scorable(job)
    return on_shifts(knn_vote(job, context))


def fewshot(job: Job, context: Context) -> TaskResult:
    """Score the logistic regressions on a few pictures per class, as a mean over draws."""
    require_scorable(job)
    return on_shifts(fit_fewshot_probe(job, context))


def finetune(job: Job, context: Context) -> TaskResult:
    """Score the fine-tuned model."""
    require_scorable(job)
    return on_shifts(train_finetuned(job, context))


def pretrained_head(job: Job, context: Context) -> TaskResult:
    """Score the checkpoint's own ImageNet-1k head; a shift's classes are ImageNet's, by WordNet id."""
    require_scorable(job)
    classifier = load_pretrained(job, context)
    return on_shifts(classifier, own=wnid_labels(classifier.setup.pictures("test").classes))


def require_scorable(job: Job) -> None:
    """Check, before anything is trained, that all that the job is to be scored on can be.

    Raises:
        ConfigError: As ``check_job`` and ``require_corruptions``.
        DataError: As ``check_job``.
    """
    check_job(job)
    require_corruptions(corruptions_of(job)[0], side=job.input.image_size)


def on_shifts(classifier: SourceClassifier, *, own: np.ndarray | None = None) -> TaskResult:
    """Return the result of a classifier on each shift and each corruption of its job, beside its own test pictures.

    Args:
        classifier: Of the job's own data set.
        own: The classifier's class of each class of the job's data set; None if they are the same.
    """
    job, classes = classifier.setup.job, classifier.classes
    places = np.arange(len(classes)) if own is None else own
    test = classifier.own("test")
    shifts = []
    for other in job.others:
        answers = classifier.other(other)
        there = class_places(classes, answers.classes)
        shifts.append(scored_set(other.name, answers, there, classes=len(classes)))
    return generalised(
        scored_set(job.dataset, test, places, classes=len(classes), over_all=True),
        shifts,
        _corrupted(classifier, places),
        is_imagenet=set(test.classes) == set(wnids()),
        **classifier.facts(),
    )


def _corrupted(classifier: SourceClassifier, places: np.ndarray) -> Corrupted | None:
    """Return how the own test pictures fare under every corruption of the job; None if it has none."""
    job = classifier.setup.job
    names, severities = corruptions_of(job)
    if not names:
        return None
    accuracies: dict[str, dict[int, float]] = {name: {} for name in names}
    right: np.ndarray | float = 0.0
    last = None
    for name, severity, answers in classifier.corrupted(names, severities):
        last = scored_set(
            f"{job.dataset}+{name}-{severity}", answers, places, classes=len(classifier.classes), over_all=True
        )
        accuracies[name][severity] = last.accuracy
        right = right + last.correct
    assert last is not None, "there is at least one corruption and severity"
    pooled = ScoredSet(
        name=f"{job.dataset}+corruptions",
        ids=last.ids,
        labels=last.labels,
        predictions=np.full(len(last.ids), SEVERAL, dtype=np.int64),
        correct=np.asarray(right) / (len(names) * len(severities)),
    )
    return Corrupted(pooled=pooled, accuracies=accuracies)
