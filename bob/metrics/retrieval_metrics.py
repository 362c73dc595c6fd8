"""Retrieval metrics from the ranks of each query's positives: mean average precision, MRR, recall and precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bob.core.errors import DataError, NumericalError

Convention = Literal["plain", "oxford"]
CONVENTIONS: tuple[Convention, ...] = ("plain", "oxford")


def retrieval_metrics(
    ranks: Sequence[np.ndarray], *, ks: Sequence[int] = (1, 5, 10), ap: Convention = "plain"
) -> dict[str, float]:
    """Compute ``map``, ``mrr``, ``recall_at_K`` and ``precision_at_K``, each the mean over queries with a positive.

    - ``map``: the mean of ``per_query_ap``.
    - ``mrr``: the mean of 1 / (1 + rank of the first positive).
    - ``recall_at_K``: the hit rate, as the metric-learning literature counts it (Jegou et al. 2011, "Product
      quantization"; Musgrave et al. 2020, arXiv 2003.08505): 1 for a query with any positive among the first K, else 0.
      It is not the share of its positives found.
    - ``precision_at_K``: the share of positives among the first K; with ``ap="oxford"``, among the first min(K, the
      last positive's place), as the authors' ``compute_map`` does, so that few positives do not cap it.

    Args:
        ranks: Per query, the 0-based ranks of its positives in the gallery without junk, in any order.
        ks: The K, each 1 or more.
        ap: ``plain`` or ``oxford``, see ``per_query_ap``.

    Returns:
        The metrics, and how many ``queries`` they are of and how many were left out as ``queries_without_positives``.

    Raises:
        DataError: There is no query, or none has a positive.
        NumericalError: A rank is NaN or infinite.
        ValueError: Ranks are not distinct whole numbers from 0 on, a K is below 1, or ``ap`` is neither.
    """
    found, lengths = _checked(ranks, ap)
    if not lengths.any():
        raise DataError(
            f"none of {len(lengths)} queries has a positive in the gallery: expected at least one.",
            hint="Check the ground truth, or the classes of queries and gallery.",
        )
    if any(k < 1 for k in ks):
        raise ValueError(f"each k must be at least 1, got {tuple(ks)}.")
    kept = lengths[lengths > 0]
    starts = np.cumsum(kept) - kept
    first, last = found[starts], found[starts + kept - 1]
    metrics = {
        "map": float(np.nanmean(_average_precisions(found, lengths, ap))),
        "mrr": float((1 / (1 + first)).mean()),
    }
    for k in ks:
        looked_at = np.minimum(k, last + 1) if ap == "oxford" else np.full(len(kept), k)
        metrics[f"recall_at_{k}"] = float((first < k).mean())
        metrics[f"precision_at_{k}"] = float((np.add.reduceat(found < k, starts, dtype=np.int64) / looked_at).mean())
    return metrics | {"queries": float(len(kept)), "queries_without_positives": float(len(lengths) - len(kept))}


def per_query_ap(ranks: Sequence[np.ndarray], *, ap: Convention = "plain") -> np.ndarray:
    """Return float64 (queries,): the average precision of each query; NaN for one without positives.

    With the positives' ranks r_0 < r_1 < ... < r_(P-1), the precision just after positive j is (j + 1) / (r_j + 1).

    - ``plain``: the mean of those, as scikit-learn's ``average_precision_score`` without ties (no interpolation).
    - ``oxford``: the trapezoids under the precision-recall curve: the mean of the average of that precision and the one
      just before, j / r_j (1 where r_j is 0), as ROxford and RParis are scored (Radenovic et al. 2018, arXiv
      1803.11285; the authors' ``compute_ap``, after Philbin et al. 2007).

    Arguments and errors as ``retrieval_metrics``.
    """
    return _average_precisions(*_checked(ranks, ap), ap)


def _average_precisions(found: np.ndarray, lengths: np.ndarray, ap: Convention) -> np.ndarray:
    kept = lengths > 0
    starts = (np.cumsum(lengths) - lengths)[kept]
    nth = np.arange(len(found)) - np.repeat(starts, lengths[kept])
    precision = (nth + 1) / (found + 1)
    if ap == "oxford":
        before = np.where(found == 0, 1.0, nth / np.maximum(found, 1))
        precision = (precision + before) / 2
    values = np.full(len(lengths), np.nan)
    if len(starts):
        values[kept] = np.add.reduceat(precision, starts) / lengths[kept]
    return values


def _checked(ranks: Sequence[np.ndarray], ap: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all ranks, sorted within each query, queries one after the other, and each query's number of them."""
    if ap not in CONVENTIONS:
        raise ValueError(f"ap must be one of {', '.join(CONVENTIONS)}, got {ap!r}.")
    if not len(ranks):
        raise DataError("there is no query to score: expected at least one.", hint="Check the data set's test split.")
    lengths = np.array([len(one) for one in ranks])
    joined = np.concatenate([_whole(np.asarray(one), query) for query, one in enumerate(ranks)])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    found = joined[np.lexsort((joined, owner))]
    repeated = (found[1:] == found[:-1]) & (owner[1:] == owner[:-1])
    if repeated.any() or (found.size and found.min() < 0):
        raise ValueError("the ranks of a query's positives must be distinct whole numbers from 0 on.")
    return found, lengths


def _whole(ranks: np.ndarray, query: int) -> np.ndarray:
    if ranks.size == 0:
        return np.empty(0, dtype=np.int64)
    if ranks.dtype.kind == "f" and not np.isfinite(ranks).all():
        raise NumericalError(
            f"{int((~np.isfinite(ranks)).sum())} of {ranks.size} ranks of query {query} are not finite."
        )
    if ranks.ndim != 1 or ranks.dtype.kind not in "iu":
        raise ValueError(f"the ranks of query {query} must be whole numbers (p,), got {ranks.dtype} {ranks.shape}.")
    return ranks.astype(np.int64)
