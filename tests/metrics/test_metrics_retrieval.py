"""Retrieval metrics equal scikit-learn, and the revisited Oxford and Paris benchmark where asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import (
    retrieval_hit_rate,
    retrieval_precision,
    retrieval_reciprocal_rank,
)

from bob.core.errors import DataError, NumericalError
from bob.metrics.retrieval_metrics import per_query_ap, retrieval_metrics

CLOSE = {"abs": 1e-6, "rel": 0}


def draw(queries: int, gallery: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(gallery)[: rng.integers(1, gallery + 1)] for _ in range(queries)]


def as_scores(ranks: np.ndarray, gallery: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (relevant, score) of a gallery listed by rank; above 0, for torchmetrics finds no other."""
    return np.isin(np.arange(gallery), ranks), gallery - np.arange(gallery, dtype=float)


def trapezoid_area(ranks: np.ndarray) -> float:
    """Walk down the list, adding the area under the line from just before a positive to just after it."""
    positives, area, precision = set(ranks.tolist()), 0.0, 1.0
    seen = 0
    for place in range(max(positives) + 1):
        if place in positives:
            seen += 1
            area += (precision + seen / (place + 1)) / 2 / len(positives)
        precision = seen / (place + 1)
    return area


@pytest.mark.parametrize("gallery", [1, 2, 30, 200])
def test_average_precision_equals_scikit_learn(gallery):
    ranks = draw(40, gallery)
    expected = [average_precision_score(*as_scores(one, gallery)) for one in ranks]
    assert per_query_ap(ranks) == pytest.approx(expected, **CLOSE)
    assert retrieval_metrics(ranks)["map"] == pytest.approx(np.mean(expected), **CLOSE)


@pytest.mark.parametrize("gallery", [1, 2, 30, 200])
def test_oxfords_average_precision_is_the_trapezoid_area(gallery):
    ranks = draw(40, gallery, seed=1)
    expected = [trapezoid_area(one) for one in ranks]
    assert per_query_ap(ranks, ap="oxford") == pytest.approx(expected, **CLOSE)
    assert retrieval_metrics(ranks, ap="oxford")["map"] == pytest.approx(np.mean(expected), **CLOSE)


@pytest.mark.parametrize(
    ("ranks", "plain", "oxford"),
    [([0, 1], 1.0, 1.0), ([1], 1 / 2, 1 / 4), ([0, 3], (1 + 2 / 4) / 2, (1 + (1 / 3 + 2 / 4) / 2) / 2)],
)
def test_both_conventions_by_hand(ranks, plain, oxford):
    assert per_query_ap([np.array(ranks)]) == pytest.approx([plain])
    assert per_query_ap([np.array(ranks)], ap="oxford") == pytest.approx([oxford])


@pytest.mark.parametrize("gallery", [12, 60])
def test_what_is_counted_at_k_equals_torchmetrics(gallery):
    ranks = draw(50, gallery, seed=2)
    metrics = retrieval_metrics(ranks, ks=(1, 3, 10))
    pairs = [tuple(map(torch.from_numpy, as_scores(one, gallery))) for one in ranks]
    reciprocal = np.mean([float(retrieval_reciprocal_rank(s, r)) for r, s in pairs])
    assert metrics["mrr"] == pytest.approx(reciprocal, **CLOSE)
    for k in (1, 3, 10):
        hits = np.mean([float(retrieval_hit_rate(s, r, top_k=k)) for r, s in pairs])
        precision = np.mean([float(retrieval_precision(s, r, top_k=k)) for r, s in pairs])
        assert metrics[f"recall_at_{k}"] == pytest.approx(hits, **CLOSE)
        assert metrics[f"precision_at_{k}"] == pytest.approx(precision, **CLOSE)


def test_oxfords_precision_looks_no_further_than_the_last_positive():
    ranks = [np.array([1, 0, 4]), np.array([20])]
    assert retrieval_metrics(ranks, ks=(10,))["precision_at_10"] == pytest.approx((3 / 10 + 0) / 2)
    assert retrieval_metrics(ranks, ks=(10,), ap="oxford")["precision_at_10"] == pytest.approx((3 / 5 + 0) / 2)


def test_recall_is_a_hit_rate_not_the_share_of_positives_found():
    metrics = retrieval_metrics([np.array([0, 50, 60, 70])], ks=(1, 5))
    assert metrics["recall_at_1"] == 1.0
    assert metrics["precision_at_5"] == pytest.approx(1 / 5)


def test_queries_without_positives_are_left_out_and_counted():
    ranks = draw(20, 15, seed=3)
    empty = np.array([])
    padded = [empty, *ranks[:8], empty, *ranks[8:], empty]
    metrics = retrieval_metrics(padded)
    assert (metrics.pop("queries"), metrics.pop("queries_without_positives")) == (20, 3)
    assert metrics == pytest.approx({name: retrieval_metrics(ranks)[name] for name in metrics})
    assert np.flatnonzero(np.isnan(per_query_ap(padded))).tolist() == [0, 9, 22]


def test_the_order_of_a_querys_ranks_does_not_matter():
    ranks = draw(20, 40, seed=4)
    assert retrieval_metrics(ranks) == retrieval_metrics([np.sort(one)[::-1] for one in ranks])


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match="no query"):
        retrieval_metrics([])
    with pytest.raises(DataError, match="none of 2 queries has a positive"):
        retrieval_metrics([np.array([]), np.empty(0, dtype=int)])
    assert np.isnan(per_query_ap([np.array([])])).all()


def test_a_rank_that_is_not_finite_is_refused_by_query():
    with pytest.raises(NumericalError, match="1 of 2 ranks of query 1"):
        retrieval_metrics([np.array([0]), np.array([1.0, np.nan])])


@pytest.mark.parametrize("ranks", [[0, 0], [-1, 2], [0.5], [[0]]])
def test_what_is_no_set_of_ranks_is_refused(ranks):
    with pytest.raises(ValueError, match="whole numbers"):
        per_query_ap([np.array(ranks)])


def test_an_unknown_convention_or_k_is_refused():
    with pytest.raises(ValueError, match="plain, oxford"):
        per_query_ap([np.array([0])], ap="voc")
    with pytest.raises(ValueError, match="at least 1"):
        retrieval_metrics([np.array([0])], ks=(0,))
