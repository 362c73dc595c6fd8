"""From the scores of several sets of pictures to an out-of-distribution detection job's result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bob.core.files import canonical_json
from bob.metrics.ood import auroc_interval, mean_auroc_replicates, ood_metrics
from bob.tasks.result import TaskResult

DIGITS = 6
MEANS = ("auroc", "aupr_in", "aupr_out", "fpr95")

_PerSet = dict[str, dict[str, dict[str, float]]]


@dataclass(frozen=True, kw_only=True)
class ScoredSet:
    """The test pictures of one data set.

    Attributes:
        name: The data set's.
        role: "inside" for the classifier's own data set, else "near" or "far".
        ids: The pictures' ids, n of them.
        scores: (n,) float64 by score name, higher for in-distribution.
    """

    name: str
    role: str
    ids: tuple[str, ...]
    scores: dict[str, np.ndarray]


def judged(
    inside: ScoredSet, outside: Sequence[ScoredSet], *, method: str, top1: float, notes: dict[str, Any], **facts: Any
) -> TaskResult:
    """Return the result: every score's AUROC, and all metrics of the primary one, averaged over the outside sets.

    Each set counts the same, whatever its size. The interval resamples the pictures of every set
    (``mean_auroc_replicates``, ``auroc_interval``).

    Args:
        inside: The classifier's own test pictures.
        outside: One or more sets, each name once.
        method: The primary score.
        top1: The classifier's accuracy inside.
        notes: Of the result; ``per_set`` is added.
        facts: ``hparams``, ``search``, ``cost`` of the result.

    Raises:
        DataError: A set has no picture.
        NumericalError: A score is not finite.
    """
    assert len({each.name for each in (inside, *outside)}) == 1 + len(outside), "the planner tells sets apart"
    per_set = {
        name: {each.name: ood_metrics(kept, each.scores[name]) for each in outside}
        for name, kept in inside.scores.items()
    }
    metrics = _metrics(per_set, outside, method, top1)
    replicates = _replicates(inside, outside, method)
    smallest = min(len(each.ids) for each in (inside, *outside))
    low, high = auroc_interval(metrics["auroc"], replicates, smallest=smallest, sets=len(outside))
    return TaskResult(
        score=metrics["auroc"],
        score_low=low,
        score_high=high,
        metrics=metrics,
        outcomes=_outcomes((inside, *outside), method),
        replicates=replicates,
        notes={**notes, "per_set": _text(per_set, outside)},
        **facts,
    )


def _metrics(per_set: _PerSet, outside: Sequence[ScoredSet], method: str, top1: float) -> dict[str, float]:
    """Return the metric columns; those of a role that no set has are left out."""
    found = {name: _mean(per_set[method], outside, name) for name in MEANS}
    for role in sorted({each.role for each in outside}):
        found[f"auroc_{role}"] = _mean(per_set[method], [each for each in outside if each.role == role], "auroc")
    found |= {f"auroc_{name}": _mean(sets, outside, "auroc") for name, sets in per_set.items()}
    return {**found, "top1": top1}


def _mean(sets: dict[str, dict[str, float]], chosen: Sequence[ScoredSet], metric: str) -> float:
    return math.fsum(sets[each.name][metric] for each in chosen) / len(chosen)


def _replicates(inside: ScoredSet, outside: Sequence[ScoredSet], method: str) -> np.ndarray:
    # A set's draws depend on its place: in the order of their names they pair with those of any other job.
    ordered = sorted(outside, key=lambda each: each.name)
    return mean_auroc_replicates(inside.scores[method], [each.scores[method] for each in ordered])


def _outcomes(sets: Sequence[ScoredSet], method: str) -> dict[str, np.ndarray]:
    ids = [f"{each.name}/{picture}" for each in sets for picture in each.ids]
    return {
        "sample_id": np.array(ids, dtype=object),
        "inside": np.concatenate([np.full(len(each.ids), each.role == "inside") for each in sets]),
        "ood_score": np.concatenate([each.scores[method] for each in sets]),
    }


def _text(per_set: _PerSet, outside: Sequence[ScoredSet]) -> str:
    counts = {each.name: len(each.ids) for each in outside}
    rounded = {
        score: {
            name: {**{metric: round(value, DIGITS) for metric, value in found.items()}, "n": counts[name]}
            for name, found in sets.items()
        }
        for score, sets in per_set.items()
    }
    return canonical_json(rounded)
