"""Bringing a map onto the grid of an exact stride."""

from __future__ import annotations

import torch
from torch import nn


class Resample(nn.Module):
    """Bilinear resampling of a map (N, C, h, w) between two pixel grids that start at the same corner of the picture.

    It is two small matrix products, not torch's interpolation: a scale need not divide the sides, what lies beyond
    the canvas is cut off, and its gradient is the same in every run on a GPU, which interpolation's is not.

    Args:
        shape: h, w of the map.
        strides: Pixels of the picture that one cell of it spans, vertically and horizontally.
        target: h, w of the result.
        stride: Pixels that one cell of the result spans.
    """

    rows: torch.Tensor
    columns: torch.Tensor

    def __init__(
        self, shape: tuple[int, int], strides: tuple[float, float], *, target: tuple[int, int], stride: int
    ) -> None:
        super().__init__()
        self.register_buffer("rows", _weights(shape[0], strides[0], target[0], stride), persistent=False)
        self.register_buffer("columns", _weights(shape[1], strides[1], target[1], stride), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (N, C, h, w) to (N, C, *target)."""
        rows, columns = self.rows.to(features.dtype), self.columns.to(features.dtype)
        return torch.matmul(rows, torch.matmul(features, columns.T)).contiguous()


def _weights(cells: int, from_stride: float, wanted: int, to_stride: int) -> torch.Tensor:
    """Return (wanted, cells): how much of each cell is in each new one, by the distance of their centres."""
    centres = (torch.arange(wanted, dtype=torch.float64) + 0.5) * to_stride / from_stride - 0.5
    distances = (centres.clamp(0, cells - 1)[:, None] - torch.arange(cells, dtype=torch.float64)).abs()
    return (1 - distances).clamp(min=0).float()
