"""Whether features say anything: how far, and in how many directions, they vary from picture to picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

MOST_ROWS = 500
ROUNDING = 8 * float(np.finfo(np.float32).eps)  # what batches of another size change, as a share of a value
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class FeatureContent:
    """What the features of some pictures hold.

    Attributes:
        is_collapsed: Whether every picture has the same features, up to rounding.
        rank: Effective rank of the centred features (Roy and Vetterli 2007, "The effective rank"): the exponential of
            the entropy of their singular values as shares of their sum; 0 where they do not vary.
        spread: Root mean square distance from the mean feature, as a share of the root mean square length, in [0, 1];
            0 where every picture has the same features.
        largest: Largest absolute value.
        width: Values a picture.
    """

    is_collapsed: bool
    rank: float
    spread: float
    largest: float
    width: int

    @property
    def fault(self) -> str | None:
        """What is wrong with the features, in words; None if nothing is."""
        if self.is_collapsed:
            return "the features are the same for every picture"
        if self.largest > math.sqrt(_FLOAT32_MAX / self.width):
            return f"the features are as large as {self.largest:.0e}: their squares may leave the range of float32"
        return None

    def columns(self) -> dict[str, Any]:
        """Return the columns of a row."""
        return {
            "feature_rank": self.rank,
            "feature_spread": self.spread,
            "feature_range": self.largest,
            "feature_fault": self.fault,
        }


def feature_content(features: np.ndarray) -> FeatureContent:
    """Measure features (n, width), on at most 500 rows that are evenly spaced."""
    step = max(1, math.ceil(len(features) / MOST_ROWS))
    rows = np.asarray(features[::step], dtype=np.float64)
    largest = float(np.abs(rows).max())
    scaled = rows / (largest or 1.0)  # so that no square overflows; rank and spread do not change
    centred = scaled - scaled.mean(axis=0)
    length, distance = math.sqrt(float((scaled**2).sum())), math.sqrt(float((centred**2).sum()))
    spread = distance / length if length else 0.0
    # Channel by channel: a large constant one beside others that vary takes nothing from them.
    varies = bool((centred.std(axis=0) > ROUNDING * np.abs(scaled.mean(axis=0))).any())
    is_collapsed = len(rows) > 1 and not varies
    rank = _effective_rank(centred) if varies else 0.0
    return FeatureContent(is_collapsed=is_collapsed, rank=rank, spread=spread, largest=largest, width=rows.shape[1])


def _effective_rank(centred: np.ndarray) -> float:
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))
    shares = singular / singular.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
