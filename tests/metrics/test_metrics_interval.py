"""The interval of a score covers the truth as often as it says, and has a width even where resampling has none."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from bob.core.errors import DataError, NumericalError
from bob.metrics.interval import bootstrap_interval, clopper_pearson, crossed_bootstrap_interval


@pytest.mark.parametrize("truth", [0.3, 0.85])
def test_the_interval_covers_the_truth_about_95_times_in_100(truth):
    rng = np.random.default_rng(1)
    trials = 600
    hits = 0
    for _ in range(trials):
        low, high = bootstrap_interval(rng.random(300) < truth, resamples=1000)
        hits += low <= truth <= high
    assert 0.92 <= hits / trials <= 0.98


def test_the_interval_is_the_percentiles_of_resampled_means():
    outcomes = np.random.default_rng(2).random(150)
    rng = np.random.default_rng(3)
    means = outcomes[rng.integers(0, 150, (20_000, 150))].mean(axis=1)
    assert bootstrap_interval(outcomes, resamples=20_000) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975])), abs=2e-3
    )


def test_the_interval_is_the_same_each_time():
    outcomes = np.random.default_rng(0).random(100)
    assert bootstrap_interval(outcomes) == bootstrap_interval(outcomes)
    assert bootstrap_interval(outcomes) != bootstrap_interval(outcomes, seed=1)


@pytest.mark.parametrize("n", [1, 40, 5000])
def test_equal_outcomes_get_the_exact_bound(n):
    assert bootstrap_interval(np.ones(n)) == pytest.approx((0.025 ** (1 / n), 1.0))
    assert bootstrap_interval(np.zeros(n)) == pytest.approx((0.0, 1 - 0.025 ** (1 / n)))


@pytest.mark.parametrize(("k", "n"), [(0, 9), (3, 9), (9, 9), (371, 372)])
def test_clopper_pearson_equals_scipys(k, n):
    reference = stats.binomtest(k, n).proportion_ci(method="exact")
    assert clopper_pearson(k, n) == pytest.approx((reference.low, reference.high))


def test_a_large_test_set_needs_little_memory():
    outcomes = np.random.default_rng(0).random(200_000)
    tracemalloc.start()
    low, high = bootstrap_interval(outcomes, resamples=60)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < outcomes.mean() < high
    assert peak < 200e6


def test_resampling_draws_too_widens_the_interval_by_their_spread():
    rng = np.random.default_rng(0)
    quality = np.linspace(0.3, 0.7, 10)
    correct = rng.random((10, 400)) < quality[:, None]
    low, high = crossed_bootstrap_interval(correct)
    samples_only = bootstrap_interval(correct.mean(axis=0))
    assert low < correct.mean() < high
    expected = 2 * 1.96 * quality.std() / np.sqrt(10)
    assert high - low == pytest.approx(expected, rel=0.2)
    assert high - low > 3 * (samples_only[1] - samples_only[0])


def test_one_draw_is_the_plain_interval():
    correct = np.random.default_rng(0).random((1, 50)) < 0.5
    assert crossed_bootstrap_interval(correct) == bootstrap_interval(correct[0])


def test_bad_outcomes_are_refused():
    with pytest.raises(DataError, match="no outcome"):
        bootstrap_interval([])
    with pytest.raises(NumericalError, match="1 of 2"):
        bootstrap_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        bootstrap_interval([0.0, 2.0])
    with pytest.raises(ValueError, match="dimension"):
        bootstrap_interval([[0.0, 1.0]])
