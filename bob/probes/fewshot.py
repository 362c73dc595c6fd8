"""Few-shot classification on frozen features: draws of a few pictures per class, one logistic regression each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bob.core.errors import ConfigError
from bob.probes.logistic import Logistic, fit_path
from bob.probes.unit_length import unit_rows


def draw_support(labels: np.ndarray, *, class_names: Sequence[str], shots: int, seed: int, draw: int) -> np.ndarray:
    """Return the sorted indices of ``shots`` pictures of every class, drawn without replacement.

    The draw depends on ``(seed, draw)`` and the labels alone, so every backbone sees the same pictures.

    Raises:
        ConfigError: A class has fewer than ``shots`` pictures; the message names it and how many it has.
    """
    rng = np.random.default_rng([seed, draw])
    chosen = []
    for index, name in enumerate(class_names):
        members = np.flatnonzero(labels == index)
        if len(members) < shots:
            raise ConfigError(
                f"shots={shots} is more than class {name!r} has: {len(members)} training pictures.",
                hint=f"Set shots to at most {len(members)}, or raise the budget's max_train.",
            )
        chosen.append(rng.choice(members, size=shots, replace=False))
    return np.sort(np.concatenate(chosen))


def fit_fewshot(train: Tensor, labels: Tensor, *, support: np.ndarray, classes: int, c: float = 10.0) -> Logistic:
    """Return a logistic regression on the support pictures, which takes features of unit length.

    Unit length needs no statistics of pictures outside the draw (Tian et al. 2020, arXiv 2003.11539); the strength is
    fixed, ``C = c`` in scikit-learn's sense, as a few pictures leave none to choose it on.

    Args:
        train: (n, d) features.
        labels: (n,) int64.
        support: Indices into ``train``.
        classes: Number of classes.
        c: Inverse strength.
    """
    chosen = torch.as_tensor(np.asarray(support), device=train.device)
    x = unit_rows(train[chosen])
    (model,) = fit_path(x, labels[chosen], classes=classes, l2=[1 / (c * len(chosen))])
    return model
