"""Weighted k-nearest-neighbour classification on frozen features, as in DINO (Caron et al. 2021, arXiv 2104.14294)."""

from __future__ import annotations

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
    bank = unit_rows(train)
    k = min(k, len(bank))
    rows = max(1, CHUNK_BYTES // (len(bank) * bank.element_size()))
    chunks = [_vote(bank, labels, part, classes, k, temperature) for part in queries.split(rows)]
    return torch.cat(chunks)


def _vote(bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int, temperature: float) -> Tensor:
    similarity, nearest = (unit_rows(queries) @ bank.T).topk(k, dim=1)
    # Subtracting the row's maximum leaves the shares as they are and keeps exp() finite.
    weight = ((similarity - similarity[:, :1]).double() / temperature).exp()
    votes = torch.zeros(len(queries), classes, dtype=torch.float64, device=bank.device)
    votes.scatter_add_(1, labels[nearest], weight)
    shares = votes / votes.sum(dim=1, keepdim=True)
    return (1 - FLOOR) * shares + FLOOR / classes
