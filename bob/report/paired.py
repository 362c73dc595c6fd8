"""The outcomes of a board's test samples, side by side: the same samples for every backbone, or a reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

_MEAN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Run:
    """One run's score and outcomes.

    Attributes:
        score: Its score.
        outcomes: Its table with ``sample_id`` and ``outcome``; None if the run left none.
    """

    score: float
    outcomes: pd.DataFrame | None


@dataclass(frozen=True)
class Paired:
    """Outcomes of the same test samples for several backbones.

    Attributes:
        matrix: Per backbone its outcomes averaged over seeds, (samples,), in one order of the samples.
        missing: Why a backbone is not in it, by name.
        reason: Why there is nothing to pair at all; None if there is.
    """

    matrix: dict[str, NDArray[np.float64]]
    missing: dict[str, str]
    reason: str | None = None


def pair(runs: Mapping[str, list[Run]]) -> Paired:
    """Align the runs of each backbone by sample id.

    The backbones whose samples are those of most backbones are paired; the others are named with the reason.
    """
    series: dict[str, list[pd.Series[float]]] = {}
    missing: dict[str, str] = {}
    for backbone, members in runs.items():
        try:
            series[backbone] = [_outcomes(run) for run in members]
        except ValueError as error:
            missing[backbone] = str(error)
    ids = {backbone: _shared_ids(members) for backbone, members in series.items()}
    counts: dict[frozenset[str], int] = {}
    for members_ids in ids.values():
        counts[members_ids] = counts.get(members_ids, 0) + 1
    if not counts:
        return Paired({}, missing, "no run left the outcomes of its test samples in a form that can be paired")
    common = max(counts, key=lambda members_ids: counts[members_ids])
    if not common:
        return Paired({}, missing, "the seeds were tested on different samples")
    order = sorted(common)
    matrix = {}
    for backbone, aligned in series.items():
        if ids[backbone] != common:
            missing[backbone] = "it was tested on other samples"
            continue
        matrix[backbone] = np.mean([run.loc[order].to_numpy(dtype=float) for run in aligned], axis=0)
    return Paired(matrix, missing)


def _outcomes(run: Run) -> pd.Series[float]:
    table = run.outcomes
    if table is None or not {"sample_id", "outcome"} <= set(table.columns):
        raise ValueError("it left no outcome per test sample")
    values = table.set_index("sample_id")["outcome"].astype(float)
    if not values.index.is_unique:
        raise ValueError("a sample id occurs twice in its outcomes")
    if not np.isfinite(values.to_numpy()).all() or abs(float(values.mean()) - run.score) > _MEAN_TOLERANCE:
        raise ValueError("its score is not the mean of its outcomes")
    return values


def _shared_ids(members: list[pd.Series[float]]) -> frozenset[str]:
    ids = {frozenset(member.index) for member in members}
    return ids.pop() if len(ids) == 1 else frozenset()
