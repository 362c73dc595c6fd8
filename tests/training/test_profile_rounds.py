"""From rounds to a profile: the interval of the median, which rounds count, and when there are enough of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bob.training import profile_rounds
from bob.training.profile_rounds import is_enough, median_interval, summary, wants_all


def taken(latency: float, *, others: float = 0.0, seconds: float = 1.0, **fields: float) -> dict[str, float]:
    rate = 1000 / latency
    figures = {"latency_ms_b1_p50": latency, "latency_ms_b1_p95": 2 * latency, "throughput_img_s": rate}
    return {**figures, "throughput_batch": 4, "profile_others_cpu": others, "round_s": seconds, "gmacs": 1.0, **fields}


@pytest.mark.parametrize("count", range(1, 31))
def test_the_interval_of_the_median_is_the_narrowest_pair_of_order_statistics_that_covers_95_percent(count):
    interval = median_interval(list(range(count))[::-1])
    if interval is None:
        assert count < profile_rounds.LEAST_ROUNDS
        return
    low, high = interval
    outside = stats.binom.cdf(low, count, 0.5)  # as many values lie below the lower end as its place says
    assert high == count - 1 - low
    assert 2 * outside <= 0.05 < 2 * stats.binom.cdf(low + 1, count, 0.5)


@pytest.mark.parametrize("count", [6, 9, 12, 20])
def test_the_interval_covers_the_median_of_a_skewed_distribution(count):
    draws = np.random.default_rng(count).lognormal(0.0, 0.5, (4000, count))
    ends = np.array([median_interval(list(values)) for values in draws])
    covered = np.mean((ends[:, 0] <= 1.0) & (ends[:, 1] >= 1.0))
    assert 0.94 <= covered <= 0.985


def test_rounds_go_on_until_both_medians_are_within_five_percent():
    quick = [taken(10.0 + 0.01 * number) for number in range(5)]
    assert not is_enough(quick)
    assert is_enough([*quick, taken(10.2)])
    outlier = [*quick, taken(12.0)]
    assert not is_enough(outlier), "six rounds give their least and greatest"
    assert is_enough([*outlier, *quick]), "of eleven the greatest is outside the interval"
    unsteady = [taken(10.0, throughput_img_s=100.0 + 20 * number) for number in range(6)]
    assert not is_enough(unsteady)


def test_rounds_end_when_the_time_is_over_and_the_profile_says_so():
    wide = [taken(10.0 + number) for number in range(6)]
    assert not is_enough(wide)
    late = [{**entry, "round_s": profile_rounds.LIMIT_S / 5.9} for entry in wide]
    assert is_enough(late)
    assert summary(late)["profile_within"] is False
    assert not is_enough(late[:5]), "fewer than six rounds have no interval"
    many = [taken(10.0 + number % 5, seconds=0.0) for number in range(profile_rounds.MOST_ROUNDS)]
    assert is_enough(many) and not is_enough(many[:-1])


def test_disturbed_rounds_count_only_where_six_quiet_ones_are_not_to_be_had():
    quiet, busy = [taken(10.0)] * 6, [taken(30.0, others=0.5)] * 9
    figures = summary([*busy, *quiet])
    assert (figures["latency_ms_b1_p50"], figures["profile_rounds"], figures["profile_others_cpu"]) == (10.0, 6, 0.0)
    figures = summary([*busy, *quiet[:5]])
    assert (figures["latency_ms_b1_p50"], figures["profile_rounds"], figures["profile_others_cpu"]) == (30.0, 14, 0.5)
    assert is_enough([*busy, *quiet]) and not is_enough(busy)
    limit = profile_rounds.DISTURBED_LIMIT_S / 8.9
    assert is_enough([{**entry, "round_s": limit} for entry in busy])


def test_a_profile_has_the_medians_their_ends_and_the_first_rounds_own_figures():
    rounds = [
        taken(value, **({"gmacs": 0.4} if value == 11.0 else {})) for value in (11.0, 10.0, 12.0, 13.0, 9.0, 14.0)
    ]
    figures = summary(rounds, run="abc")
    assert figures["latency_ms_b1_p50"] == 11.5
    assert (figures["latency_ms_b1_low"], figures["latency_ms_b1_high"]) == (9.0, 14.0)
    assert (figures["throughput_low"], figures["throughput_high"]) == (1000 / 14, 1000 / 9)
    assert (figures["gmacs"], figures["profile_run"], figures["profile_rounds"]) == (0.4, "abc", 6)
    assert "round_s" not in figures


def test_one_busy_second_does_not_condemn_a_profile():
    rounds = [taken(30.0, others=0.5, seconds=15.0), *[taken(10.0)] * 5]
    assert not is_enough(rounds), "one more round makes six quiet ones"
    assert is_enough([*rounds, taken(10.0)])


def test_what_is_taken_once_is_taken_again_while_only_disturbed_rounds_have_it():
    busy, plain = taken(10.0, others=0.5, train_img_s=3.0), {k: v for k, v in taken(10.0).items() if k != "gmacs"}
    assert wants_all([]) and wants_all([busy]) and wants_all([busy, plain])
    assert not wants_all([busy, taken(10.0)]) and not wants_all([busy] * 3)
    quiet = taken(10.0, train_img_s=9.0)
    assert summary([busy, quiet, *[plain] * 5])["train_img_s"] == 9.0
