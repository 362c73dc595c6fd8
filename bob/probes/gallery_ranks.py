"""Where a query's positives rank in a gallery by cosine similarity: exact, in bounded memory, whatever the chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bob.core.errors import DataError, NumericalError

# Gallery indices that stand in some relation to a query, given by its index, in any order.
Related = Callable[[int], ArrayLike]

QUERY_ROWS = 256
CELLS = 4_000_000  # of one working array: 32 MB
# Unit vectors are rounded to multiples of 2^-26. A product of two has 52 bits and, by Cauchy and Schwarz, no sum of
# such products exceeds 2^53: float64 adds them exactly, in any order.
_UNIT = float(2**26)
_NORM_ROWS = 4096


def positive_ranks(
    queries: Tensor,
    gallery: Tensor,
    positives: Related,
    *,
    junk: Related | None = None,
    query_rows: int = QUERY_ROWS,
    cells: int = CELLS,
) -> list[np.ndarray]:
    """Return each query's ranks of its positives, as ``bob.metrics.retrieval_metrics`` wants them.

    The gallery without the query's junk is ranked by cosine similarity, highest first. Ties rank pessimistically: items
    that are no positives come before positives they equal, so that features that are all alike gain nothing from the
    gallery's order. A vector of zeros has similarity 0 to all.

    Similarities are computed so that no rounding depends on how the work is cut, on threads or on the device: unit
    vectors are rounded to multiples of 2^-26 (a cosine then is within about 1e-8 of the real one, closer than float32
    gets) and their products are summed exactly in float64. Equal pictures therefore tie exactly. The gallery is never
    ranked as a whole: a positive's rank is counted, part by part.

    Args:
        queries: (q, d) float features.
        gallery: (n, d) float features, on the same device.
        positives: The gallery indices of query i's positives.
        junk: Those that do not count for query i, such as the query's own picture; an index in both is junk.
        query_rows: At most so many queries at a time; changes no result.
        cells: Values of a working array, which bounds the memory (some ten of 8 bytes each); changes no result.

    Returns:
        q arrays of int64, each sorted: 0-based ranks; empty for a query without positives.

    Raises:
        DataError: There is no query, or the gallery is empty.
        NumericalError: A feature is NaN or infinite.
        ValueError: The shapes differ, or an index is outside the gallery.
    """
    _check_shapes(queries, gallery)
    query_norms, gallery_norms = _norms(queries, "query"), _norms(gallery, "gallery")
    bank = _Bank(features=gallery, norms=gallery_norms)
    ranks = [np.empty(0, dtype=np.int64)] * len(queries)
    for batch in _batches(len(queries), len(gallery), positives, junk, query_rows, cells):
        at = torch.tensor([one.query for one in batch], device=queries.device)
        for one, found in zip(
            batch, _batch_ranks(_units(queries[at], query_norms[at]), bank, batch, cells), strict=True
        ):
            ranks[one.query] = found
    return ranks


def same_label(query_labels: ArrayLike, gallery_labels: ArrayLike) -> Related:
    """Return the positives of labelled pictures: the gallery's with the query's label.

    Args:
        query_labels: (q,) labels.
        gallery_labels: (n,) labels.
    """
    asked, kept = np.asarray(query_labels), np.asarray(gallery_labels)
    order = np.argsort(kept, kind="stable")
    starts, ends = (np.searchsorted(kept[order], asked, side) for side in ("left", "right"))
    return lambda query: order[starts[query] : ends[query]]


@dataclass(frozen=True, kw_only=True)
class _Bank:
    features: Tensor
    norms: Tensor

    def units(self, part: slice) -> Tensor:
        return _units(self.features[part], self.norms[part])

    def parts(self, units: Tensor, cells: int) -> Iterator[slice]:
        step = max(1, cells // max(units.shape))
        for start in range(0, len(self.norms), step):
            yield slice(start, start + step)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    query: int
    positives: np.ndarray
    junk: np.ndarray


def _batches(
    queries: int, gallery: int, positives: Related, junk: Related | None, query_rows: int, cells: int
) -> Iterator[list[_Wanted]]:
    """Yield queries with positives, as many at a time as rows and the most positives of one allow."""
    batch: list[_Wanted] = []
    widest = 0
    for query in range(queries):
        dropped = _indices(junk(query), gallery) if junk is not None else np.empty(0, dtype=np.int64)
        wanted = np.setdiff1d(_indices(positives(query), gallery), dropped, assume_unique=True)
        if not len(wanted):
            continue
        widest = max(widest, len(wanted) + len(dropped))
        if batch and (len(batch) == query_rows or (len(batch) + 1) * widest > cells):
            yield batch
            batch, widest = [], len(wanted) + len(dropped)
        batch.append(_Wanted(query=query, positives=wanted, junk=dropped))
    if batch:
        yield batch


def _batch_ranks(units: Tensor, bank: _Bank, batch: list[_Wanted], cells: int) -> list[np.ndarray]:
    left_out = _scores_of(units, bank, [np.concatenate([one.positives, one.junk]) for one in batch], cells)
    own = [scores[: len(one.positives)].sort().values for scores, one in zip(left_out, batch, strict=True)]
    thresholds = torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=float("inf"))
    reaching = _reaching(units, bank, thresholds, cells)
    ranks = []
    for row, (scores, mine) in enumerate(zip(left_out, own, strict=True)):
        others = reaching[row, : len(mine)] - _count_reaching(scores[None], mine[None])[0]
        # The highest positive first: before it stand the others that score no lower, and the positives already counted.
        ranks.append(others.cpu().numpy()[::-1] + np.arange(len(mine)))
    return ranks


def _scores_of(units: Tensor, bank: _Bank, wanted: list[np.ndarray], cells: int) -> tuple[Tensor, ...]:
    """Return each query's scores of the gallery indices wanted for it."""
    lengths = [len(one) for one in wanted]
    rows, columns = np.repeat(np.arange(len(wanted)), lengths), np.concatenate(wanted)
    order = np.argsort(columns, kind="stable")
    found = torch.empty(len(columns), dtype=torch.float64, device=units.device)
    for part in bank.parts(units, cells):
        first, end = np.searchsorted(columns[order], [part.start, part.stop])
        if first < end:
            at = order[first:end]
            scores = units @ bank.units(part).T
            found[torch.from_numpy(at).to(found.device)] = scores[rows[at], columns[at] - part.start]
    return found.split(lengths)


def _reaching(units: Tensor, bank: _Bank, thresholds: Tensor, cells: int) -> Tensor:
    """Return int64 (b, p): how many of the whole gallery reach each of a query's p ascending thresholds."""
    total = torch.zeros(thresholds.shape, dtype=torch.int64, device=units.device)
    for part in bank.parts(units, cells):
        total += _count_reaching(units @ bank.units(part).T, thresholds)
    return total


def _count_reaching(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Return int64 (b, p): how many of scores (b, s), which lose their order, reach each of thresholds (b, p)."""
    if scores.device.type == "cpu":
        scores.numpy().sort(axis=1)  # some fifteen times as fast as torch's on a CPU
    else:
        scores = scores.sort(dim=1).values
    return scores.shape[1] - torch.searchsorted(scores, thresholds)


def _units(features: Tensor, norms: Tensor) -> Tensor:
    """Return unit vectors in whole multiples of 2^-26, as float64."""
    return (features.double() / norms[:, None]).mul_(_UNIT).round_()


def _norms(features: Tensor, side: str) -> Tensor:
    """Return float64 lengths, 1 for a vector of zeros."""
    norms = torch.cat([_squares_summed(part).sqrt() for part in features.split(_NORM_ROWS)])
    broken = ~torch.isfinite(norms)
    if broken.any():
        raise NumericalError(
            f"the features of {int(broken.sum())} of {len(norms)} {side} pictures are not finite "
            f"(first: {int(broken.int().argmax())}).",
            hint="Try precision fp32.",
        )
    return torch.where(norms == 0, torch.ones_like(norms), norms)


def _squares_summed(features: Tensor) -> Tensor:
    """Add (n, d) squares up by halves, element by element: a library's own reduction may cut a row by its threads."""
    squares = features.double().square()
    while squares.shape[1] > 1:
        half = squares.shape[1] // 2
        rest = squares[:, 2 * half :]
        squares = torch.cat([squares[:, :half] + squares[:, half : 2 * half], rest], dim=1)
    return squares.sum(dim=1)


def _indices(related: ArrayLike, gallery: int) -> np.ndarray:
    indices = np.unique(np.asarray(related))
    if indices.size == 0:
        return np.empty(0, dtype=np.int64)
    if indices.dtype.kind not in "iu" or indices[0] < 0 or indices[-1] >= gallery:
        raise ValueError(f"gallery indices must be whole numbers in [0, {gallery}), got {indices[0]} to {indices[-1]}.")
    return indices.astype(np.int64)


def _check_shapes(queries: Tensor, gallery: Tensor) -> None:
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} and gallery {tuple(gallery.shape)} are not (q, d) and (n, d)."
        )
    for side, features in (("query", queries), ("gallery picture", gallery)):
        if not len(features):
            raise DataError(f"there is no {side} to rank: expected at least one.", hint="Check the data set's splits.")
