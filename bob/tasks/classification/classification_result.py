"""From probabilities to a classification job's result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import softmax

from bob.metrics.calibration import calibration_metrics, fit_temperature, on_bound, scaled
from bob.metrics.classification_metrics import classification_metrics
from bob.metrics.interval import crossed_interval, mean_interval
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.result import TaskResult


def classified(classifier: SourceClassifier, *, places: np.ndarray | None = None) -> TaskResult:
    """Return the result of a classifier on test, calibrated on val too.

    Val's answers are free on features; a classifier that looks at the pictures passes over val once more. Without a
    val there is no temperature: what follows from it is left out.

    Args:
        classifier: Of the job's own data set.
        places: The classifier's class of each class of the data set; None if they are the same.

    Raises:
        NumericalError: A logit is not finite.
    """
    test = classifier.own("test")
    labels = _placed(test, places)
    probabilities = softmax(test.logits, axis=-1)
    facts = classifier.facts()
    # Another job's training may have been asked for with another test set.
    facts["notes"] = {**facts["notes"], "n_test": len(labels)}
    if len(probabilities) == 1:
        result = scored(probabilities[0], labels, test.ids, **facts)
    else:
        result = scored_over_draws(probabilities, labels, test.ids, **facts)
    if not _has_val(classifier):
        return result
    val = classifier.own("val")
    return rescaled(result, test.logits, [fit_temperature(draw, _placed(val, places)) for draw in val.logits])


def rescaled(result: TaskResult, logits: np.ndarray, temperatures: Sequence[float]) -> TaskResult:
    """Return the result with what temperature scaling makes of its confidences; all it has stays as it is.

    It gains the metrics ``temperature`` and ``ece_scaled``, ``adaptive_ece_scaled``, ``brier_scaled``, ``nll_scaled``
    (means over draws), the note ``temperature_on_bound`` (of any draw) and the outcome ``confidence_scaled``: what the
    predicted class's confidence is then.

    Args:
        result: Of ``scored`` or ``scored_over_draws``.
        logits: (draws, n, c), those of its probabilities.
        temperatures: One per draw, chosen on val.
    """
    labels, prediction = result.outcomes["label"], result.outcomes["prediction"]
    metrics, confidence = [], []
    for draw, temperature in zip(logits, temperatures, strict=True):
        probabilities = scaled(draw, temperature)
        found = {f"{name}_scaled": value for name, value in calibration_metrics(probabilities, labels).items()}
        metrics.append({"temperature": temperature, **found})
        confidence.append(probabilities[np.arange(len(labels)), prediction])
    return replace(
        result,
        metrics={**result.metrics, **_means(metrics)},
        outcomes={**result.outcomes, "confidence_scaled": np.mean(confidence, axis=0)},
        notes={**result.notes, "temperature_on_bound": any(map(on_bound, temperatures))},
    )


def scored(probabilities: np.ndarray, labels: np.ndarray, ids: tuple[str, ...], **facts: Any) -> TaskResult:
    """Return the result of one model: top1 with its interval, every metric, the outcome of every sample.

    Args:
        probabilities: (n, c), rows sum to 1.
        labels: (n,) integers.
        ids: Sample ids, n of them.
        facts: ``hparams``, ``search``, ``cost``, ``notes`` of the result.
    """
    metrics = _metrics(probabilities, labels)
    prediction = probabilities.argmax(axis=1)
    outcome = (prediction == labels).astype(np.float64)
    low, high = mean_interval(outcome)
    outcomes = _outcomes(ids, labels, prediction, probabilities.max(axis=1), outcome)
    return TaskResult(
        score=metrics["top1"], score_low=low, score_high=high, metrics=metrics, outcomes=outcomes, **facts
    )


def scored_over_draws(probabilities: np.ndarray, labels: np.ndarray, ids: tuple[str, ...], **facts: Any) -> TaskResult:
    """Return the result of several models of one job, as ``scored`` does: the mean over draws of every metric.

    A sample's outcome is the share of draws that got it right, its prediction and confidence are those of the mean
    probabilities; the interval is by draws and samples.

    Args:
        probabilities: (draws, n, c).
        labels: (n,) integers.
        ids: Sample ids, n of them.
        facts: As for ``scored``.
    """
    metrics = _means([_metrics(draw, labels) for draw in probabilities])
    correct = (probabilities.argmax(axis=2) == labels).astype(np.float64)
    low, high = crossed_interval(correct)
    mean = probabilities.mean(axis=0)
    outcomes = _outcomes(ids, labels, mean.argmax(axis=1), mean.max(axis=1), correct.mean(axis=0))
    return TaskResult(
        score=metrics["top1"], score_low=low, score_high=high, metrics=metrics, outcomes=outcomes, **facts
    )


def _metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return calibration_metrics(probabilities, labels) | classification_metrics(probabilities, labels)


def _means(each: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([values[name] for values in each])) for name in each[0]}


def _placed(answers: Answers, places: np.ndarray | None) -> np.ndarray:
    return answers.labels if places is None else places[answers.labels]


def _has_val(classifier: SourceClassifier) -> bool:
    spec = classifier.setup.job.dataset_spec
    return spec is not None and spec.counts("label").get("val", 0) > 0


def _outcomes(
    ids: tuple[str, ...], labels: np.ndarray, prediction: np.ndarray, confidence: np.ndarray, outcome: np.ndarray
) -> dict[str, np.ndarray]:
    return {
        "sample_id": np.array(ids, dtype=object),
        "label": labels.astype(np.int64),
        "prediction": prediction.astype(np.int64),
        "confidence": confidence.astype(np.float64),
        "outcome": outcome,
    }
