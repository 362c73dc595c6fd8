"""OOD detection's numbers equal scikit-learn's in OpenOOD's conventions, and so does every resampled AUROC."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

from bob.core.errors import DataError, NumericalError
from bob.metrics.ood import mean_auroc_replicates, ood_metrics, ood_replicates
from bob.metrics.resampling import resampled_counts

CLOSE = {"abs": 1e-6, "rel": 0}


def draw(n: int, m: int, seed: int = 0, *, decimals: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.round(rng.normal(0.8, 1.0, n), decimals), np.round(rng.normal(0.0, 1.3, m), decimals)


def reference(inside: np.ndarray, outside: np.ndarray, *, drop_intermediate: bool = False) -> dict[str, float]:
    is_outside = np.repeat([0, 1], [len(inside), len(outside)])
    scores = np.concatenate([inside, outside])
    fpr, tpr, _ = roc_curve(is_outside, -scores, drop_intermediate=drop_intermediate)
    precision_in, recall_in, _ = precision_recall_curve(1 - is_outside, scores)
    precision_out, recall_out, _ = precision_recall_curve(is_outside, -scores)
    return {
        "auroc": roc_auc_score(1 - is_outside, scores),
        "aupr_in": auc(recall_in, precision_in),
        "aupr_out": auc(recall_out, precision_out),
        "fpr95": fpr[tpr >= 0.95][0],
    }


@pytest.mark.parametrize("decimals", [12, 1, 0], ids=["distinct", "ties", "many ties"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 7), (6, 1), (20, 20), (300, 41), (2000, 3000)])
def test_metrics_equal_scikit_learn(n, m, decimals):
    inside, outside = draw(n, m, seed=n + m, decimals=decimals)
    assert ood_metrics(inside, outside) == pytest.approx(reference(inside, outside), **CLOSE)


@pytest.mark.parametrize("seed", range(5))
def test_the_false_positive_rate_equals_openoods_curve_without_equal_diagonal_steps(seed):
    inside, outside = draw(400, 500, seed=seed)
    expected = reference(inside, outside, drop_intermediate=True)["fpr95"]
    assert ood_metrics(inside, outside)["fpr95"] == pytest.approx(expected, **CLOSE)


def test_equal_diagonal_steps_keep_the_lowest_false_positive_rate():
    scores = np.arange(100.0)
    assert reference(scores, scores, drop_intermediate=True)["fpr95"] == 1.0
    assert ood_metrics(scores, scores)["fpr95"] == 0.95


def test_a_higher_score_means_in_distribution():
    apart = ood_metrics([2.0, 3.0, 4.0], [-1.0, 0.0])
    assert apart == {"auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "fpr95": 0.0}
    swapped = ood_metrics([-1.0, 0.0], [2.0, 3.0, 4.0])
    assert swapped["auroc"] == 0.0
    assert swapped["fpr95"] == 1.0


def test_the_rate_is_of_inside_samples_lost_where_19_of_20_outside_ones_are_found():
    outside = np.append(np.zeros(19), 10.0)
    assert ood_metrics([-1.0, 1.0, 1.0, 20.0], outside)["fpr95"] == 0.25
    assert ood_metrics([-1.0, 1.0, 1.0, 20.0], outside[1:])["fpr95"] == 0.75


def test_equal_scores_everywhere_are_worth_a_coin():
    metrics = ood_metrics(np.zeros(30), np.zeros(10))
    assert metrics == pytest.approx({"auroc": 0.5, "aupr_in": 0.875, "aupr_out": 0.625, "fpr95": 1.0})


def test_a_million_scores_take_about_a_second():
    inside, outside = draw(500_000, 500_000)
    start = time.process_time()
    metrics = ood_metrics(inside, outside)
    assert time.process_time() - start < 3
    assert 0.5 < metrics["auroc"] < 1


@pytest.mark.parametrize("compute", [ood_metrics, ood_replicates])
def test_a_score_that_is_not_finite_is_refused_by_side(compute):
    for broken in (np.nan, np.inf, -np.inf):
        with pytest.raises(NumericalError, match="2 of 3 outside scores"):
            compute([1.0, 2.0], [0.0, broken, broken])
    with pytest.raises(NumericalError, match="1 of 2 inside scores"):
        compute([1.0, np.nan], [0.0])


@pytest.mark.parametrize("compute", [ood_metrics, ood_replicates])
def test_a_missing_side_is_an_error(compute):
    with pytest.raises(DataError, match="no outside sample"):
        compute([1.0], [])
    with pytest.raises(DataError, match="no inside sample"):
        compute([], [1.0])
    with pytest.raises(ValueError, match="one dimension"):
        compute([[1.0]], [1.0])


def test_no_outside_set_is_an_error():
    with pytest.raises(DataError, match="no out-of-distribution set"):
        mean_auroc_replicates([1.0], [])


@pytest.mark.parametrize("decimals", [12, 0], ids=["distinct", "ties"])
@pytest.mark.parametrize(("n", "m"), [(60, 60), (5, 40), (1, 1)])
def test_each_replicate_is_scikit_learns_auroc_of_a_resampled_test_set(n, m, decimals):
    inside, outside = draw(n, m, seed=4, decimals=decimals)
    replicates = ood_replicates(inside, outside, seed=9, resamples=40)
    inside_counts = np.concatenate(list(resampled_counts(n, seed=9, resamples=40)))
    own_seed = int(np.random.SeedSequence([9, 1]).generate_state(1, np.uint64)[0])
    outside_counts = np.concatenate(list(resampled_counts(m, seed=own_seed, resamples=40)))
    truth = np.repeat([1, 0], [n, m])
    for value, *counts in zip(replicates, inside_counts, outside_counts, strict=True):
        weights = np.concatenate(counts)
        expected = roc_auc_score(truth, np.concatenate([inside, outside]), sample_weight=weights)
        assert value == pytest.approx(expected, **CLOSE)


def test_both_sides_are_resampled_independently_also_at_one_size():
    own_seed = int(np.random.SeedSequence([0, 1]).generate_state(1, np.uint64)[0])
    inside, outside = (np.concatenate(list(resampled_counts(50, seed=s, resamples=400))) for s in (0, own_seed))
    assert abs(np.corrcoef(inside.ravel(), outside.ravel())[0, 1]) < 0.03


def test_replicates_spread_as_the_aurocs_of_fresh_test_sets_do():
    inside, outside = draw(4000, 3000)
    replicates = ood_replicates(inside, outside)
    fresh = [ood_metrics(*draw(4000, 3000, seed=seed))["auroc"] for seed in range(1, 301)]
    assert replicates.mean() == pytest.approx(ood_metrics(inside, outside)["auroc"], abs=1e-3)
    assert replicates.std() == pytest.approx(np.std(fresh), rel=0.15)


def test_replicates_depend_on_sizes_and_seed_alone():
    inside, outside = draw(80, 70)
    replicates = ood_replicates(inside, outside, seed=3, resamples=30)
    assert np.array_equal(replicates, ood_replicates(np.exp(inside), np.exp(outside), seed=3, resamples=30))
    assert np.array_equal(replicates[:7], ood_replicates(inside, outside, seed=3, resamples=7))
    assert not np.array_equal(replicates, ood_replicates(inside, outside, seed=4, resamples=30))


def test_the_mean_over_sets_shares_the_inside_draws():
    inside, near = draw(90, 60)
    _, far = draw(1, 200, seed=5)
    both = mean_auroc_replicates(inside, [near, far - 2], resamples=50)
    # An outside set below everything has an AUROC of 1 on every draw: what is left is the near set's own replicates.
    assert mean_auroc_replicates(inside, [near, far - 1000], resamples=50) == pytest.approx(
        (ood_replicates(inside, near, resamples=50) + 1) / 2
    )
    assert not np.allclose(both, ood_replicates(inside, near, resamples=50))


def test_ten_thousand_a_side_need_seconds_and_little_memory():
    inside, outside = draw(10_000, 10_000)
    start = time.process_time()
    ood_replicates(inside, outside, resamples=1000)
    assert time.process_time() - start < 6
    tracemalloc.start()
    ood_replicates(inside, outside, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
