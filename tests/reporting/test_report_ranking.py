"""Ranks, z-scores and fronts against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bob.reporting.ranking import pareto_front, ranks, z_scores
from bob.training.profile_rounds import is_enough, summary


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


def front(scores: list[float], lows: list[float], highs: list[float]) -> list[bool]:
    return pareto_front(np.array(scores), np.array(lows), np.array(highs)).tolist()


def test_pareto_front_drops_what_is_beaten_and_what_has_no_cost() -> None:
    costs = [10.0, 5.0, 6.0, 5.5, np.nan]
    assert front([0.9, 0.8, 0.8, 0.7, 0.65], costs, costs) == [True, True, False, False, False]


def test_pareto_front_holds_only_what_is_cheaper_beyond_doubt() -> None:
    apart = front([0.9, 0.8, 0.7], [9.0, 6.0, 3.0], [11.0, 8.0, 5.0])
    assert apart == [True, True, True]
    touching = front([0.9, 0.8, 0.7], [9.0, 6.0, 3.0], [11.0, 9.0, 5.0])
    assert touching == [True, False, True], "the second may cost as much as the first, which scores higher"
    assert front([0.5, 0.5], [1.0, 1.0], [1.0, 1.0]) == [False, False], "neither is known to be the cheaper"
    assert front([0.9, 0.8], [np.nan, 1.0], [np.nan, 2.0]) == [False, False], "what is not known may cost less"
    assert front([0.9, 0.8], [9.0, np.nan], [10.0, np.nan]) == [True, False]


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1, 0.5])
def test_of_two_equals_an_order_is_told_in_fewer_than_one_of_a_hundred(noise: float) -> None:
    """The rounds end as they do in a run: when the intervals look narrow, which could favour a false order."""
    rng, told = np.random.default_rng(0), 0
    for _ in range(600):
        ends = [_interval(rng, noise) for _ in range(2)]
        told += ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]
    assert told < 6


def _interval(rng: np.random.Generator, noise: float) -> tuple[float, float]:
    rounds: list[dict[str, float]] = []
    while not is_enough(rounds):
        latency, rate = np.exp(noise * rng.standard_normal(2))
        figures = {"latency_ms_b1_p50": float(latency), "latency_ms_b1_p95": 1.0, "throughput_img_s": float(rate)}
        rounds.append({**figures, "profile_others_cpu": 0.0, "round_s": 1.5, "gmacs": 1.0})
    figures = summary(rounds)
    return figures["latency_ms_b1_low"], figures["latency_ms_b1_high"]
