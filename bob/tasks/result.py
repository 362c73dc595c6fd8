"""What a task's protocol hands back: numbers, their interval, the outcome of every test sample, the search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The outcome of one job, before cost and provenance are added.

    Attributes:
        score: The primary metric, in [0, 1].
        score_low: Lower end of the 95 % interval, by test samples, of the score over all pictures like these.
        score_high: Upper end.
        metrics: Every metric by column name.
        outcomes: Columns of equal length, one entry per test sample: ``sample_id`` (text) and what was predicted; where
            the score is a mean over samples, ``outcome`` is the sample's contribution to it.
        replicates: Where it is not (AP, mIoU): the score on each resampled test set of ``bob.metrics.resampling``,
            float64 (resamples,), so that reports can pair them; None if ``outcome`` does that.
        shared_s: Seconds of this job's own training that an artifact's maker spent in its place.
        contact_sheet: PNG bytes: some test pictures with truth and prediction; None if the task draws none.
        hparams: The hyperparameters of the scored model.
        search: One entry per setting tried: its hyperparameters and its validation score.
        cost: Cost columns measured on the way (``train_s``, ``train_img_s``, ``train_peak_mb``).
        notes: Column values that qualify the number (``grid_edge``, ``micro_batch``, ``bn_backoff``, ...).
    """

    score: float
    score_low: float
    score_high: float
    metrics: dict[str, float]
    outcomes: dict[str, np.ndarray]
    hparams: dict[str, Any] = field(default_factory=dict)
    search: list[dict[str, Any]] = field(default_factory=list)
    cost: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    replicates: np.ndarray | None = None
    shared_s: float = 0.0
    contact_sheet: bytes | None = None


def listed(columns: Mapping[str, Sequence[Any]]) -> dict[str, np.ndarray]:
    """Return outcome columns whose entries are texts or lists, one object per test sample."""
    found = {}
    for name, values in columns.items():
        found[name] = np.empty(len(values), dtype=object)
        found[name][:] = values
    return found
