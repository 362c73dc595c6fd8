"""Multi-label metrics equal scikit-learn's, and VOC 2007's AP an independent formula; NaN counts nowhere."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, log_loss
from torchmetrics.functional.classification import binary_calibration_error

from bob.core.errors import DataError, NumericalError
from bob.metrics.multilabel_metrics import (
    Ranking,
    best_threshold,
    entry_metrics,
    mean_average_precision,
    multilabel_scores,
)
from bob.metrics.resampling import left_out_counts, resampled_counts

SHAPE = (60, 5)


def drawn(seed: int, *, ties: bool = False, unknown: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities (n, c) and values (n, c)."""
    rng = np.random.default_rng(seed)
    values = (rng.random(SHAPE) < [0.5, 0.3, 0.2, 0.1, 0.4]).astype(np.float32)
    values[:2] = [[1] * 5, [0] * 5]
    probabilities = 1 / (1 + np.exp(-(rng.normal(0, 1, SHAPE) + 1.5 * values - 1)))
    if ties:
        probabilities = np.round(probabilities, 1)
    values[rng.random(SHAPE) < unknown] = np.nan
    return probabilities, values


def eleven_points(probabilities: np.ndarray, values: np.ndarray) -> float:
    """Return VOC 2007's AP as the devkit computes it, without ties: the loop over recall thresholds."""
    right = values[np.argsort(-probabilities)] == 1
    recall = [right[: place + 1].sum() / right.sum() for place in range(len(right))]
    precision = [right[: place + 1].mean() for place in range(len(right))]
    return sum(max(p for p, r in zip(precision, recall, strict=True) if r >= t / 10 - 1e-9) for t in range(11)) / 11


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ties", "unknown"), [(False, 0.0), (True, 0.0), (True, 0.2)])
def test_average_precision_is_scikit_learns(seed, ties, unknown):
    probabilities, values = drawn(seed, ties=ties, unknown=unknown)
    found, known = multilabel_scores(probabilities, values, resamples=0), ~np.isnan(values)
    for label in range(SHAPE[1]):
        own = known[:, label]
        expected = average_precision_score(values[own, label], probabilities[own, label])
        assert found.per_class[label] == pytest.approx(expected, abs=1e-9)
    assert found.score == pytest.approx(np.mean(list(found.per_class.values())), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_eleven_point_precision_is_that_of_the_formula(seed):
    probabilities, values = drawn(seed)
    expected = np.mean([eleven_points(probabilities[:, label], values[:, label]) for label in range(SHAPE[1])])
    assert multilabel_scores(probabilities, values, resamples=0).voc07 == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("unknown", [0.0, 0.2])
def test_counts_over_entries_are_scikit_learns_and_torchmetrics(unknown):
    import torch

    probabilities, values = drawn(7, unknown=unknown)
    known = ~np.isnan(values)
    found = entry_metrics(probabilities, values, threshold=0.4)
    sure, right = probabilities[known], values[known].astype(int)
    assert found["micro_f1"] == pytest.approx(f1_score(right, sure >= 0.4), abs=1e-9)
    each = [
        f1_score(values[known[:, c], c].astype(int), probabilities[known[:, c], c] >= 0.4, zero_division=np.nan)
        for c in range(SHAPE[1])
    ]
    assert found["macro_f1"] == pytest.approx(np.nanmean(each), abs=1e-9)
    assert found["brier"] == pytest.approx(brier_score_loss(right, sure), abs=1e-9)
    assert found["nll"] == pytest.approx(log_loss(right, sure), abs=1e-9)
    expected = binary_calibration_error(torch.from_numpy(sure), torch.from_numpy(right), n_bins=15, norm="l1")
    assert found["ece"] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_the_threshold_is_the_highest_of_those_with_the_best_micro_f1(seed):
    probabilities, values = drawn(seed, ties=True, unknown=0.1)
    tried = np.unique(probabilities[~np.isnan(values)])
    f1 = np.array([entry_metrics(probabilities, values, threshold=each)["micro_f1"] for each in tried])
    assert best_threshold(probabilities, values) == tried[np.flatnonzero(f1 >= f1.max() - 1e-12)[-1]]


def test_resampled_scores_are_those_of_the_resampled_pictures():
    probabilities, values = drawn(3, ties=True, unknown=0.1)
    found = multilabel_scores(probabilities, values, resamples=20)
    counts = np.concatenate(list(resampled_counts(len(values), resamples=20)))
    for row, score in zip(counts, found.replicates, strict=True):
        places = np.repeat(np.arange(len(values)), row)
        assert score == pytest.approx(multilabel_scores(probabilities[places], values[places], resamples=0).score)
    assert len(found.left_out) == len(left_out_counts(len(values)))
    assert found.left_out[0] == pytest.approx(
        multilabel_scores(*(each[left_out_counts(len(values))[0] == 1] for each in (probabilities, values))).score
    )
    low, high = found.spread().interval(found.score, samples=len(values))
    assert 0 <= low <= found.score <= high <= 1


def test_a_class_without_both_values_is_left_out_and_a_test_set_without_any_is_refused():
    probabilities, values = drawn(1)
    whole = multilabel_scores(probabilities, values, resamples=0)
    values[:, 2], values[:, 4] = 0, np.where(values[:, 4] == 1, 1, np.nan)
    found = multilabel_scores(probabilities, values, resamples=0)
    assert (found.per_class[2], found.per_class[4]) == (None, None)
    assert found.score == pytest.approx(np.mean([whole.per_class[label] for label in (0, 1, 3)]))
    with pytest.raises(DataError, match="nothing to score"):
        multilabel_scores(probabilities, np.ones(SHAPE))
    with pytest.raises(DataError, match="no threshold"):
        best_threshold(probabilities, np.zeros(SHAPE))
    with pytest.raises(DataError, match="nothing to score"):
        entry_metrics(probabilities, np.full(SHAPE, np.nan), threshold=0.5)


def test_a_resampled_set_without_any_class_to_score_is_nan():
    rankings = [Ranking(np.array([0.9, 0.1]), np.array([1.0, 0.0]))]
    found = mean_average_precision(rankings, np.array([[2, 0], [0, 2], [1, 1]]))
    assert np.isnan(found[:2]).all() and found[2] == 1


def test_what_is_no_probability_or_value_is_refused():
    probabilities, values = drawn(0)
    with pytest.raises(NumericalError, match="picture 3"):
        multilabel_scores(np.where(np.arange(60)[:, None] == 3, np.nan, probabilities), values)
    with pytest.raises(ValueError, match="values must be 1"):
        multilabel_scores(probabilities, values + 0.5)
    with pytest.raises(ValueError, match="one shape"):
        multilabel_scores(probabilities[:, 1:], values)
    with pytest.raises(ValueError, match="lie in"):
        entry_metrics(probabilities + 1, values, threshold=0.5)
    with pytest.raises(DataError, match="no picture"):
        multilabel_scores(probabilities[:0], values[:0])
