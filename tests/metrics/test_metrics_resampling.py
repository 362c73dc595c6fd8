"""How a score varies over test sets: bootstrap and jackknife against their formulas and a known case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bob.core.errors import DataError
from bob.metrics.resampling import Spread, left_out_counts, mean_spread, resampled_counts, spread_of


def test_a_jackknife_leaves_out_each_sample_once() -> None:
    five = left_out_counts(5)
    assert five.shape == (5, 5) and set(map(tuple, five)) == set(map(tuple, 1 - np.eye(5, dtype=int)))
    counts = left_out_counts(1000)
    assert counts.shape == (200, 1000) and ((counts == 0).sum(axis=0) == 1).all()
    assert set((counts == 0).sum(axis=1)) == {5}
    assert (left_out_counts(1000) == counts).all()


def test_of_a_mean_bootstrap_and_jackknife_give_its_standard_error() -> None:
    values = np.random.default_rng(0).random(150)
    replicates = np.concatenate([counts @ values / 150 for counts in resampled_counts(150, resamples=4000)])
    left_out = left_out_counts(150) @ values / 149
    spread = spread_of(values.mean(), replicates, left_out)
    assert spread.variance == pytest.approx(values.var(ddof=1) / 150, rel=0.06)
    assert spread.bias == pytest.approx(0, abs=1e-3)
    # Of a mean the influences are the values themselves.
    kurtosis = stats.kurtosis(values, fisher=False)
    assert spread.freedom == pytest.approx(150 / (kurtosis - 1))


def test_the_larger_variance_counts() -> None:
    replicates = np.array([0.4, 0.6] * 500)
    calm = spread_of(0.5, replicates, np.full(100, 0.5))
    assert calm.variance == pytest.approx(replicates.var(ddof=1)) and math.isinf(calm.freedom)
    alone = np.full(100, 0.5)
    alone[3] = 0.1  # all hangs on one picture
    carried = spread_of(0.5, replicates, alone)
    assert carried.variance == pytest.approx(99 / 100 * ((alone - alone.mean()) ** 2).sum())
    assert carried.freedom == 2.0


def test_the_bias_of_a_squared_mean_is_taken_off() -> None:
    """The square of a mean is too large by the mean's variance; so is its bootstrap once more."""
    values = np.random.default_rng(1).random(40)
    squares = np.concatenate([(counts @ values / 40) ** 2 for counts in resampled_counts(40, resamples=4000)])
    assert spread_of(values.mean() ** 2, squares).bias == pytest.approx(values.var() / 40, rel=0.3)


def test_test_sets_without_anything_to_score_are_left_out() -> None:
    replicates = np.array([0.4, 0.6, np.nan] * 100)
    spread = spread_of(0.5, replicates, np.array([0.45, 0.55, np.nan]))
    assert spread.bias == pytest.approx(0) and spread.variance == pytest.approx(0.01, rel=0.01)
    with pytest.raises(DataError, match="anything to score"):
        spread_of(0.5, np.array([np.nan]))


def test_one_picture_has_no_jackknife() -> None:
    assert spread_of(0.5, np.full(9, 0.5), np.array([np.nan])) == Spread(0.0)


def test_the_mean_of_independent_test_sets_has_a_share_of_each_variance() -> None:
    spread = mean_spread([Spread(4e-4, 0.01, 8.0), Spread(4e-4, 0.03, 8.0)])
    assert (spread.variance, spread.bias, spread.freedom) == pytest.approx((2e-4, 0.02, 16.0))
    assert math.isinf(mean_spread([Spread(1e-4), Spread(2e-4)]).freedom)
