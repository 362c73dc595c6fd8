"""Rows of unit length, also where the squares of their values leave the range of float32."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGE = 40  # a power of two: squares of values below 2**40 and their sums stay far within float32's range


def unit_rows(x: Tensor) -> Tensor:
    """Return (n, d) rows divided by their Euclidean length; a row of zeros stays zero.

    Rows with large values are first divided by a power of two, which is exact: the result is that of ``normalize`` to
    the last bit wherever no square overflows.
    """
    exponent = torch.frexp(x.detach().abs().amax(dim=1, keepdim=True)).exponent
    shift = torch.where(exponent > _LARGE, -exponent, 0)
    if shift.any():
        # In two steps, since 2**-128 itself is no normal number of float32.
        x = torch.ldexp(torch.ldexp(x, shift // 2), shift - shift // 2)
    return torch.nn.functional.normalize(x, dim=1)
