"""Differences between backbones: one error rate for all pairs, ranks that follow from them, controls tested apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from bob.reporting.pairwise import Noise, above_p_values, pair_p_values, rank_intervals


def _noise(variances: list[float], *, covariance: float = 0.0, **changes) -> Noise:
    pictures = np.full((len(variances),) * 2, covariance) + np.diag(np.array(variances) - covariance)
    return Noise(
        **{"pictures": pictures, "floor": 0.0, "seeds": np.zeros(len(variances)), "freedom": math.inf, **changes}
    )


def test_two_backbones_have_the_normal_test_of_their_difference() -> None:
    p_values = pair_p_values(np.array([0.80, 0.83]), _noise([4e-4, 4e-4], covariance=2e-4))
    assert p_values[0, 1] == pytest.approx(2 * stats.norm.sf(0.03 / 0.02), abs=0.01)
    assert p_values[0, 1] == p_values[1, 0] and p_values[0, 0] == 1


def test_independent_backbones_of_one_variance_have_tukeys_studentised_range() -> None:
    scores = np.array([0.5, 0.52, 0.545, 0.56, 0.57])
    p_values = pair_p_values(scores, _noise([4e-4] * 5))
    expected = stats.studentized_range.sf(np.ptp(scores) / 0.02, 5, np.inf)
    assert p_values[0, 4] == pytest.approx(expected, abs=0.01)


def test_few_seeds_have_students_test() -> None:
    noise = _noise([1e-12, 1e-12], seeds=np.array([1e-4, 1e-4]), freedom=4.0)
    difference = 2.0 * math.sqrt(2e-4)
    assert pair_p_values(np.array([0.5, 0.5 + difference]), noise)[0, 1] == pytest.approx(
        2 * stats.t.sf(2.0, 4), abs=0.01
    )


def test_more_candidates_need_a_larger_difference() -> None:
    few = pair_p_values(np.array([0.5, 0.56]), _noise([4e-4] * 2))[0, 1]
    many = pair_p_values(np.array([0.5, 0.56, *[0.53] * 20]), _noise([4e-4] * 22))[0, 1]
    assert few < 0.05 < many


def test_backbones_of_the_same_outcomes_do_not_differ_and_without_noise_any_difference_counts() -> None:
    same = _noise([1e-4, 1e-4], covariance=1e-4)
    assert pair_p_values(np.array([0.7, 0.7]), same)[0, 1] == pytest.approx(1.0)
    assert pair_p_values(np.array([0.7, 0.8]), same)[0, 1] < 0.001


def test_a_few_disagreements_are_no_difference() -> None:
    # Four pictures of 200 that one backbone alone has right: McNemar's exact p-value is 0.125.
    outcomes = np.ones((2, 200))
    outcomes[0, :4] = 0
    noise = Noise(pictures=np.cov(outcomes) / 200, floor=2 / 200**2, seeds=np.zeros(2), freedom=math.inf)
    assert pair_p_values(outcomes.mean(axis=1), noise)[0, 1] > 0.05


def test_ranks_follow_from_the_pairs_that_differ() -> None:
    scores = np.array([0.9, 0.89, 0.5, 0.4])
    p_values = np.ones((4, 4))
    for first, second in ((0, 2), (0, 3), (1, 2), (1, 3)):
        p_values[first, second] = p_values[second, first] = 0.001
    assert rank_intervals(scores, p_values, alpha=0.05).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_above_is_one_sided() -> None:
    noise = _noise([1e-4] * 2)
    above, below = (above_p_values(np.array(scores), noise, [(0, 1)])[0] for scores in ((0.53, 0.5), (0.47, 0.5)))
    assert above == pytest.approx(stats.norm.sf(0.03 / math.sqrt(2e-4)), abs=0.01) and below > 0.9
    assert above_p_values(np.array([0.5, 0.5]), noise, []).size == 0


def test_the_same_numbers_every_time() -> None:
    noise, scores = _noise([4e-4, 3e-4, 5e-4]), np.array([0.5, 0.54, 0.53])
    assert (pair_p_values(scores, noise) == pair_p_values(scores, noise)).all()


def test_a_pair_without_any_noise_beside_one_with_seeds_is_no_difference() -> None:
    pictures = np.zeros((3, 3))
    noise = Noise(pictures=pictures, floor=0.0, seeds=np.array([0.0, 0.0, 1e-4]), freedom=1.0)
    assert above_p_values(np.array([0.0, 0.0, 0.1]), noise, [(0, 1)])[0] >= 0.5
    assert pair_p_values(np.array([0.0, 0.0, 0.001]), noise)[0, 1] >= 0.5


def test_two_pictures_prove_nothing() -> None:
    outcomes = np.array([[1.0, 1.0], [0.0, 0.0]])
    noise = Noise(pictures=np.cov(outcomes) / 2, floor=2 / 2**2, seeds=np.zeros(2), freedom=math.inf)
    assert pair_p_values(outcomes.mean(axis=1), noise)[0, 1] > 0.05
