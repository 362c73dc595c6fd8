"""The interval of multi-label mean average precision holds the truth as often as it says, by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.interval_coverage import whole_set_coverage
from bob.metrics.multilabel_metrics import Ranking, mean_average_precision

SHARES = (0.6, 0.3, 0.2, 0.1, 0.05)  # of the pictures that show each class
SIMULATIONS = 240


def pictures(rng: np.random.Generator, count: int) -> list[Ranking]:
    """Return the rankings of pictures of which some are hard in every class, and some values are not known."""
    hard = rng.normal(0, 0.7, (count, 1))
    there = (rng.random((count, len(SHARES))) < SHARES).astype(float)
    logits = (2 * there - 1) * (0.6 - 0.5 * hard) + rng.normal(0, 1, there.shape)
    values = np.where(rng.random(there.shape) < 0.05, np.nan, there)
    probabilities = 1 / (1 + np.exp(-logits))
    return [Ranking(probabilities[:, label], values[:, label]) for label in range(len(SHARES))]


@pytest.mark.slow
@pytest.mark.parametrize("samples", [100, 300])
def test_mean_average_precision_is_covered(samples):
    found = whole_set_coverage("mAP", pictures, mean_average_precision, samples, SIMULATIONS)
    assert 0.93 <= found.covered <= 0.97 and found.above <= 0.06
