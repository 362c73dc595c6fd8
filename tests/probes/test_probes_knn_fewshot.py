"""k-NN votes as DINO's does; few-shot draws are the same for every backbone and say when they cannot be made."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bob.core.errors import ConfigError
from bob.probes import knn
from bob.probes.fewshot import draw_support, fit_fewshot
from bob.probes.knn import FLOOR, knn_probabilities, knn_values


def direct_votes(train, labels, queries, classes, k, temperature):
    train = train / np.linalg.norm(train, axis=1, keepdims=True)
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    shares = np.zeros((len(queries), classes))
    for row, query in enumerate(queries):
        similarity = train @ query
        for neighbour in np.argsort(-similarity)[:k]:
            shares[row, labels[neighbour]] += np.exp(similarity[neighbour] / temperature)
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 9)), rng.integers(0, 5, 60), rng.normal(size=(33, 9))


@pytest.mark.parametrize("k", [1, 20, 60])
def test_votes_equal_a_direct_count(arrays, k, monkeypatch):
    monkeypatch.setattr(knn, "CHUNK_BYTES", 60 * 8 * 10)  # ten queries at a time
    train, labels, queries = arrays
    shares = knn_probabilities(*map(torch.from_numpy, arrays), classes=5, k=k, temperature=0.07).numpy()
    expected = direct_votes(train, labels, queries, 5, k, 0.07)
    np.testing.assert_allclose(shares, (1 - FLOOR) * expected + FLOOR / 5, atol=1e-9)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


@pytest.mark.parametrize("k", [1, 20, 1000])
def test_values_are_the_neighbours_mean_of_what_is_known(arrays, k, monkeypatch):
    monkeypatch.setattr(knn, "CHUNK_BYTES", 60 * 8 * 10)
    train, labels, queries = arrays
    values = np.eye(5)[labels]
    of_one = knn_values(*map(torch.from_numpy, (train, values, queries)), k=k, temperature=0.07).numpy()
    expected = direct_votes(train, labels, queries, 5, k, 0.07)
    np.testing.assert_allclose(of_one, (1 - FLOOR) * expected + FLOOR / 2, atol=1e-9)
    rng = np.random.default_rng(1)
    values[:, 0], values[rng.random(60) < 0.5, 1], values[:, 2] = np.nan, np.nan, 1
    found = knn_values(*map(torch.from_numpy, (train, values, queries)), k=60, temperature=0.07).numpy()
    known = ~np.isnan(values[:, 1])
    share = direct_votes(train[known], labels[known], queries, 5, 60, 0.07)[:, 1]
    np.testing.assert_allclose(found[:, 1], (1 - FLOOR) * share + FLOOR / 2, atol=1e-9)
    np.testing.assert_allclose(found[:, 0], 0.5, atol=1e-9)
    np.testing.assert_allclose(found[:, 2], 1 - FLOOR / 2, atol=1e-9)


def test_where_no_neighbour_is_known_the_training_share_stands_in(arrays):
    train, _, queries = arrays
    values = np.zeros((60, 1))
    nearest = (train @ queries[0] / np.linalg.norm(train, axis=1)).argmax()
    values[:30, 0], values[nearest, 0] = 1, np.nan
    found = knn_values(*map(torch.from_numpy, (train, values, queries[:1])), k=1)
    assert float(found) == pytest.approx((values == 1).sum() / 59, abs=1e-5)


def test_more_neighbours_than_pictures_are_all_pictures(arrays):
    tensors = [torch.from_numpy(array) for array in arrays]
    assert torch.equal(knn_probabilities(*tensors, classes=5, k=1000), knn_probabilities(*tensors, classes=5, k=60))


def test_a_sharp_temperature_stays_finite(arrays):
    shares = knn_probabilities(*map(torch.from_numpy, arrays), classes=5, k=60, temperature=1e-3)
    assert torch.isfinite(shares).all()
    assert float(shares.min()) > 0


def test_a_draw_has_the_shots_of_every_class_and_follows_the_seed():
    labels = np.repeat(np.arange(3), 10)
    names = ("a", "b", "c")
    first = draw_support(labels, class_names=names, shots=4, seed=0, draw=0)
    assert np.bincount(labels[first]).tolist() == [4, 4, 4]
    assert len(set(first.tolist())) == 12
    again = draw_support(labels, class_names=names, shots=4, seed=0, draw=0)
    assert np.array_equal(first, again)
    for seed, draw in ((0, 1), (1, 0)):
        assert not np.array_equal(first, draw_support(labels, class_names=names, shots=4, seed=seed, draw=draw))


def test_too_many_shots_name_the_class_and_its_pictures():
    labels = np.array([0] * 9 + [1] * 3)
    with pytest.raises(ConfigError, match="shots=5 is more than class 'hat' has: 3") as caught:
        draw_support(labels, class_names=("coat", "hat"), shots=5, seed=0, draw=0)
    assert "at most 3" in str(caught.value)


def test_few_shots_use_nothing_but_the_support():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    train = torch.randn(40, 6, generator=generator) + 3.0 * labels[:, None] * torch.eye(6)[0]
    queries = torch.nn.functional.normalize(train[20:], dim=1)
    support = np.arange(10)
    one = fit_fewshot(train, labels, support=support, classes=2).logits(queries)
    changed = train.clone()
    changed[10:20] = 1e3
    assert torch.equal(one, fit_fewshot(changed, labels, support=support, classes=2).logits(queries))
    assert (one.argmax(dim=1) == labels[20:]).double().mean() > 0.8
