"""Ranks of positives equal a full sort's, count ties against the positives, and do not depend on how work is cut."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from bob.core.errors import DataError, NumericalError
from bob.metrics.retrieval_metrics import per_query_ap
from bob.probes.gallery_ranks import positive_ranks, same_label


def draw(q: int, n: int, d: int, seed: int = 0, *, classes: int = 5):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, d))
    labels = rng.integers(0, classes, q), rng.integers(0, classes, n)
    features = [torch.from_numpy((centres[at] + 2 * rng.normal(size=(len(at), d))).astype(np.float32)) for at in labels]
    return *features, *labels


def cosines(queries: torch.Tensor, gallery: torch.Tensor) -> np.ndarray:
    q, g = queries.double().numpy(), gallery.double().numpy()
    lengths = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(g, axis=1)
    return q @ g.T / np.where(lengths == 0, 1, lengths)


def brute_ranks(scores: np.ndarray, positives: set[int], junk: set[int]) -> list[int]:
    """Sort one query's whole gallery, items that are no positives first among equals."""
    kept = [i for i in range(len(scores)) if i not in junk]
    ranked = sorted(kept, key=lambda i: (-scores[i], i in positives))
    return [rank for rank, i in enumerate(ranked) if i in positives]


def equal(left: list[np.ndarray], right: list) -> bool:
    return len(left) == len(right) and all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize(("q", "n", "d"), [(1, 1, 1), (7, 40, 3), (60, 301, 16), (20, 500, 130)])
def test_ranks_equal_a_full_sorts(q, n, d):
    queries, gallery, query_labels, gallery_labels = draw(q, n, d, seed=n, classes=min(5, n))
    related = same_label(query_labels, gallery_labels)
    rng = np.random.default_rng(0)
    junk = [set(rng.integers(0, n, n // 8).tolist()) for _ in range(q)]
    ranks = positive_ranks(queries, gallery, related, junk=lambda i: sorted(junk[i]))
    scores = cosines(queries, gallery).round(12)
    assert equal(ranks, [brute_ranks(scores[i], set(related(i)) - junk[i], junk[i]) for i in range(q)])


def test_average_precision_of_the_ranks_equals_scikit_learns_of_the_scores():
    queries, gallery, query_labels, gallery_labels = draw(50, 400, 24)
    ranks = positive_ranks(queries, gallery, same_label(query_labels, gallery_labels))
    scores = cosines(queries, gallery)
    expected = [average_precision_score(gallery_labels == query_labels[i], scores[i]) for i in range(50)]
    assert per_query_ap(ranks) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("query_rows", [1, 3, 64])
@pytest.mark.parametrize("cells", [1, 97, 1500, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_cut_changes_no_rank_even_among_near_and_exact_ties(query_rows, cells, dtype):
    rng = np.random.default_rng(5)
    base = rng.normal(size=(12, 77)).astype(np.float32)
    # Copies, scaled copies, and copies one float32 step away, where a product's last bits decide.
    gallery = np.concatenate([base, 2 * base, base, np.nextafter(base, np.float32(9)), -base])
    gallery, queries = torch.from_numpy(rng.permutation(gallery)).to(dtype), torch.from_numpy(base).to(dtype)
    wanted = [rng.choice(60, size=6, replace=False) for _ in range(12)]
    whole = positive_ranks(queries, gallery, lambda i: wanted[i])
    cut = positive_ranks(queries, gallery, lambda i: wanted[i], query_rows=query_rows, cells=cells)
    assert equal(cut, whole)


def test_the_order_of_the_gallery_changes_no_rank():
    queries, gallery, query_labels, gallery_labels = draw(20, 200, 8, seed=3)
    gallery[100:] = gallery[:100]
    order = np.random.default_rng(0).permutation(200)
    ranks = positive_ranks(queries, gallery, same_label(query_labels, gallery_labels))
    shuffled = positive_ranks(queries, gallery[order], same_label(query_labels, gallery_labels[order]))
    assert equal(ranks, shuffled)


def test_threads_change_no_rank():
    queries, gallery, query_labels, gallery_labels = draw(3, 90, 4096, seed=8)
    gallery[45:] = gallery[:45]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(positive_ranks(queries, gallery, same_label(query_labels, gallery_labels)))
    finally:
        torch.set_num_threads(before)
    assert equal(*found)


def test_features_all_alike_rank_every_positive_last():
    ranks = positive_ranks(torch.ones(2, 4), torch.ones(10, 4), lambda i: [0, 3, 7])
    assert equal(ranks, [[7, 8, 9]] * 2)


def test_copies_of_a_positive_that_are_none_rank_before_it():
    gallery = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert equal(positive_ranks(torch.tensor([[5.0, 0.0]]), gallery, lambda i: [0, 2]), [[2, 3]])


def test_a_vector_of_zeros_is_similar_to_nothing():
    gallery = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert equal(positive_ranks(torch.tensor([[1.0, 0.0]]), gallery, lambda i: [0]), [[1]])
    assert equal(positive_ranks(torch.zeros(1, 2), gallery, lambda i: [1]), [[2]])


def test_leaving_each_picture_itself_out_is_junk():
    features, _, labels, _ = draw(60, 1, 6, seed=2)
    ranks = positive_ranks(features, features, same_label(labels, labels), junk=lambda i: [i])
    scores = cosines(features, features).round(12)
    expected = [brute_ranks(scores[i], set(np.flatnonzero(labels == labels[i])) - {i}, {i}) for i in range(60)]
    assert equal(ranks, expected)


def test_an_index_that_is_positive_and_junk_is_junk_and_repeats_count_once():
    gallery = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    query = torch.tensor([[1.0, 0.0]])
    assert equal(positive_ranks(query, gallery, lambda i: [0, 1, 1], junk=lambda i: [0, 0]), [[0]])


def test_a_query_without_positives_has_no_rank():
    queries, gallery, _, _ = draw(3, 10, 4)
    ranks = positive_ranks(queries, gallery, lambda i: [i] if i == 1 else [])
    assert [len(one) for one in ranks] == [0, 1, 0]
    assert [one.dtype for one in ranks] == [np.int64] * 3


def test_same_label_lists_each_label_of_the_gallery():
    related = same_label(["b", "c", "a"], ["a", "b", "a", "b", "b"])
    assert [sorted(related(i)) for i in range(3)] == [[1, 3, 4], [], [0, 2]]


def test_memory_beyond_the_features_is_bounded():
    queries, gallery, query_labels, gallery_labels = draw(40, 60_000, 32)
    related = same_label(query_labels, gallery_labels)
    biggest = []
    original = torch.searchsorted

    def watched(thresholds, scores, **options):
        biggest.append(max(thresholds.numel(), scores.numel()))
        return original(thresholds, scores, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "searchsorted", watched)
        tracemalloc.start()
        positive_ranks(queries, gallery, related, cells=100_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert max(biggest) <= 100_000
    # What numpy holds: the answer itself, 40 x 12,000 ranks, and the indices of one batch.
    assert peak < 20e6


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused_by_side(broken):
    queries, gallery, _, _ = draw(3, 10, 4)
    gallery[6, 1] = broken
    with pytest.raises(NumericalError, match=r"1 of 10 gallery pictures .*first: 6"):
        positive_ranks(queries, gallery, lambda i: [0])
    with pytest.raises(NumericalError, match=r"1 of 10 query pictures"):
        positive_ranks(gallery, queries, lambda i: [0])


def test_no_query_or_gallery_is_an_error():
    with pytest.raises(DataError, match="no query"):
        positive_ranks(torch.ones(0, 2), torch.ones(3, 2), lambda i: [0])
    with pytest.raises(DataError, match="no gallery picture"):
        positive_ranks(torch.ones(1, 2), torch.ones(0, 2), lambda i: [])


@pytest.mark.parametrize("indices", [[3], [-1], [0.5]])
def test_an_index_outside_the_gallery_is_refused(indices):
    with pytest.raises(ValueError, match="gallery indices"):
        positive_ranks(torch.ones(1, 2), torch.ones(3, 2), lambda i: indices)
    with pytest.raises(ValueError, match="gallery indices"):
        positive_ranks(torch.ones(1, 2), torch.ones(3, 2), lambda i: [0], junk=lambda i: indices)


def test_features_of_different_widths_are_refused():
    with pytest.raises(ValueError, match=r"\(q, d\)"):
        positive_ranks(torch.ones(1, 2), torch.ones(3, 4), lambda i: [0])
