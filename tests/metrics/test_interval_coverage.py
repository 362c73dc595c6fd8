"""Intervals hold the truth as often as they say, and equal backbones are not called different, by simulation.

The bounds leave room for the chance of so few simulations: 0.95 of 100 has a standard error of 0.022. The full tables
are made by ``python -m benchmarks.interval_coverage``.
"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.interval_coverage import (
    CELLS,
    RARE,
    ap_coverage,
    auroc_coverage,
    false_claims,
    miou_coverage,
    reciprocal_rank_coverage,
    seeds_coverage,
    share_coverage,
)

FEW = 100
LEAST, MOST = 0.88, 1.0
CLAIMS = [(1, 0.8, 0.0), (1, 0.98, 0.0), (2, 0.8, 0.01), (5, 0.8, 0.01)]  # seeds, accuracy, its s.d. over seeds


@pytest.mark.parametrize("samples", [200, 300, 400])
@pytest.mark.parametrize("truth", [0.5, 0.8, 0.95, 0.98, 0.985, 0.99])
def test_shares_near_1_are_covered_exactly_computed(truth: float, samples: int) -> None:
    assert 0.93 <= share_coverage(truth, samples).covered <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.9, 0.99])
def test_auroc_is_covered(truth: float) -> None:
    assert auroc_coverage(truth, 60, FEW).covered >= LEAST


@pytest.mark.slow
def test_reciprocal_ranks_are_covered() -> None:
    assert LEAST <= reciprocal_rank_coverage(60, FEW).covered <= MOST


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 5])
def test_scores_of_several_seeds_are_covered_where_pictures_alone_are_not(seeds: int) -> None:
    found = seeds_coverage(seeds, 4000, 0.02, FEW)
    assert found.covered >= LEAST - 0.02 and found.percentile < 0.75


@pytest.mark.slow
@pytest.mark.parametrize(("rates", "quality"), [(CELLS, 1.1), (RARE, -0.6)])
def test_ap_of_few_pictures_is_covered(rates: tuple[float, ...], quality: float) -> None:
    found = ap_coverage(rates, quality, 50, FEW)
    assert found.covered >= LEAST and found.above <= 0.06


@pytest.mark.slow
def test_miou_with_rare_classes_is_covered() -> None:
    found = miou_coverage(50, FEW)
    assert LEAST <= found.covered <= MOST and found.percentile < found.covered


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "share", "seed_std"), [(1, 0.8, 0.0), (1, 0.98, 0.0), (2, 0.8, 0.01), (5, 0.8, 0.01)]
)
@pytest.mark.parametrize("backbones", [2, 10])
def test_equal_backbones_are_seldom_called_different(backbones: int, seeds: int, share: float, seed_std: float) -> None:
    found = false_claims(backbones, seeds, 600, share=share, seed_std=seed_std, simulations=FEW)
    assert found <= 0.12  # 0.05 and 3.2 standard errors of 100 simulations


@pytest.mark.slow
def test_a_backbone_that_leads_is_told_apart() -> None:
    """The test is not merely silent: nine equal backbones and one that is five points ahead, on 2,000 pictures."""
    import pandas as pd

    from bob.reporting.paired import Run, pair
    from bob.reporting.pairwise import pair_p_values

    told = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        ease = rng.random(2000)
        runs = {}
        for number in range(10):
            outcome = (ease + rng.normal(0, 0.2, 2000) < (0.80 if number == 0 else 0.75)).astype(float)
            table = pd.DataFrame({"sample_id": np.arange(2000).astype(str), "outcome": outcome})
            runs[str(number)] = [Run(float(outcome.mean()), table)]
        paired = pair(runs)
        p_values = pair_p_values(np.array(list(paired.scores.values())), paired.noise(list(runs), None))
        told += int((p_values[0, 1:] < 0.05).sum())
    assert told >= 0.8 * 20 * 9
