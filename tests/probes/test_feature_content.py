"""Features that say nothing, or leave float32's range, are recognised; rows of any size get unit length."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import entr

from bob.probes.feature_content import feature_content
from bob.probes.knn import knn_probabilities
from bob.probes.unit_length import unit_rows


def test_rank_is_that_of_roy_and_vetterli() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 20)) * np.geomspace(1, 0.01, 20) + 3
    singular = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    expected = np.exp(entr(singular / singular.sum()).sum())
    assert feature_content(features.astype(np.float32)).rank == pytest.approx(expected, rel=1e-4)
    # Fewer pictures than values: the other Gram matrix.
    few = feature_content(features[:10].astype(np.float32))
    singular = np.linalg.svd(features[:10] - features[:10].mean(axis=0), compute_uv=False)
    assert few.rank == pytest.approx(np.exp(entr(singular / singular.sum()).sum()), rel=1e-2)


def test_k_independent_directions_have_rank_k() -> None:
    one_direction = np.outer(np.random.default_rng(0).normal(size=100), np.ones(16))
    assert feature_content(one_direction).rank == pytest.approx(1, abs=0.02)


def test_spread_is_the_distance_from_the_mean_against_the_length() -> None:
    features = np.array([[3.0, 4.0], [3.0, -4.0]])
    assert feature_content(features).spread == pytest.approx(4 / 5)
    assert feature_content(features * 1e30).spread == pytest.approx(4 / 5)


@pytest.mark.parametrize("value", [1.0, 0.0, 1e-30, 1e30])
def test_the_same_features_for_every_picture_are_collapsed(value: float) -> None:
    noise = np.random.default_rng(0).normal(size=(50, 8)) * 1e-7 * value
    content = feature_content((np.full((50, 8), value) + noise).astype(np.float32))
    assert content.is_collapsed and content.rank == 0 and "same for every picture" in content.fault


def test_features_whose_squares_overflow_are_named_and_others_are_not() -> None:
    features = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    assert feature_content(features).fault is None
    huge = feature_content(features * np.float32(1e30))
    assert "1e+30" not in (feature_content(features).fault or "") and "range of float32" in huge.fault
    assert huge.columns()["feature_range"] == pytest.approx(np.abs(features).max() * 1e30, rel=1e-5)


def test_at_most_500_rows_are_looked_at() -> None:
    features = np.zeros((5000, 4), dtype=np.float32)
    features[::10] = np.random.default_rng(0).normal(size=(500, 4))
    assert feature_content(features).spread > 0.9


def test_unit_rows_are_those_of_normalize_to_the_last_bit() -> None:
    x = torch.randn(100, 32, generator=torch.Generator().manual_seed(0)) * torch.logspace(-8, 15, 100)[:, None]
    assert torch.equal(unit_rows(x), torch.nn.functional.normalize(x, dim=1))
    assert torch.equal(unit_rows(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("scale", [1e20, 1e30, 3e37])
def test_unit_rows_do_not_overflow(scale: float) -> None:
    x = torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    assert torch.nn.functional.normalize(x * scale, dim=1).abs().max() == 0, "what is mended"
    assert unit_rows(x * scale) == pytest.approx(torch.nn.functional.normalize(x, dim=1), abs=1e-6)


def test_unit_rows_have_the_gradient_of_normalize() -> None:
    x = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1e15
    assert torch.autograd.gradcheck(lambda z: unit_rows(z * 1e15), (x / 1e15).requires_grad_())


@pytest.mark.gpu
def test_unit_rows_on_a_gpu_are_those_of_normalize_and_do_not_overflow() -> None:
    x = torch.randn(100, 32, generator=torch.Generator().manual_seed(0)).cuda()
    assert torch.equal(unit_rows(x), torch.nn.functional.normalize(x, dim=1))
    assert torch.allclose(unit_rows(x * 1e30), unit_rows(x), atol=1e-6)
    queries, labels = x[:20] * 1e30, torch.arange(80, device="cuda") % 3
    huge = knn_probabilities(x[20:] * 1e30, labels, queries, classes=3)
    assert torch.allclose(huge, knn_probabilities(x[20:], labels, x[:20], classes=3), atol=1e-4)


def test_neighbours_of_huge_features_are_those_of_the_same_features() -> None:
    generator = torch.Generator().manual_seed(0)
    train, queries = torch.randn(60, 8, generator=generator), torch.randn(20, 8, generator=generator)
    labels = torch.arange(60) % 3
    plain = knn_probabilities(train, labels, queries, classes=3)
    huge = knn_probabilities(train * 1e30, labels, queries * 1e30, classes=3)
    assert torch.allclose(plain, huge, atol=1e-5) and plain.argmax(1).unique().numel() > 1


def test_a_large_constant_channel_beside_others_is_no_collapse() -> None:
    features = np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32)
    features[:, 5] = 1e6
    content = feature_content(features)
    assert not content.is_collapsed and content.rank > 50 and content.fault is None
    assert not feature_content(features[:1]).is_collapsed
