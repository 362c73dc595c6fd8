"""Ranks, z-scores, tests and intervals against hand-computed values and reference implementations."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
from scipy import stats

from bob.reporting.ranking import (
    bootstrap_p_values,
    compare_to_best,
    holm,
    mcnemar_exact,
    pareto_front,
    rank_intervals,
    ranks,
    resampled_means,
    score_intervals,
    z_scores,
)


def _coins(shares: list[float], samples: int, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed).random((len(shares), samples))
    return (draws < np.array(shares)[:, None]).astype(float)


def _p_values(outcomes: np.ndarray, *, resamples: int = 5000) -> np.ndarray:
    return bootstrap_p_values(outcomes.mean(axis=1), resampled_means(outcomes, resamples=resamples), 0)


def _compare(outcomes: np.ndarray, *, exact: bool) -> np.ndarray:
    return compare_to_best(outcomes.mean(axis=1), resampled_means(outcomes), outcomes=outcomes if exact else None)


def test_z_scores_of_the_design_page() -> None:
    scores = np.array([0.860, 0.866, 0.871])
    assert z_scores(scores, np.array([True] * 3)) == pytest.approx([-1.26, 0.07, 1.19], abs=0.005)
    np.testing.assert_allclose(z_scores(scores, np.array([True] * 3)), stats.zscore(scores))


def test_control_beside_the_reference_moves_no_z_score_and_gets_one() -> None:
    scores = np.array([0.860, 0.866, 0.871, 0.25])
    reference = np.array([True, True, True, False])
    z = z_scores(scores, reference)
    assert z[:3] == pytest.approx([-1.26, 0.07, 1.19], abs=0.005)
    assert z[3] == pytest.approx((0.25 - scores[:3].mean()) / scores[:3].std())
    # Inside the reference it would squeeze the candidates together: the trap the design names.
    assert z_scores(scores, np.array([True] * 4))[:3] == pytest.approx([0.56, 0.58, 0.60], abs=0.005)


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5, 0.5], []])
def test_z_score_without_a_spread_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="two different"):
        z_scores(np.array(scores), np.ones(len(scores), dtype=bool))


def test_equal_scores_share_the_best_of_their_ranks() -> None:
    assert ranks(np.array([0.7, 0.9, 0.9, 0.8])).tolist() == [4, 1, 1, 3]


@pytest.mark.parametrize(("only_first", "only_second", "both"), [(9, 2, 80), (0, 5, 3), (12, 12, 0), (0, 0, 7)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(only_first: int, only_second: int, both: int) -> None:
    first = np.repeat([1, 0, 1], [only_first, only_second, both])
    second = np.repeat([0, 1, 1], [only_first, only_second, both])
    n = only_first + only_second
    expected = 1.0 if n == 0 else min(1.0, 2 * stats.binom.cdf(min(only_first, only_second), n, 0.5))
    assert mcnemar_exact(first, second) == pytest.approx(expected)


def test_mcnemar_refuses_what_is_not_paired_or_not_binary() -> None:
    with pytest.raises(ValueError, match="0/1"):
        mcnemar_exact(np.array([0.5, 1.0]), np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="same samples"):
        mcnemar_exact(np.ones(3), np.ones(4))


def test_holm_steps_down_and_stays_in_order() -> None:
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below the one before.
    assert holm(np.array([0.04, 0.005, 0.03, 0.01])) == pytest.approx([0.06, 0.02, 0.06, 0.03])
    assert holm(np.array([0.6, 0.9])) == pytest.approx([1.0, 1.0])
    assert holm(np.array([])).size == 0


def test_paired_bootstrap_agrees_with_the_paired_t_test_on_many_samples() -> None:
    generator = np.random.default_rng(4)
    base = generator.random(800)
    for shift in (0.0, 0.012, 0.03):
        other = base - shift + generator.normal(0, 0.15, 800)
        p = _p_values(np.stack([base, other]), resamples=8000)[1]
        assert p == pytest.approx(stats.ttest_rel(base, other).pvalue, abs=0.02)


def test_p_values_of_equal_backbones_are_uniform_and_of_unequal_ones_small() -> None:
    found = [_p_values(_coins([0.7, 0.7], 300, seed), resamples=500)[1] for seed in range(200)]
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.10
    assert _p_values(_coins([0.9, 0.6], 300), resamples=500)[1] == pytest.approx(1 / 501)


def test_same_outcomes_are_never_different() -> None:
    outcomes = np.tile(_coins([0.7], 50), (3, 1))
    assert _compare(outcomes, exact=True).tolist() == [1.0, 1.0, 1.0]
    assert _compare(outcomes, exact=False).tolist() == [1.0, 1.0, 1.0]


def test_binary_single_runs_take_mcnemar_and_averaged_ones_the_bootstrap() -> None:
    outcomes = _coins([0.9, 0.8, 0.6], 200)
    exact = holm(np.array([mcnemar_exact(outcomes[row], outcomes[0]) for row in (1, 2)]))
    assert _compare(outcomes, exact=True) == pytest.approx([1.0, *exact])
    drawn = holm(_p_values(outcomes)[1:])
    assert _compare(outcomes, exact=False) == pytest.approx([1.0, *drawn])


def test_pairing_tells_apart_what_overlapping_intervals_do_not() -> None:
    worse = np.repeat([1.0, 0.0], [160, 40])
    better = worse.copy()
    better[160:170] = 1.0  # right wherever the other is, and on ten samples more
    low, high = score_intervals(resampled_means(np.stack([better, worse]))).T
    assert low[0] < high[1]
    assert _compare(np.stack([better, worse]), exact=True)[1] < 0.01


def test_score_interval_is_the_bootstrap_of_scipy() -> None:
    sample = _coins([0.8], 150)[0]
    ours = score_intervals(resampled_means(sample, resamples=20_000))[0]
    # scipy renamed its argument in 1.15.
    seeded = {"rng" if "rng" in signature(stats.bootstrap).parameters else "random_state": np.random.default_rng(1)}
    theirs = stats.bootstrap((sample,), np.mean, method="percentile", n_resamples=20_000, **seeded).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.007)


def test_rank_intervals_are_narrow_where_scores_are_far_apart_and_wide_where_not() -> None:
    means = resampled_means(_coins([0.95, 0.70, 0.69, 0.30], 400))
    assert rank_intervals(means).tolist() == [[1, 1], [2, 3], [2, 3], [4, 4]]


def test_resampling_repeats_exactly_and_in_blocks() -> None:
    outcomes = _coins([0.5, 0.9], 3000)
    means = resampled_means(outcomes, seed=3, resamples=2500)  # more than one block
    assert means.shape == (2500, 2)
    np.testing.assert_array_equal(means, resampled_means(outcomes, seed=3, resamples=2500))
    assert means.std(axis=0) == pytest.approx(outcomes.std(axis=1) / np.sqrt(3000), rel=0.08)


def test_pareto_front_drops_what_is_beaten_and_what_has_no_cost() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.7, 0.95])
    costs = np.array([10.0, 5.0, 6.0, 5.5, np.nan])
    assert pareto_front(scores, costs).tolist() == [True, True, False, False, False]
    assert pareto_front(np.array([0.5, 0.5]), np.array([1.0, 1.0])).tolist() == [True, True]
