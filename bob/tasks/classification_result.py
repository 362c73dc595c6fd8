"""From probabilities to a classification job's result."""

from __future__ import annotations

from typing import Any

import numpy as np

from bob.metrics.classification import classification_metrics
from bob.metrics.interval import bootstrap_interval, crossed_bootstrap_interval
from bob.tasks.result import TaskResult


def scored(probabilities: np.ndarray, labels: np.ndarray, ids: tuple[str, ...], **facts: Any) -> TaskResult:
    """Return the result of one model: top1 with its interval, every metric, the outcome of every sample.

    Args:
        probabilities: (n, c), rows sum to 1.
        labels: (n,) integers.
        ids: Sample ids, n of them.
        facts: ``hparams``, ``search``, ``cost``, ``notes`` of the result.
    """
    metrics = classification_metrics(probabilities, labels)
    prediction = probabilities.argmax(axis=1)
    outcome = (prediction == labels).astype(np.float64)
    low, high = bootstrap_interval(outcome)
    outcomes = _outcomes(ids, labels, prediction, probabilities.max(axis=1), outcome)
    return TaskResult(
        score=metrics["top1"], score_low=low, score_high=high, metrics=metrics, outcomes=outcomes, **facts
    )


def scored_over_draws(probabilities: np.ndarray, labels: np.ndarray, ids: tuple[str, ...], **facts: Any) -> TaskResult:
    """Return the result of several models of one job, as ``scored`` does: the mean over draws of every metric.

    A sample's outcome is the share of draws that got it right, its prediction and confidence are those of the mean
    probabilities; the interval resamples draws and samples.

    Args:
        probabilities: (draws, n, c).
        labels: (n,) integers.
        ids: Sample ids, n of them.
        facts: As for ``scored``.
    """
    each = [classification_metrics(draw, labels) for draw in probabilities]
    metrics = {name: float(np.mean([values[name] for values in each])) for name in each[0]}
    correct = (probabilities.argmax(axis=2) == labels).astype(np.float64)
    low, high = crossed_bootstrap_interval(correct)
    mean = probabilities.mean(axis=0)
    outcomes = _outcomes(ids, labels, mean.argmax(axis=1), mean.max(axis=1), correct.mean(axis=0))
    return TaskResult(
        score=metrics["top1"], score_low=low, score_high=high, metrics=metrics, outcomes=outcomes, **facts
    )


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
