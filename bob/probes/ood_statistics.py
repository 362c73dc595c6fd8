"""What out-of-distribution scores fit on training features: moments, whitening, principal space, neighbours, clipping.

All in float64 but the search for neighbours, on the features' device, over chunks of rows of ``CHUNK_BYTES``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bob.core.errors import ConfigError
from bob.probes.knn import CHUNK_BYTES

EPSILON = torch.finfo(torch.float64).eps


def rows_at_once(width: int, item_bytes: int = 8) -> int:
    """Return how many rows of ``width`` numbers fit in a chunk; at least one."""
    return max(1, CHUNK_BYTES // (max(width, 1) * item_bytes))


@dataclass(frozen=True, kw_only=True)
class Moments:
    """First and second moments of labelled features, in float64.

    Attributes:
        count: Pictures, n.
        means: (p, d) means of the p classes that occur, in label order.
        mean: (d,) mean of all pictures.
        within: (d, d) covariance about each picture's class mean, divided by n.
        total: (d, d) covariance about ``mean``, divided by n.
        scale: The largest magnitude of a feature.
    """

    count: int
    means: Tensor
    mean: Tensor
    within: Tensor
    total: Tensor
    scale: float

    @classmethod
    def fit(cls, features: Tensor, labels: Tensor) -> Moments:
        """Measure features (n, d) with labels (n,), one chunk of rows after the other."""
        classes, own = torch.unique(labels, return_inverse=True)
        share = torch.bincount(own, minlength=len(classes)).double()
        size = rows_at_once(features.shape[1])
        parts = list(zip(features.split(size), own.split(size), strict=True))
        means = torch.zeros(len(classes), features.shape[1], dtype=torch.float64, device=features.device)
        for rows, index in parts:
            means.index_add_(0, index, rows.double())
        means /= share[:, None]
        within = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64, device=features.device)
        for rows, index in parts:
            apart = rows.double() - means[index]
            within.addmm_(apart.T, apart)
        within /= len(features)
        share /= len(features)
        mean = share @ means
        # Added, not subtracted from a second pass's result: what is small within classes keeps its digits.
        between = (means - mean) * share.sqrt()[:, None]
        scale = max(float(rows.abs().max()) for rows, _ in parts)
        return cls(
            count=len(features), means=means, mean=mean, within=within, total=within + between.T @ between, scale=scale
        )

    def about(self, origin: Tensor) -> Tensor:
        """Return the (d, d) second moment about ``origin`` (d,)."""
        return self.total + torch.outer(self.mean - origin, self.mean - origin)


def significant(values: Tensor, *, count: int, scale: float) -> Tensor:
    """Return which eigenvalues (d,), ascending, of a covariance of ``count`` pictures are more than rounding.

    Those above ``max(count, d) * eps`` times the largest, which is ``scipy.linalg.pinvh``'s rule (and so that of
    scikit-learn's ``EmpiricalCovariance``) with the number of summands beside the width; and above the square of the
    same share of ``scale``, the features' largest magnitude, so that constant features have no direction at all.
    """
    rounding = max(count, len(values)) * EPSILON
    return values > max(rounding * float(values[-1]), (rounding * scale) ** 2)


def whitening(covariance: Tensor, *, count: int, scale: float) -> Tensor:
    """Return (d, r) columns L with ``L @ L.T`` the pseudo-inverse of ``covariance`` (d, d) of rank r.

    Directions that do not vary count for nothing; r is 0 where none does.
    """
    values, vectors = torch.linalg.eigh(covariance)
    kept = significant(values, count=count, scale=scale)
    return vectors[:, kept] / values[kept].sqrt()


def head_origin(weight: Tensor, bias: Tensor) -> Tensor:
    """Return the (d,) shortest feature whose logits are nearest to zero: ``-pinv(weight.T) @ bias``.

    Singular values under ``max(d, c)`` times the rounding of the head's own precision, relative to the largest, count
    as zero: a softmax head's weights sum to zero over classes up to that rounding, which an inverse would blow up.
    """
    rounding = max(weight.shape) * torch.finfo(weight.dtype).eps
    return -torch.linalg.pinv(weight.double().T, rtol=rounding) @ bias.double()


def principal_dimension(width: int, rank: int) -> int:
    """Return how many directions are principal for features of ``width``, of which training features span ``rank``.

    ViM's authors take 1000 of 2048 and more, else 512 (github.com/haoqiwang/vim). Under 768 that leaves little or
    nothing, so there it is half the width, as in later benchmarks. Two thirds of the rank, the largest share that
    rule takes of a width, is the most: where pictures are few or features dead, training features keep a residual.
    """
    published = 1000 if width >= 2048 else 512 if width >= 768 else width // 2
    return min(published, 2 * rank // 3)


def residual_space(moments: Moments, origin: Tensor, dimension: int | None) -> Tensor:
    """Return (d, d - D) orthonormal columns: all but the D directions in which features vary most about ``origin``.

    Raises:
        ConfigError: ``dimension``, D, is given, and is not in [0, rank): training features would have no residual.
    """
    values, vectors = torch.linalg.eigh(moments.about(origin))
    scale = max(moments.scale, float(origin.abs().max()))
    rank = int(significant(values, count=moments.count, scale=scale).sum())
    if dimension is None:
        dimension = principal_dimension(len(values), rank)
    elif not 0 <= dimension < rank:
        raise ConfigError(
            f"a principal space of {dimension} dimensions: the training features span {rank}; "
            f"expected at least 0 and fewer than {rank}.",
            hint="Leave the dimension out for the published rule.",
        )
    return vectors[:, : len(values) - dimension]


def percentile(values: Tensor, q: float) -> float:
    """Return the ``q``-th percentile, q in [0, 100], of all numbers of ``values``, as ``numpy.percentile`` does."""
    flat = values.flatten()
    place = (flat.numel() - 1) * q / 100
    low = math.floor(place)
    lower = flat.kthvalue(low + 1).values
    above = flat > lower
    if flat.numel() - int(above.sum()) > low + 1 or place == low:
        return float(lower)
    upper = torch.where(above, flat, torch.inf).min()
    return float(lower) + (place - low) * (float(upper) - float(lower))


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Training features, scaled to unit length, to be searched exactly.

    Attributes:
        bank: (n, d) unit vectors less ``centre``, in the features' precision, float32 at least.
        centre: (d,) the unit vectors' mean, float64. Features that all point one way would otherwise differ in the
            last digits only.
        squares: (n,) squared lengths of ``bank``.
        k: Which neighbour counts; n where n is smaller than asked.
    """

    bank: Tensor
    centre: Tensor
    squares: Tensor
    k: int

    @classmethod
    def fit(cls, features: Tensor, *, k: int) -> Neighbours:
        """Keep features (n, d); a zero vector stays zero."""
        parts = features.split(rows_at_once(features.shape[1]))
        centre = torch.stack([_unit(rows).sum(dim=0) for rows in parts]).sum(dim=0) / len(features)
        bank = torch.empty_like(features, dtype=torch.promote_types(features.dtype, torch.float32))
        for rows, kept in zip(parts, bank.split(len(parts[0])), strict=True):
            kept.copy_(_unit(rows) - centre)
        return cls(bank=bank, centre=centre, squares=bank.square().sum(dim=1), k=min(k, len(features)))

    def distance(self, queries: Tensor) -> Tensor:
        """Return (m,) Euclidean distances of queries (m, d), scaled to unit length, to their k-th neighbours.

        The neighbour is found in the bank's precision; its distance is computed in float64.
        """
        near = (_unit(queries) - self.centre).to(self.bank.dtype)
        parts = near.split(rows_at_once(len(self.bank), self.bank.element_size()))
        return torch.cat([self._kth(part) for part in parts])

    def _kth(self, queries: Tensor) -> Tensor:
        # A query's own squared length is the same for all of its neighbours.
        order = torch.addmm(self.squares, queries, self.bank.T, alpha=-2)
        kth = order.topk(self.k, dim=1, largest=False).indices[:, -1]
        return (queries.double() - self.bank[kth].double()).norm(dim=1)


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.double(), dim=1)
