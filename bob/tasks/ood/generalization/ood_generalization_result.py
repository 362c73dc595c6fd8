"""From a classifier's answers on shifted and corrupted pictures to a generalization job's result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from bob.core.errors import NumericalError
from bob.core.files import canonical_json, digest
from bob.data.class_map import masked
from bob.data.corruptions.names import BENCHMARK
from bob.metrics.resampling import RESAMPLES, resampled_counts, spread_of
from bob.metrics.robustness import ALEXNET_MEAN_ERROR, SEVERITIES, mean_corruption_error, relative_drop
from bob.tasks.classification.classifiers import Answers
from bob.tasks.result import TaskResult

DIGITS = 6
SEVERAL = -1  # the prediction for a picture that was asked about under several corruptions


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """Test pictures, and what became of them.

    Attributes:
        name: The data set's, or what the own pictures are called under all corruptions.
        ids: The pictures' ids, n of them.
        labels: (n,) int64: the classifier's class; the first of those that are right, where there are several.
        predictions: (n,) int64: the classifier's class, of the mean probabilities over draws; ``SEVERAL`` where a
            picture stands for several corruptions.
        correct: (draws, n) float64: 1 where a draw is right; the share of corruptions under which it is.
    """

    name: str
    ids: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray
    correct: np.ndarray

    @property
    def accuracy(self) -> float:
        """Mean over draws and pictures."""
        return float(self.correct.mean())


@dataclass(frozen=True, kw_only=True)
class Corrupted:
    """The own test pictures under all corruptions.

    Attributes:
        pooled: Each picture once: the share of corruptions and severities under which it is right.
        accuracies: By corruption and severity.
    """

    pooled: ScoredSet
    accuracies: Mapping[str, Mapping[int, float]]


def scored_set(name: str, answers: Answers, places: np.ndarray, *, classes: int, over_all: bool = False) -> ScoredSet:
    """Return what became of the pictures of one set.

    The prediction is the arg max over the classes that the set has (``bob.data.class_map``). Where several classes are
    right, a prediction is right if it is among them. Where some of the set's classes tie (k-NN gives all the same where
    no neighbour is of any), it is right to the share of them that is: the order of classes must not decide.

    Args:
        name: The set's.
        answers: About its pictures.
        places: The classifier's class of each class of the set, int64.
        classes: How many classes the classifier has.
        over_all: Let all of the classifier's classes take part, whichever the set has.

    Raises:
        NumericalError: A logit is not finite.
    """
    assert answers.labels.min(initial=0) >= 0, "the pictures of a shift are labelled"
    if not np.isfinite(answers.logits).all():
        raise NumericalError(f"the classifier's answers on {name!r} are not all finite.", hint="Try precision fp32.")
    taking_part = np.arange(classes) if over_all else np.flatnonzero(masked(classes, places))
    logits = answers.logits if len(taking_part) == classes else answers.logits[..., taking_part]
    guesses = taking_part[logits.argmax(axis=2)]
    labels = places[answers.labels]
    right = _right(taking_part, labels, answers.label_sets, places)
    return ScoredSet(
        name=name,
        ids=answers.ids,
        labels=labels,
        predictions=guesses[0] if len(guesses) == 1 else taking_part[softmax(logits, axis=2).mean(axis=0).argmax(1)],
        correct=_first_right(logits, right) if over_all else _share_right(logits, right),
    )


def generalised(
    source: ScoredSet,
    shifts: Sequence[ScoredSet],
    corrupted: Corrupted | None,
    *,
    is_imagenet: bool,
    notes: dict[str, Any],
    **facts: Any,
) -> TaskResult:
    """Return the result: the mean over shifts, all corruptions together counting as one, and what it is made of.

    Args:
        source: The own test pictures, untouched.
        shifts: The shifted data sets, each name once.
        corrupted: The own test pictures corrupted; None if there are neither. One of both is needed.
        is_imagenet: Whether the own data set has ImageNet's 1,000 classes, those of AlexNet's published errors.
        notes: Of the result; ``per_shift`` and ``n_test`` are added.
        facts: ``hparams``, ``search``, ``cost`` of the result.
    """
    sets = [*shifts, *([corrupted.pooled] if corrupted else [])]
    assert len({each.name for each in sets}) == len(sets) > 0, "the planner tells sets apart and refuses to have none"
    score = _mean([each.accuracy for each in sets])
    replicates = mean_replicates(sets)
    # Where all replicates are equal, there are still as many independent groups of one picture of each set.
    low, high = spread_of(score, replicates).interval(score, samples=min(len(each.ids) for each in sets))
    metrics = {"mean_accuracy": score, "source_top1": source.accuracy}
    if source.accuracy:
        metrics["relative_drop"] = relative_drop(source.accuracy, score)
    if shifts:
        metrics["shift_accuracy"] = _mean([each.accuracy for each in shifts])
    if corrupted:
        metrics |= _corruption_metrics(corrupted.accuracies, is_imagenet=is_imagenet)
    return TaskResult(
        score=score,
        score_low=low,
        score_high=high,
        metrics=metrics,
        outcomes=_outcomes(sets),
        replicates=replicates,
        notes={**notes, "n_test": len(source.ids), "per_shift": _text(shifts, corrupted)},
        **facts,
    )


def mean_replicates(sets: Sequence[ScoredSet], *, resamples: int = RESAMPLES) -> np.ndarray:
    """Return the mean accuracy over sets on resampled test sets, float64 (resamples,).

    The draws of a set follow from its sample ids alone: they pair with those of any backbone, in whichever order sets
    are named, and sets that show the same pictures in another light (rendered scenes, corruptions) are resampled
    together. Several draws of the classifier are resampled too, once for all sets (Owen 2007, "The pigeonhole
    bootstrap").
    """
    draws = len(sets[0].correct)
    weights = np.random.default_rng(0).multinomial(draws, np.full(draws, 1 / draws), size=resamples) / draws
    # In the order of names, so that the last digit does not depend on the suite's.
    return np.mean([_replicates(each, weights) for each in sorted(sets, key=lambda each: each.name)], axis=0)


def _right(
    taking_part: np.ndarray, labels: np.ndarray, sets: tuple[tuple[int, ...], ...] | None, places: np.ndarray
) -> np.ndarray:
    """Return bool (n, m): which of the classes that take part are right for each picture."""
    if sets is None:
        return labels[:, None] == taking_part
    return np.array([np.isin(taking_part, places[list(each)]) for each in sets])


def _first_right(logits: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (draws, n): whether the first of the highest classes is right, as classification counts it."""
    guesses = logits.argmax(axis=2)
    return np.take_along_axis(right[None], guesses[..., None], axis=2)[..., 0].astype(np.float64)


def _share_right(logits: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return (draws, n): the share of the highest classes that is right."""
    highest = logits == logits.max(axis=2, keepdims=True)
    return (highest & right).sum(axis=2) / highest.sum(axis=2)


def _replicates(each: ScoredSet, weights: np.ndarray) -> np.ndarray:
    n = len(each.ids)
    order = sorted(range(n), key=each.ids.__getitem__)
    correct = each.correct[:, order].T
    seed = int(digest([each.ids[index] for index in order]), 16)
    counts = resampled_counts(n, seed=seed, resamples=len(weights))
    by_draw = np.concatenate([block @ correct for block in counts]) / n
    return (by_draw * weights).sum(axis=1)


def _corruption_metrics(accuracies: Mapping[str, Mapping[int, float]], *, is_imagenet: bool) -> dict[str, float]:
    errors = {name: {severity: 1 - value for severity, value in by.items()} for name, by in accuracies.items()}
    found = {
        "corruption_accuracy": _mean([value for by in accuracies.values() for value in by.values()]),
        "mce": mean_corruption_error(errors),
    }
    published = {name: by for name, by in errors.items() if name in BENCHMARK and set(by) == set(SEVERITIES)}
    if is_imagenet and len(published) == len(BENCHMARK):
        found["mce_alexnet"] = mean_corruption_error(published, ALEXNET_MEAN_ERROR)
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _outcomes(sets: Sequence[ScoredSet]) -> dict[str, np.ndarray]:
    return {
        "sample_id": np.array([f"{each.name}/{picture}" for each in sets for picture in each.ids], dtype=object),
        "label": np.concatenate([each.labels for each in sets]).astype(np.int64),
        "prediction": np.concatenate([each.predictions for each in sets]).astype(np.int64),
        "outcome": np.concatenate([each.correct.mean(axis=0) for each in sets]),
    }


def _text(shifts: Sequence[ScoredSet], corrupted: Corrupted | None) -> str:
    accuracies = corrupted.accuracies if corrupted else {}
    severities = sorted({severity for by in accuracies.values() for severity in by})
    by_severity = {severity: _mean([by[severity] for by in accuracies.values()]) for severity in severities}
    return canonical_json(
        {
            "shifts": {each.name: round(each.accuracy, DIGITS) for each in shifts},
            "corruptions": {name: _rounded(by) for name, by in accuracies.items()},
            "severity": _rounded(by_severity),
        }
    )


def _rounded(by_severity: Mapping[int, float]) -> dict[str, float]:
    return {str(severity): round(value, DIGITS) for severity, value in by_severity.items()}
