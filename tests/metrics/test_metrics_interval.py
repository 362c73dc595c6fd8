"""Intervals against reference implementations and hand-worked cases; how often they cover is simulated elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bob.core.errors import DataError, NumericalError
from bob.metrics.interval import crossed_interval, mean_interval, score_interval, seed_part, seed_variance, widened
from bob.metrics.resampling import spread_of


@pytest.mark.parametrize(("right", "n"), [(0, 9), (1, 1), (3, 9), (9, 9), (371, 372), (5000, 10_000)])
def test_the_interval_of_a_share_is_wilsons(right, n):
    outcomes = np.arange(n) < right
    reference = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert mean_interval(outcomes) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_a_level_is_kept():
    reference = stats.binomtest(30, 40).proportion_ci(0.8, method="wilson")
    assert mean_interval(np.arange(40) < 30, level=0.8) == pytest.approx((reference.low, reference.high))


def test_far_from_its_ends_the_interval_is_the_normal_one():
    outcomes = np.random.default_rng(2).random(20_000)
    half = 1.959964 * outcomes.std() / math.sqrt(20_000)
    assert mean_interval(outcomes) == pytest.approx((outcomes.mean() - half, outcomes.mean() + half), abs=1e-6)


@pytest.mark.parametrize("freedom", [3.0, 12.0, math.inf])
def test_few_degrees_of_freedom_take_students_quantile(freedom):
    low, high = score_interval(0.5, 1e-8, samples=100, freedom=freedom)
    quantile = stats.t.isf(0.025, freedom) if freedom < 100 else stats.norm.isf(0.025)
    assert (high - low) / 2 == pytest.approx(quantile * 1e-4, rel=1e-3)


def test_a_bias_moves_the_interval_and_the_score_stays_within():
    low, high = score_interval(0.5, 1e-6, samples=100, bias=0.001)
    assert (low + high) / 2 == pytest.approx(0.499, abs=1e-5)
    assert score_interval(0.5, 1e-6, samples=100, bias=0.1)[1] == 0.5
    assert score_interval(0.5, 1e-6, samples=100, bias=-0.1)[0] == 0.5


@pytest.mark.parametrize("score", [0.0, 1e-9, 0.001, 0.999, 1.0])
@pytest.mark.parametrize("variance", [0.0, 1e-12, 1e-4, 0.2])
@pytest.mark.parametrize("bias", [-0.2, 0.0, 0.2])
def test_ends_lie_in_0_to_1_around_the_score(score, variance, bias):
    low, high = score_interval(score, variance, samples=7, bias=bias)
    assert 0 <= low <= score <= high <= 1 and high > low


def test_without_variance_the_number_of_samples_decides():
    assert score_interval(1.0, 0.0, samples=10)[0] == pytest.approx(10 / (10 + 1.959964**2), abs=1e-6)
    assert score_interval(0.5, 0.0, samples=10) == pytest.approx(score_interval(0.5, 0.025, samples=99))


def test_seed_variance_is_the_analysis_of_variance():
    outcomes = np.random.default_rng(0).random((4, 30)) + np.linspace(0, 0.3, 4)[:, None]
    runs, n = outcomes.shape
    by_run, by_sample, mean = outcomes.mean(axis=1), outcomes.mean(axis=0), outcomes.mean()
    interaction = ((outcomes - by_run[:, None] - by_sample + mean) ** 2).sum() / ((runs - 1) * (n - 1))
    assert seed_variance(outcomes) == pytest.approx(
        by_run.var(ddof=1) / runs - interaction / (runs * n) * (runs - 1) / runs
    )


def test_runs_that_agree_everywhere_add_nothing():
    same = np.tile(np.random.default_rng(0).random(50) < 0.7, (3, 1)).astype(float)
    assert seed_variance(same) == pytest.approx(0, abs=1e-20)
    assert crossed_interval(same) == pytest.approx(mean_interval(same[0]))
    assert seed_part(np.array([0.5, 0.5]), 0.01) == 0


def test_draws_widen_the_interval_by_their_spread():
    rng = np.random.default_rng(0)
    quality = np.linspace(0.3, 0.7, 10)
    correct = (rng.random((10, 400)) < quality[:, None]).astype(float)
    low, high = crossed_interval(correct)
    assert low < correct.mean() < high
    assert high - low == pytest.approx(2 * stats.t.isf(0.025, 9) * quality.std(ddof=1) / math.sqrt(10), rel=0.1)
    samples_only = mean_interval(correct.mean(axis=0))
    assert high - low > 3 * (samples_only[1] - samples_only[0])


def test_one_draw_is_the_plain_interval():
    correct = np.random.default_rng(0).random((1, 50)) < 0.5
    assert crossed_interval(correct) == mean_interval(correct[0])


def test_widened_is_the_root_of_the_sum_of_squares_at_each_end():
    low, high = widened((0.76, 0.83), 0.8, 0.01**2, freedom=2)
    own = stats.t.isf(0.025, 2) * 0.01
    assert (low, high) == pytest.approx((0.8 - math.hypot(0.04, own), 0.8 + math.hypot(0.03, own)))
    assert widened((0.1, 0.9), 0.5, 1.0, freedom=1) == (0.0, 1.0)
    assert widened((0.4, 0.6), 0.5, 0.0, freedom=1) == pytest.approx((0.4, 0.6))


def test_bad_outcomes_are_refused():
    with pytest.raises(DataError, match="no outcome"):
        mean_interval([])
    with pytest.raises(NumericalError, match="1 of 2"):
        mean_interval([1.0, float("nan")])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        mean_interval([0.0, 2.0])
    with pytest.raises(ValueError, match="dimension"):
        mean_interval([[0.0, 1.0]])


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, 0.9])
def test_equal_outcomes_have_a_width_whatever_rounding_makes_of_their_variance(value):
    low, high = mean_interval(np.full(100, value))
    assert high - low > 0.1
    low, high = spread_of(value, np.full(1000, value), np.full(50, value)).interval(value, samples=50)
    assert high - low > 0.1
