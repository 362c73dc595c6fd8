"""Ranks, z-scores and fronts against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bob.reporting.ranking import pareto_front, ranks, z_scores


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


def test_pareto_front_drops_what_is_beaten_and_what_has_no_cost() -> None:
    scores = np.array([0.9, 0.8, 0.8, 0.7, 0.95])
    costs = np.array([10.0, 5.0, 6.0, 5.5, np.nan])
    assert pareto_front(scores, costs).tolist() == [True, True, False, False, False]
    assert pareto_front(np.array([0.5, 0.5]), np.array([1.0, 1.0])).tolist() == [True, True]
