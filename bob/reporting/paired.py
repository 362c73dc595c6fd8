"""How the scores of a board's backbones vary together, by the test samples that they share and by their seeds.

A score that is a mean over test samples (top-1) comes with its outcomes. One that is not (AP, mIoU) comes with its
replicates: the task computed it on resampled test sets that depend on the samples alone.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bob.metrics.interval import seed_part, seed_variance
from bob.reporting.pairwise import Noise

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

MIN_SAMPLES = 2  # one sample has no spread, which would look certain
MOST_SCALE = 1.5  # a wider interval than that is one of few degrees of freedom, not of a larger spread
_MEAN_TOLERANCE = 1e-6
MEAN, WHOLE = "mean of its outcomes", "score of the whole test set"


@dataclass(frozen=True)
class Run:
    """One run's score and outcomes.

    Attributes:
        score: Its score.
        outcomes: Its table with ``sample_id``, and with ``outcome`` or ``attrs["replicates"]``; None if it left none.
        error: Standard error of the score by the test samples, as its interval has it; None if it has no interval.
    """

    score: float
    outcomes: pd.DataFrame | None
    error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Several backbones on the same test samples.

    Attributes:
        scores: Per backbone its score, averaged over seeds.
        covariance: (backbones, backbones) of those scores by the test samples, in the order of ``scores``.
        floor: See ``bob.reporting.pairwise.Noise``.
        runs: Per backbone how many runs it has.
        seed_parts: Per backbone of several runs the variance of its score by the seeds, see ``seed_part``; of one run
            what its interval holds beyond its outcomes, such as the draws that a few-shot score averages over.
        samples: How many test samples there are.
        missing: Why a backbone is not in it, by name.
        reason: Why there is nothing to pair at all; None if there is.
    """

    scores: dict[str, float] = field(default_factory=dict)
    covariance: Floats = field(default_factory=lambda: np.empty((0, 0)))
    floor: float = 0.0
    runs: dict[str, int] = field(default_factory=dict)
    seed_parts: dict[str, float] = field(default_factory=dict)
    samples: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    reason: str | None = None

    def variance(self, name: str) -> float:
        """Return the variance of a backbone's score by the test samples."""
        at = list(self.scores).index(name)
        return float(self.covariance[at, at])

    def pooled(self, names: Sequence[str]) -> SeedNoise | None:
        """Return the noise of one run, pooled over those of the named that have several; None if none has."""
        known = [name for name in names if name in self.seed_parts]
        freedom = sum(self.runs[name] - 1 for name in known)
        if not freedom:
            return None
        each = (self.seed_parts[name] * self.runs[name] * (self.runs[name] - 1) for name in known)
        return SeedNoise(max(sum(each) / freedom, 0.0), freedom)

    def noise(self, names: Sequence[str], pooled: SeedNoise | None) -> Noise:
        """Return the noise of the named, whose seeds vary as ``pooled`` says, or more where their own runs do."""
        order = list(self.scores)
        places = [order.index(name) for name in names]
        of_one_run = 0.0 if pooled is None else pooled.variance
        seeds = [max(self.seed_parts.get(name, 0.0), of_one_run / self.runs[name]) for name in names]
        freedom = math.inf if pooled is None else float(pooled.freedom)
        return Noise(
            pictures=self.covariance[np.ix_(places, places)], floor=self.floor, seeds=np.array(seeds), freedom=freedom
        )


@dataclass(frozen=True)
class SeedNoise:
    """How much another seed changes the score of one run.

    Attributes:
        variance: Of the score.
        freedom: Its degrees of freedom.
    """

    variance: float
    freedom: int


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
    joined = _means(chosen, common) if common.kind == MEAN else _whole(chosen)
    if joined is None:
        return Paired(missing=missing, reason="no resampled test set has anything to score")
    return Paired(
        scores=joined.scores,
        covariance=joined.covariance,
        floor=joined.floor,
        runs={name: len(members) for name, members in chosen.items()},
        seed_parts=joined.seed_parts,
        samples=len(common.ids),
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


@dataclass(frozen=True)
class _Joined:
    """The figures of ``Paired`` by the same names."""

    scores: dict[str, float]
    covariance: Floats
    floor: float
    seed_parts: dict[str, float]


def _means(runs: Mapping[str, list[Run]], common: _Form) -> _Joined:
    """Join scores that are means of their outcomes."""
    order = sorted(common.ids)
    outcomes = {name: np.stack([_aligned(run, order) for run in members]) for name, members in runs.items()}
    averaged = np.stack([values.mean(axis=0) for values in outcomes.values()])
    n = len(order)
    return _Joined(
        scores={name: float(values.mean()) for name, values in outcomes.items()},
        covariance=np.atleast_2d(np.cov(averaged)) / n,
        floor=2 / n**2,
        seed_parts={name: _seeds_or_draws(runs[name], values) for name, values in outcomes.items()},
    )


def _seeds_or_draws(runs: Sequence[Run], outcomes: Floats) -> float:
    """Return the variance of a mean beyond that by samples: over seeds, or over the draws within a single run."""
    if len(runs) > 1:
        return seed_variance(outcomes)
    error, by_samples = runs[0].error, outcomes.var() / outcomes.size
    if error is None or np.isin(outcomes, (0, 1)).all():
        return 0.0
    return max(error**2 - float(by_samples), 0.0)


def _aligned(run: Run, order: list[str]) -> Floats:
    assert run.outcomes is not None, "runs without outcomes have no form"
    return run.outcomes.set_index("sample_id")["outcome"].loc[order].to_numpy(dtype=float)


def _whole(runs: Mapping[str, list[Run]]) -> _Joined | None:
    """Join scores that are no means over samples; None if no resampled test set gives all of them a score.

    A set without any object has no score for anybody, so leaving it out favours nobody.
    """
    drawn = {name: np.stack([_replicates(run) for run in members]) for name, members in runs.items()}
    usable = np.all([np.isfinite(values).all(axis=0) for values in drawn.values()], axis=0)
    if usable.sum() < 2:
        return None
    drawn = {name: values[:, usable] * _scale(runs[name], values[:, usable]) for name, values in drawn.items()}
    return _Joined(
        scores={name: statistics.fmean(run.score for run in members) for name, members in runs.items()},
        covariance=np.atleast_2d(np.cov(np.stack([values.mean(axis=0) for values in drawn.values()]))),
        floor=0.0,
        seed_parts={name: _seed_part(runs[name], values) for name, values in drawn.items() if len(values) > 1},
    )


def _scale(runs: Sequence[Run], drawn: Floats) -> Floats:
    """Return (runs, 1): what brings the spread of each run's replicates to its standard error, where that is larger.

    The bootstrap's spread is too small for AP and mIoU of few pictures (``bob.metrics.resampling.spread_of``).
    """
    spread = drawn.std(axis=1, ddof=1)
    errors = np.array([spread[at] if run.error is None else run.error for at, run in enumerate(runs)])
    return np.divide(errors, spread, out=np.ones_like(spread), where=spread > 0).clip(1.0, MOST_SCALE)[:, None]


def _seed_part(runs: Sequence[Run], drawn: Floats) -> float:
    count = len(runs)
    by_run = drawn - drawn.mean(axis=1, keepdims=True)
    interaction = float((by_run - by_run.mean(axis=0)).var(axis=1, ddof=1).sum()) / max(count - 1, 1) / count
    return seed_part(np.array([run.score for run in runs]), interaction)


def _replicates(run: Run) -> Floats:
    assert run.outcomes is not None, "runs without outcomes have no form"
    return np.asarray(run.outcomes.attrs["replicates"], dtype=float)
