"""What a board's numbers allow one to say: intervals, ties, ranks, and whether a candidate is above its control."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bob.metrics.interval import score_interval, widened
from bob.reporting.paired import Paired, SeedNoise
from bob.reporting.pairwise import Noise, above_p_values, pair_p_values, rank_intervals
from bob.reporting.ranking import ALPHA
from bob.reporting.report_data import Comparison, Entry, TrainingNoise

LENT = "one seed: its interval has the other candidates' spread over seeds"


def compare(entries: Sequence[Entry], paired: Paired, *, trains: bool) -> tuple[list[Entry], Comparison]:
    """Return the entries with intervals, rank intervals and ties, and what holds for the board as a whole.

    Args:
        entries: Of the board, ranked; their intervals are those of single runs, by test samples.
        paired: The same backbones on the same test samples.
        trains: Whether the jobs train a network, so that another seed is another network.
    """
    candidates = [entry.backbone for entry in entries if entry.rank is not None]
    pooled = paired.pooled(candidates)
    noise = _training_noise([entry for entry in entries if entry.rank is not None], pooled, trains=trains)
    lent = pooled if noise is TrainingNoise.POOLED else None
    entries = [_with_interval(entry, paired, lent) for entry in entries]
    if paired.reason is not None:
        return entries, Comparison(test=f"No paired test: {paired.reason}", noise=noise)
    above = _above_control(entries, paired, pooled)
    entries = [dataclasses.replace(entry, above_control=above.get(entry.backbone)) for entry in entries]
    names = [name for name in candidates if name in paired.scores]
    missing = _no_test(names, candidates)
    if missing:
        return entries, Comparison(test=missing, noise=noise)
    p_values = pair_p_values(np.array([paired.scores[name] for name in names]), paired.noise(names, pooled))
    comparison = Comparison(
        test=f"simultaneous test of all pairs on the same {paired.samples} test samples, at {ALPHA:g} in total",
        noise=noise,
        names=tuple(names),
        p_values=p_values,
    )
    found = _ties(names, comparison, candidates[0])
    if len(names) == len(candidates):
        scores = np.array([paired.scores[name] for name in names])
        for name, (low, high) in zip(names, rank_intervals(scores, p_values, alpha=ALPHA), strict=True):
            found[name] |= {"rank_low": int(low), "rank_high": int(high)}
    return [dataclasses.replace(entry, **found.get(entry.backbone, {})) for entry in entries], comparison


def _training_noise(candidates: Sequence[Entry], pooled: SeedNoise | None, *, trains: bool) -> TrainingNoise:
    if not trains:
        return TrainingNoise.NONE
    if all(len(entry.seeds) > 1 for entry in candidates):
        return TrainingNoise.COVERED
    return TrainingNoise.UNKNOWN if pooled is None else TrainingNoise.POOLED


def _with_interval(entry: Entry, paired: Paired, lent: SeedNoise | None) -> Entry:
    """Return the entry with the interval of its mean over seeds, by test samples and seeds.

    Args:
        entry: With the interval of a single run by test samples.
        paired: Of the board.
        lent: The seeds' noise that a candidate of one seed borrows from the others; None if it is not to.
    """
    if entry.low is None or entry.high is None:
        return entry
    runs, interval = len(entry.seeds), (entry.low, entry.high)
    if runs < 2:
        if lent is None or entry.is_control:
            return entry
        low, high = widened(interval, entry.score, lent.variance, freedom=lent.freedom)
        return dataclasses.replace(entry, low=low, high=high, flags=(*entry.flags, LENT))
    name = entry.backbone
    if name in paired.scores and paired.floor:  # a mean over samples: over seeds too, each sample has its mean outcome
        interval = score_interval(entry.score, paired.variance(name), samples=paired.samples)
    by_seeds = paired.seed_parts.get(name, (entry.seed_std or 0.0) ** 2 / runs)
    low, high = widened(interval, entry.score, by_seeds, freedom=runs - 1)
    return dataclasses.replace(entry, low=low, high=high)


def _no_test(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    if len(names) < 2:
        return "No paired test: fewer than two candidates have the outcomes of the same test samples"
    if candidates[0] not in names:
        return f"No paired test: the best, {candidates[0]}, has no outcomes on the samples of the others"
    return None


def _ties(names: Sequence[str], comparison: Comparison, best: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        p_value = comparison.p_value(name, best)
        found[name] = {"p_value": p_value, "tied": p_value >= ALPHA}
    return found


def _above_control(entries: Sequence[Entry], paired: Paired, pooled: SeedNoise | None) -> dict[str, bool]:
    """Tell for each candidate whether it scores significantly above the random initialisation of its architecture."""
    controls = {entry.backbone for entry in entries if entry.is_control and entry.backbone in paired.scores}
    control_of = {name: f"{name.partition('.')[0]}.random" for name in paired.scores}
    tested = [e.backbone for e in entries if not e.is_control and control_of.get(e.backbone) in controls]
    names = [*tested, *sorted({control_of[name] for name in tested})]
    scores = np.array([paired.scores[name] for name in names])
    pairs = [(names.index(name), names.index(control_of[name])) for name in tested]
    p_values = above_p_values(scores, _noise_with_controls(paired, names, controls, pooled), pairs)
    return {name: bool(p_value < ALPHA) for name, p_value in zip(tested, p_values, strict=True)}


def _noise_with_controls(paired: Paired, names: Sequence[str], controls: set[str], pooled: SeedNoise | None) -> Noise:
    """Return the noise of candidates and controls, whose seeds vary for reasons of their own: the initialisation."""
    of_controls = paired.pooled([name for name in names if name in controls])
    noise, other = paired.noise(names, pooled), paired.noise(names, of_controls)
    is_control = np.array([name in controls for name in names], dtype=bool)
    return dataclasses.replace(
        noise,
        seeds=np.where(is_control, other.seeds, noise.seeds),
        freedom=min(noise.freedom, other.freedom),
    )


def interval_error(row: Mapping[str, Any]) -> float | None:
    """Return the standard error of a row's score by the test samples, from its interval; None if it has none."""
    low, high = row.get("score_low"), row.get("score_high")
    if low is None or high is None:
        return None
    error = (float(high) - float(low)) / (2 * 1.96)
    return error if math.isfinite(error) else None
