"""Classification metrics equal the field's references to 1e-6, also at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

from bob.core.errors import DataError, NumericalError
from bob.metrics.classification_metrics import classification_metrics, expected_calibration_error

CLOSE = {"abs": 1e-6, "rel": 0}


def draw(n: int, classes: int, seed: int = 0, *, present: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, present or classes, n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=1, keepdims=True), labels


def reference_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    total = 0.0
    for low in range(bins):
        inside = (confidence >= low / bins) & (confidence < (low + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize(("n", "classes", "present"), [(1, 10, 10), (300, 10, 10), (4000, 40, 25), (200, 6, 2)])
def test_metrics_equal_scikit_learn(n, classes, present):
    probabilities, labels = draw(n, classes, present=present)
    predictions, every = probabilities.argmax(axis=1), np.arange(classes)
    metrics = classification_metrics(probabilities, labels)
    assert metrics["top1"] == pytest.approx(accuracy_score(labels, predictions), **CLOSE)
    assert metrics["top5"] == pytest.approx(top_k_accuracy_score(labels, probabilities, k=5, labels=every), **CLOSE)
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"), **CLOSE)
    assert metrics["nll"] == pytest.approx(log_loss(labels, probabilities, labels=every), **CLOSE)
    correct = predictions == labels
    assert metrics["ece"] == pytest.approx(reference_ece(probabilities.max(axis=1), correct), **CLOSE)


def test_metrics_equal_torchmetrics_own_multiclass_functions():
    probabilities, labels = draw(500, 12, seed=3)
    scores, targets = torch.from_numpy(probabilities), torch.from_numpy(labels)
    metrics = classification_metrics(probabilities, labels)
    ece = multiclass_calibration_error(scores, targets, num_classes=12, n_bins=15)
    assert metrics["ece"] == pytest.approx(float(ece), **CLOSE)
    for k in (1, 5):
        reference = multiclass_accuracy(scores, targets, num_classes=12, top_k=k, average="micro")
        assert metrics[f"top{k}"] == pytest.approx(float(reference), **CLOSE)


def test_equal_probabilities_rank_by_class_index():
    probabilities = np.full((8, 8), 1 / 8)
    metrics = classification_metrics(probabilities, np.arange(8))
    assert metrics["top1"] == 1 / 8
    assert metrics["top5"] == 5 / 8


def test_fewer_than_five_classes_are_all_among_the_first_five():
    probabilities, labels = draw(50, 3)
    assert classification_metrics(probabilities, labels)["top5"] == 1.0


def test_one_class_is_always_right():
    metrics = classification_metrics(np.ones((4, 1)), np.zeros(4, dtype=int))
    assert metrics == {"top1": 1.0, "top5": 1.0, "macro_f1": 1.0, "nll": 0.0, "ece": 0.0}


def test_a_confident_mistake_has_a_finite_log_loss_and_full_calibration_error():
    metrics = classification_metrics([[1.0, 0.0]], [1])
    assert metrics["nll"] == pytest.approx(-np.log(1e-12))
    assert metrics["ece"] == pytest.approx(1.0)


def test_calibration_error_keeps_double_precision_over_many_samples():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0, 1, 200_000)
    correct = rng.uniform(0, 1, 200_000) < confidence**2
    assert expected_calibration_error(confidence, correct) == pytest.approx(
        reference_ece(confidence, correct), abs=1e-12
    )


def test_a_score_that_is_not_finite_is_refused_by_sample():
    probabilities, labels = draw(6, 4)
    probabilities[4, 1] = np.nan
    with pytest.raises(NumericalError, match=r"1 of 6 samples .*first: sample 4"):
        classification_metrics(probabilities, labels)


def test_no_sample_is_an_error():
    with pytest.raises(DataError, match="no sample"):
        classification_metrics(np.zeros((0, 3)), np.zeros(0, dtype=int))


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        ([[0.5, 0.5]], [2]),
        ([[0.5, 0.5]], [-1]),
        ([[0.5, 0.5]], [0.5]),
        ([[0.9, 0.5]], [0]),
        ([[1.2, -0.2]], [0]),
        ([[0.5, 0.5]], [0, 1]),
        ([0.5, 0.5], [0, 1]),
    ],
)
def test_what_is_not_probabilities_and_labels_is_refused(probabilities, labels):
    with pytest.raises(ValueError, match=r"labels|probabilities"):
        classification_metrics(probabilities, labels)
