"""What every probe on the frozen features of a job's own data set starts with, and says of its number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bob.data.pictures import require_split
from bob.jobs.context import Context
from bob.jobs.job import Job, Need
from bob.jobs.needs import features_need
from bob.probes.feature_content import feature_content
from bob.probes.feature_files import FeatureSet, SplitFeatures, load_features
from bob.probes.logistic import Logistic
from bob.tasks.artifact_makers import make
from bob.tasks.setup import Setup


def frozen_features(
    job: Job, context: Context, *, need: Callable[[Job], Need] = features_need
) -> tuple[Setup, FeatureSet]:
    """Return a job's circumstances and the features of its own data set, made here if nobody has made them."""
    setup = Setup.of(job, context)
    require_split(setup.spec, "train", setup.splits)
    return setup, load_features(make(need(job), job, context))


def on_device(split: SplitFeatures, setup: Setup) -> Tensor:
    """Return a split's features, float32 (n, width), on the device."""
    return torch.from_numpy(np.array(split.features)).to(setup.device)


def feature_notes(setup: Setup, features: FeatureSet, **more: Any) -> dict[str, Any]:
    """Return the columns that qualify the number; the precision is the one the features were computed in."""
    meta, splits = features.meta, features.splits
    counts = {f"n_{name}": len(split.labels) for name, split in splits.items()}
    facts = {"n_classes": len(features.classes), "dropped_pictures": meta["dropped"], "precision": meta["precision"]}
    facts["features_s"] = meta["seconds"]
    content = feature_content(splits["train"].features).columns()
    return {**setup.notes(meta["pooling"]), **counts, **facts, **content, **more}


@dataclass(frozen=True, kw_only=True)
class Strength:
    """The L2 strength that was chosen.

    Attributes:
        model: The regression of that strength.
        search: Every strength tried, as in ``TaskResult``.
        grid_edge: Whether it lies on an edge of those tried.
    """

    model: Logistic
    search: list[dict[str, Any]]
    grid_edge: bool


def best_strength(
    path: Iterable[Logistic],
    strengths: Sequence[float],
    scored: Callable[[Logistic], tuple[float, float]],
    context: Context,
) -> Strength:
    """Return the best on val of the regressions of a path.

    Args:
        path: One regression per strength.
        strengths: All that are tried, at least one.
        scored: Returns (score, loss) on val: the highest score wins, ties go to the lower loss.
        context: Is told of the progress.
    """
    search: list[dict[str, Any]] = []
    best, best_key = None, (-np.inf, -np.inf)
    for done, model in enumerate(path, start=1):
        score, loss = scored(model)
        search.append({"l2": model.l2, "val_score": score, "val_loss": loss})
        if best is None or (score, -loss) > best_key:
            best, best_key = model, (score, -loss)
        context.progress("linear", done, len(strengths))
    assert best is not None, "a list of strengths is never empty"
    on_edge = len(strengths) > 1 and best.l2 in (min(strengths), max(strengths))
    return Strength(model=best, search=search, grid_edge=on_edge)
