"""Weighted k-nearest-neighbour classification on frozen features, as in DINO (Caron et al. 2021, arXiv 2104.14294)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bob.probes.unit_length import unit_rows

CHUNK_BYTES = 128 << 20
FLOOR = 1e-6


def knn_probabilities(
    train: Tensor, labels: Tensor, queries: Tensor, *, classes: int, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Return class probabilities from the votes of the ``k`` most similar training pictures.

    Similarity is the cosine; a neighbour votes for its label with weight ``exp(similarity / temperature)``. The search
    is exact, over chunks of queries. The votes are normalised to sum to 1 and mixed with ``FLOOR`` (1e-6) spread evenly
    over all classes, so that a class without a neighbour has a finite log loss; this changes no prediction.

    Args:
        train: (n, d) features.
        labels: (n,) int64 in [0, classes).
        queries: (m, d) features.
        classes: Number of classes.
        k: Neighbours; all n where n is smaller.
        temperature: Of the weights, above 0.

    Returns:
        (m, classes) in float64.
    """
    found = _neighbours(train, queries, k=k, temperature=temperature)
    return torch.cat([_vote(labels[nearest], weight, classes) for nearest, weight in found])


def knn_values(train: Tensor, values: Tensor, queries: Tensor, *, k: int = 20, temperature: float = 0.07) -> Tensor:
    """Return for each class the probability that it is there: the neighbours' mean value, weighted as their votes are.

    Of each class only the neighbours count of which it is known; where it is of none, the share of the training
    pictures that have it stands in. As the shares of ``knn_probabilities`` they are mixed with ``FLOOR``, here spread
    over "there" and "absent".

    Args:
        train: (n, d) features.
        values: (n, classes): 1 where a class is there, 0 where it is not, NaN where nobody knows.
        queries: (m, d) features.
        k: Neighbours; all n where n is smaller.
        temperature: Of the weights, above 0.

    Returns:
        (m, classes) in float64.
    """
    known, there = ~values.isnan(), values.nan_to_num().double()
    usual = (there.sum(dim=0) + FLOOR / 2) / (known.sum(dim=0) + FLOOR)
    row_bytes = min(k, len(train)) * values.shape[1] * there.element_size()
    means = []
    for nearest, weight in _neighbours(train, queries, k=k, temperature=temperature, row_bytes=row_bytes):
        counted = (weight.unsqueeze(2) * known[nearest]).sum(dim=1)
        own = (weight.unsqueeze(2) * there[nearest]).sum(dim=1)
        means.append(torch.where(counted > 0, own / counted.clamp(min=torch.finfo(own.dtype).tiny), usual))
    return (1 - FLOOR) * torch.cat(means) + FLOOR / 2


def _neighbours(
    train: Tensor, queries: Tensor, *, k: int, temperature: float, row_bytes: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (places in train (rows, k), float64 weights (rows, k)) of chunks of queries.

    ``row_bytes`` is what the caller needs of memory for each query.
    """
    bank = unit_rows(train)
    rows = max(1, CHUNK_BYTES // max(len(bank) * bank.element_size(), row_bytes))
    for part in queries.split(rows):
        similarity, nearest = (unit_rows(part) @ bank.T).topk(min(k, len(bank)), dim=1)
        # Subtracting the row's maximum leaves the shares as they are and keeps exp() finite.
        yield nearest, ((similarity - similarity[:, :1]).double() / temperature).exp()


def _vote(labels: Tensor, weight: Tensor, classes: int) -> Tensor:
    votes = torch.zeros(len(labels), classes, dtype=torch.float64, device=labels.device)
    votes.scatter_add_(1, labels, weight)
    shares = votes / votes.sum(dim=1, keepdim=True)
    return (1 - FLOOR) * shares + FLOOR / classes
