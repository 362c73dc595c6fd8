"""From rounds of measurements to a profile: medians over rounds, their intervals, and when enough were taken.

One round's passes follow each other within a second and share whatever the machine did meanwhile, so that they are no
independent sample of what a pass costs. The rounds are the sample: the backbones of a run take turns, each round in a
process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from bob.jobs.profiles import LIMIT_S, OTHERS, is_disturbed

Round = Mapping[str, Any]

CONFIDENCE = 0.95
WITHIN = 0.05  # how near to the median both ends of its interval must come
LEAST_ROUNDS = 6  # with fewer, not even the least and the greatest round enclose the median in 95 %
MOST_ROUNDS = 30
DISTURBED_LIMIT_S = 20.0  # of its disturbed rounds, while fewer than six were quiet
# What a round measures and a profile gives the median of, with the names of the interval's ends.
MEDIANS = {
    "latency_ms_b1_p50": ("latency_ms_b1_low", "latency_ms_b1_high"),
    "throughput_img_s": ("throughput_low", "throughput_high"),
}
ROUND_S = "round_s"
ONCE = "gmacs"  # a round that has it has all that is taken once
TRIES = 3  # at what is taken once, while the host is busy


def median_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95 % interval of the median of what the values are a sample of; None for fewer than six.

    Its ends are order statistics: the number of values below the median is binomial with p = 1/2, whatever the
    distribution (David and Nagaraja, Order Statistics, 2003, section 7.1).
    """
    place = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5))
    if place < 1:
        return None
    ordered = sorted(values)
    return ordered[place - 1], ordered[-place]


def is_enough(rounds: Sequence[Round]) -> bool:
    """Tell whether a backbone needs no further round: quiet rounds put both medians within 5 %, or the time is over."""
    if len(rounds) < LEAST_ROUNDS:
        return False
    used = _used(rounds)
    is_quiet = not _is_disturbed(used)
    if is_quiet and _is_narrow(used):
        return True
    if not is_quiet and _seconds(filter(is_disturbed, rounds)) >= DISTURBED_LIMIT_S:
        return True
    return len(rounds) >= MOST_ROUNDS or _seconds(rounds) >= LIMIT_S


def wants_all(rounds: Sequence[Round]) -> bool:
    """Tell whether the next round is to take what no round repeats, as no quiet one has it yet."""
    taken = [entry for entry in rounds if ONCE in entry]
    return len(taken) < TRIES and not any(not is_disturbed(entry) for entry in taken)


def summary(rounds: Sequence[Round], *, run: str = "") -> dict[str, Any]:
    """Return the profile that rounds come to.

    Args:
        rounds: What ``measure_round`` returned, one or more with the figures that no other repeats.
        run: The run whose backbones took turns.

    Returns:
        Those figures, of the least disturbed round that has them; medians over the quiet rounds, or over all where
        fewer than six were quiet; their 95 % intervals; ``profile_rounds``; ``profile_within`` (whether each interval
        came within 5 % of its median); ``profile_others_cpu`` of the busiest round that counts; ``profile_run``; and
        ``profile_taken_at``.
    """
    used = _used(rounds)
    whole = min((entry for entry in rounds if ONCE in entry), key=lambda entry: float(entry[OTHERS]))
    figures = {name: value for name, value in whole.items() if name != ROUND_S}
    for name in (*MEDIANS, "latency_ms_b1_p95"):
        figures[name] = float(np.median([taken[name] for taken in used]))
    for name, ends in MEDIANS.items():
        interval = median_interval([taken[name] for taken in used])
        figures |= dict(zip(ends, interval, strict=True)) if interval else {}
    figures |= {"profile_rounds": len(used), "profile_within": _is_narrow(used)}
    figures |= {OTHERS: max(float(taken[OTHERS]) for taken in used)}
    figures |= {"profile_run": run, "profile_taken_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return figures


def _used(rounds: Sequence[Round]) -> Sequence[Round]:
    quiet = [taken for taken in rounds if not is_disturbed(taken)]
    return quiet if len(quiet) >= LEAST_ROUNDS else rounds


def _seconds(rounds: Iterable[Round]) -> float:
    return sum(float(entry[ROUND_S]) for entry in rounds)


def _is_disturbed(rounds: Sequence[Round]) -> bool:
    return any(is_disturbed(taken) for taken in rounds)


def _is_narrow(rounds: Sequence[Round]) -> bool:
    for name in MEDIANS:
        values = [float(taken[name]) for taken in rounds]
        interval, middle = median_interval(values), float(np.median(values))
        if interval is None or max(interval[1] - middle, middle - interval[0]) > WITHIN * middle:
            return False
    return True
