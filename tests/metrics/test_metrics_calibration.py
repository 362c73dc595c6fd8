"""Calibration errors, Brier score and temperature equal their references, and do not depend on the samples' order."""

from __future__ import annotations

import itertools
import logging
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from sklearn.metrics import brier_score_loss, log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from bob.core.errors import DataError, NumericalError
from bob.metrics.calibration import (
    adaptive_calibration_error,
    calibration_metrics,
    fit_temperature,
    on_bound,
    scaled,
)
from bob.metrics.classification_metrics import classification_metrics, expected_calibration_error
from bob.metrics.reliability_bins import diagram_error, reliability

CLOSE = {"abs": 1e-6, "rel": 0}


def draw(n: int, classes: int, seed: int = 0, *, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return sharpness * (rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]), labels


def nll(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()


def brute_adaptive_ece(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Cut a sorted list into bins; a sample counts with the share of right ones among those of its confidence."""
    n, total = len(confidence), 0.0
    ranked = sorted(confidence.tolist())
    cuts = [int(Fraction(b * n, bins)) for b in range(bins + 1)]
    for low, high in itertools.pairwise(cuts):
        inside = ranked[low:high]
        if inside:
            accuracy = sum(correct[confidence == value].mean() for value in inside) / len(inside)
            total += len(inside) / n * abs(accuracy - sum(inside) / len(inside))
    return total


@pytest.mark.parametrize(("n", "classes"), [(1, 10), (9, 3), (500, 2), (500, 12), (3000, 40)])
def test_metrics_equal_their_references(n, classes):
    logits, labels = draw(n, classes, seed=n)
    probabilities = softmax(logits, axis=1)
    metrics = calibration_metrics(probabilities, labels)
    every = np.arange(classes)
    ece = multiclass_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(labels), num_classes=classes, n_bins=15
    )
    correct = probabilities.argmax(axis=1) == labels
    brier = brier_score_loss(np.eye(classes)[labels], probabilities, scale_by_half=False)
    assert metrics["ece"] == pytest.approx(float(ece), **CLOSE)
    assert metrics["nll"] == pytest.approx(log_loss(labels, probabilities, labels=every), **CLOSE)
    assert metrics["brier"] == pytest.approx(brier, **CLOSE)
    assert metrics["adaptive_ece"] == pytest.approx(brute_adaptive_ece(probabilities.max(axis=1), correct), **CLOSE)


def test_ece_and_nll_are_those_of_every_classification_row():
    logits, labels = draw(300, 5, sharpness=40.0)
    probabilities = softmax(logits, axis=1)
    metrics, row = calibration_metrics(probabilities, labels), classification_metrics(probabilities, labels)
    assert (metrics["ece"], metrics["nll"]) == (row["ece"], row["nll"])


def test_two_classes_brier_is_twice_the_one_sided_form():
    logits, labels = draw(200, 2)
    probabilities = softmax(logits, axis=1)
    one_sided = brier_score_loss(labels, probabilities[:, 1])
    assert calibration_metrics(probabilities, labels)["brier"] == pytest.approx(2 * one_sided, **CLOSE)


@pytest.mark.parametrize(("probabilities", "brier"), [([[1.0, 0.0]], 0.0), ([[0.0, 1.0]], 2.0), ([[0.5, 0.5]], 0.5)])
def test_brier_runs_from_nought_to_two(probabilities, brier):
    assert calibration_metrics(probabilities, [0])["brier"] == brier


@pytest.mark.parametrize("decimals", [12, 1, 0], ids=["distinct", "ties", "all equal"])
@pytest.mark.parametrize("n", [1, 4, 15, 16, 44, 1000])
def test_adaptive_error_equals_brute_force_with_ties(n, decimals):
    rng = np.random.default_rng(n)
    confidence = np.round(rng.uniform(0.5, 1, n), decimals)
    correct = rng.uniform(size=n) < confidence**2
    assert adaptive_calibration_error(confidence, correct) == pytest.approx(
        brute_adaptive_ece(confidence, correct), **CLOSE
    )


def test_adaptive_error_does_not_depend_on_the_order_of_samples():
    rng = np.random.default_rng(0)
    confidence = np.round(rng.uniform(0.5, 1, 400), 1)
    correct = rng.uniform(size=400) < 0.6
    shuffled = rng.permutation(400)
    by_outcome = np.argsort(correct)
    values = [adaptive_calibration_error(confidence[o], correct[o]) for o in (shuffled, by_outcome, by_outcome[::-1])]
    assert values == pytest.approx([values[0]] * 3, abs=1e-12)


def test_the_diagrams_gaps_add_up_to_the_calibration_error():
    rng = np.random.default_rng(1)
    # Edges themselves among the values: both must put them into the same bin.
    confidence = np.concatenate([rng.uniform(0, 1, 500), np.arange(15) / 15, np.linspace(0, 1, 16)[:-1]])
    correct = rng.uniform(size=len(confidence)) < confidence**2
    bars = reliability(confidence, correct)
    gaps = np.nan_to_num(np.abs(bars.accuracy - bars.confidence))
    assert bars.counts.sum() == len(confidence)
    assert (bars.counts @ gaps) / len(confidence) == pytest.approx(
        expected_calibration_error(confidence, correct), abs=1e-12
    )


@pytest.mark.parametrize("bins", [1, 2, 10, 15, 16, 97])
def test_the_diagrams_edges_are_torchmetrics_to_the_last_bit(bins):
    assert np.array_equal(
        reliability([0.5], [True], bins=bins).edges, torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    )


def test_the_diagrams_error_is_torchmetrics_with_confidences_of_exactly_one_among_them():
    rng = np.random.default_rng(2)
    confidence = np.concatenate([rng.uniform(0, 1, 300), np.linspace(0, 1, 16), np.ones(40), np.full(40, 0.99)])
    correct = rng.uniform(size=len(confidence)) < confidence**3 - 0.1
    assert diagram_error(confidence, correct) == pytest.approx(
        expected_calibration_error(confidence, correct), abs=1e-12
    )
    assert diagram_error([0.99, 1.0], [True, False]) == pytest.approx(0.505, abs=1e-12), "the gaps of two bins"


def test_the_diagram_has_nan_where_a_bin_is_empty_and_a_confidence_of_one_in_its_last_bin():
    bars = reliability([0.05, 0.95, 1.0, 1.0], [False, True, True, False], bins=10)
    assert bars.edges == pytest.approx(np.linspace(0, 1, 11))
    assert bars.counts.tolist() == [1, *[0] * 8, 3]
    assert np.isnan(bars.confidence[1:9]).all() and np.isnan(bars.accuracy[1:9]).all()
    assert bars.confidence[[0, 9]] == pytest.approx([0.05, 2.95 / 3])
    assert bars.accuracy[[0, 9]] == pytest.approx([0.0, 2 / 3])


@pytest.mark.parametrize("sharpness", [0.2, 1.0, 6.0])
@pytest.mark.parametrize(("n", "classes"), [(400, 10), (2000, 2)])
def test_the_temperature_is_the_grids_best_to_the_grids_step(n, classes, sharpness):
    logits, labels = draw(n, classes, sharpness=sharpness)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 3001))
    best = grid[np.argmin([nll(logits, labels, t) for t in grid])]
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(best, rel=2 * np.log(400) / 3000)
    assert nll(logits, labels, temperature) <= min(nll(logits, labels, t) for t in grid) + 1e-12
    assert not on_bound(temperature)


def test_the_temperature_undoes_a_known_scale_and_is_the_same_each_time():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(4000, 6)) * 2
    labels = np.array([rng.choice(6, p=row) for row in softmax(logits, axis=1)])
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(1, abs=0.05)
    assert fit_temperature(3 * logits, labels) == pytest.approx(3 * temperature, rel=1e-6)
    assert fit_temperature(log_softmax(logits, axis=1), labels) == pytest.approx(temperature, rel=1e-6)
    assert fit_temperature(logits, labels) == temperature


def test_a_large_val_set_is_fitted_in_blocks_to_the_same_temperature(monkeypatch):
    logits, labels = draw(700, 5, sharpness=3.0)
    whole = fit_temperature(logits, labels)
    monkeypatch.setattr("bob.metrics.calibration._BLOCK_VALUES", 60)
    assert fit_temperature(logits, labels) == pytest.approx(whole, rel=1e-8)


@pytest.mark.parametrize(("labels", "bound"), [([0, 1, 2], 0.05), ([1, 2, 0], 20.0)], ids=["all right", "all wrong"])
def test_a_temperature_on_its_bound_says_so(labels, bound, caplog):
    with caplog.at_level(logging.WARNING):
        temperature = fit_temperature(5 * np.eye(3), labels)
    assert temperature == bound
    assert on_bound(temperature)
    assert f"bound of {bound:g}" in caplog.text


@pytest.mark.parametrize("logits", [np.zeros((4, 3)), np.ones((4, 1)), 1e9 * np.eye(3)[[0, 0, 0, 0]]])
def test_where_no_temperature_changes_anything_it_is_one(logits):
    assert fit_temperature(logits, np.zeros(4, dtype=int)) == 1.0


def test_a_probability_of_nought_stays_so_and_its_own_label_tells_nothing():
    logits, labels = draw(300, 4, sharpness=4.0)
    without = fit_temperature(logits[:299], labels[:299])
    logits[299, labels[299]] = -np.inf
    assert fit_temperature(logits, labels) == without
    other = (labels[:299] + 1) % 4
    logits[np.arange(299), other] = -np.inf
    rest = [[z[c] for c in range(4) if c != o] for z, o in zip(logits[:299], other, strict=True)]
    places = labels[:299] - (labels[:299] > other)
    assert fit_temperature(logits, labels) == pytest.approx(fit_temperature(rest, places), rel=1e-8)
    probabilities = scaled(logits, 2.5)
    assert (probabilities[np.arange(299), other] == 0).all()
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(300))


def test_scaling_sharpens_and_flattens():
    logits, _ = draw(50, 7)
    assert scaled(logits, 1.7) == pytest.approx(softmax(logits / 1.7, axis=1))
    assert scaled(log_softmax(logits, axis=1), 1.0) == pytest.approx(softmax(logits, axis=1))
    assert (scaled(logits, 0.5).max(axis=1) > scaled(logits, 2.0).max(axis=1)).all()


@pytest.mark.parametrize("broken", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_logits_that_are_not_finite_are_refused_by_sample(broken):
    for compute in (lambda z: fit_temperature(z, [0, 1]), lambda z: scaled(z, 1.0)):
        with pytest.raises(NumericalError, match=r"1 of 2 samples .*first: sample 1"):
            compute([[0.0, 1.0], broken])


def test_val_labels_that_are_all_impossible_are_refused():
    with pytest.raises(NumericalError, match="all 2 samples have probability 0"):
        fit_temperature([[-np.inf, 0.0], [-np.inf, 1.0]], [0, 0])


def test_a_probability_or_confidence_that_is_not_finite_is_refused():
    with pytest.raises(NumericalError, match="1 of 2 samples"):
        calibration_metrics([[0.5, 0.5], [np.nan, 0.5]], [0, 1])
    for compute in (adaptive_calibration_error, reliability):
        with pytest.raises(NumericalError, match="1 of 2 confidences"):
            compute([0.5, np.nan], [True, False])


@pytest.mark.parametrize(
    "compute",
    [
        lambda: calibration_metrics(np.zeros((0, 3)), np.zeros(0, dtype=int)),
        lambda: adaptive_calibration_error([], []),
        lambda: reliability([], []),
        lambda: fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)),
        lambda: scaled(np.zeros((0, 3)), 1.0),
    ],
)
def test_no_sample_is_an_error(compute):
    with pytest.raises(DataError, match="no sample"):
        compute()


@pytest.mark.parametrize(
    "compute",
    [
        lambda: adaptive_calibration_error([1.5], [True]),
        lambda: adaptive_calibration_error([0.5], [0.5]),
        lambda: reliability([0.5, 0.5], [True]),
        lambda: reliability([0.5], [True], bins=0),
        lambda: fit_temperature([[0.0, 1.0]], [2]),
        lambda: fit_temperature([0.0, 1.0], [0, 1]),
        lambda: scaled([[0.0, 1.0]], 0.0),
        lambda: scaled([[0.0, 1.0]], np.nan),
    ],
)
def test_what_does_not_fit_is_refused(compute):
    with pytest.raises(ValueError, match=r"must|labels"):
        compute()
