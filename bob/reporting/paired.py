"""Scores of a board on the same resampled test sets, for every backbone, or a reason why not.

A score that is a mean over test samples (top-1) is resampled here from its outcomes. One that is not (AP, mIoU) comes
with its replicates: the task computed it on resampled test sets that depend on the samples alone.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bob.reporting.ranking import compare_to_best, is_binary, resampled_means

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

MIN_SAMPLES = 2  # resampling one sample always gives that sample, which would look certain
_MEAN_TOLERANCE = 1e-6
MEAN, WHOLE = "mean of its outcomes", "score of the whole test set"


@dataclass(frozen=True)
class Run:
    """One run's score and outcomes.

    Attributes:
        score: Its score.
        outcomes: Its table with ``sample_id``, and with ``outcome`` or ``attrs["replicates"]``; None if it left none.
    """

    score: float
    outcomes: pd.DataFrame | None


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Several backbones on the same resampled test sets.

    Attributes:
        scores: Per backbone its score, averaged over seeds.
        replicates: Per backbone its score on each resampled test set, (resamples,), averaged over seeds.
        outcomes: Per backbone its outcomes, (samples,), averaged over seeds; empty where the score is no mean of them.
        samples: How many test samples there are.
        single_seed: Whether every backbone is one run.
        missing: Why a backbone is not in it, by name.
        reason: Why there is nothing to pair at all; None if there is.
    """

    scores: dict[str, float] = field(default_factory=dict)
    replicates: dict[str, Floats] = field(default_factory=dict)
    outcomes: dict[str, Floats] = field(default_factory=dict)
    samples: int = 0
    single_seed: bool = True
    missing: dict[str, str] = field(default_factory=dict)
    reason: str | None = None

    def stacked(self, names: Sequence[str]) -> Floats:
        """Return the replicates of the named, (resamples, names)."""
        return np.stack([self.replicates[name] for name in names], axis=1)

    def is_exact(self, names: Sequence[str]) -> bool:
        """Tell whether the named are single runs of 0/1 outcomes, which have an exact test."""
        return self.single_seed and all(name in self.outcomes and is_binary(self.outcomes[name]) for name in names)

    def p_values(self, names: Sequence[str], best: str) -> Floats:
        """Return the Holm-adjusted p-value of each of the named against ``best``, which is one of them."""
        return compare_to_best(
            np.array([self.scores[name] for name in names]),
            self.stacked(names),
            best=list(names).index(best),
            outcomes=np.stack([self.outcomes[name] for name in names]) if self.is_exact(names) else None,
        )


@dataclass(frozen=True)
class _Form:
    """What runs must share to be paired."""

    kind: str
    ids: frozenset[str]
    resamples: int


def pair(runs: Mapping[str, list[Run]]) -> Paired:
    """Align the runs of each backbone by sample id.

    The backbones whose samples are those of most backbones are paired; the others are named with the reason.
    """
    forms: dict[str, set[_Form]] = {}
    missing: dict[str, str] = {}
    for backbone, members in runs.items():
        try:
            forms[backbone] = {_form(run) for run in members}
        except ValueError as error:
            missing[backbone] = str(error)
    if not forms:
        reason = "no run left the outcomes of its test samples in a form that can be paired"
        return Paired(missing=missing, reason=reason)
    whole = {backbone: found.pop() for backbone, found in forms.items() if len(found) == 1}
    if not whole:
        return Paired(missing=missing, reason="the seeds were tested on different samples")
    common = Counter(whole.values()).most_common(1)[0][0]
    if len(common.ids) < MIN_SAMPLES:
        return Paired(missing=missing, reason=f"{len(common.ids)} test sample is too few")
    missing |= {name: _difference(whole.get(name), common) for name in forms if whole.get(name) != common}
    chosen = {name: members for name, members in runs.items() if name not in missing}
    single_seed = all(len(members) == 1 for members in runs.values())
    paired = _means(chosen, common) if common.kind == MEAN else _whole(chosen)
    if not paired:
        return Paired(missing=missing, reason="no resampled test set has anything to score")
    scores, replicates, outcomes = paired
    return Paired(
        scores=scores,
        replicates=replicates,
        outcomes=outcomes,
        samples=len(common.ids),
        single_seed=single_seed,
        missing=missing,
    )


def _difference(own: _Form | None, common: _Form) -> str:
    if own is None:
        return "its seeds were tested on different samples"
    if own.kind != common.kind:
        return f"its score is the {own.kind}, the others' the {common.kind}"
    if own.ids != common.ids:
        return "it was tested on other samples"
    return f"it has {own.resamples} resampled scores, the others {common.resamples}"


def _form(run: Run) -> _Form:
    """Return what kind of score a run has and on which samples.

    Raises:
        ValueError: It cannot be paired; the message says why.
    """
    table = run.outcomes
    if table is None or "sample_id" not in table.columns:
        raise ValueError("it left no outcome per test sample")
    ids = table["sample_id"]
    if not ids.is_unique:
        raise ValueError("a sample id occurs twice in its outcomes")
    replicates = table.attrs.get("replicates")
    if replicates is not None:
        present = replicates[~np.isnan(replicates)]
        if not present.size or present.min() < 0 or present.max() > 1:
            raise ValueError("its resampled scores are no scores in [0, 1]")
        return _Form(WHOLE, frozenset(ids), len(replicates))
    if "outcome" not in table.columns:
        raise ValueError("it left no outcome per test sample")
    values = table["outcome"].to_numpy(dtype=float)
    if not np.isfinite(values).all() or abs(float(values.mean()) - run.score) > _MEAN_TOLERANCE:
        raise ValueError("its score is not the mean of its outcomes")
    return _Form(MEAN, frozenset(ids), 0)


_Parts = tuple[dict[str, float], dict[str, Floats], dict[str, Floats]]


def _means(runs: Mapping[str, list[Run]], common: _Form) -> _Parts:
    """Return scores, replicates and outcomes of scores that are means."""
    order = sorted(common.ids)
    outcomes = {name: np.mean([_aligned(run, order) for run in members], axis=0) for name, members in runs.items()}
    drawn = resampled_means(np.stack(list(outcomes.values())))
    scores = {name: float(values.mean()) for name, values in outcomes.items()}
    return scores, dict(zip(outcomes, drawn.T, strict=True)), outcomes


def _aligned(run: Run, order: list[str]) -> Floats:
    assert run.outcomes is not None, "runs without outcomes have no form"
    return run.outcomes.set_index("sample_id")["outcome"].loc[order].to_numpy(dtype=float)


def _whole(runs: Mapping[str, list[Run]]) -> _Parts | None:
    """Return scores that are no means over samples, and their replicates; None if no resample gives all of them one.

    A set without any object has no score for anybody, so leaving it out favours nobody.
    """
    scores = {name: statistics.fmean(run.score for run in members) for name, members in runs.items()}
    drawn = np.stack([np.mean([_replicates(run) for run in members], axis=0) for members in runs.values()])
    drawn = drawn[:, np.isfinite(drawn).all(axis=0)]
    return (scores, dict(zip(runs, drawn, strict=True)), {}) if drawn.size else None


def _replicates(run: Run) -> Floats:
    assert run.outcomes is not None, "runs without outcomes have no form"
    return run.outcomes.attrs["replicates"]
