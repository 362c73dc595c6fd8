"""Where anchors lie and from which level a region is pooled, by the strides as they are and not as guessed.

torchvision infers strides from the sizes of maps. That is wrong where a map's size was rounded up: a canvas of 64 x 96
gives a level of stride 64 the size 1 x 2, from which torchvision reads strides of 64 and 48.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_area, roi_align

PAPER_SCALE = 8.0  # anchors of 8 strides: 32 pixels at stride 4, arXiv 1612.03144
CANONICAL_SIDE = 224.0  # a region of this side is pooled from ...
CANONICAL_LEVEL = 4  # ... the level of stride 2^4, equation 1 of the same paper
SAMPLES = 2  # per bin and axis, as torchvision's


class StridedAnchors(AnchorGenerator):
    """Anchors in float32 at every cell of every level.

    Args:
        sizes: Anchor sides in pixels for each level.
        ratios: Height to width of the anchors.
        strides: Of each level.
        offset: Where in its cell an anchor is centred, in units of the stride: torchvision's corner is 0.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[float]],
        ratios: Sequence[float],
        strides: Sequence[int],
        *,
        offset: float = 0.0,
    ) -> None:
        super().__init__(tuple(tuple(row) for row in sizes), (tuple(ratios),) * len(sizes))
        self.strides = tuple(strides)
        self.offset = offset

    def forward(self, image_list: Any, feature_maps: list[Tensor]) -> list[Tensor]:
        """Return the anchors (A, 4) of each picture, in pixels: by level, row, column, then shape."""
        device = feature_maps[0].device
        self.set_cell_anchors(torch.float32, device)
        grids = [list(feature.shape[-2:]) for feature in feature_maps]
        steps = [[torch.tensor(stride, device=device)] * 2 for stride in self.strides]
        levels = self.grid_anchors(grids, steps)
        shifted = [anchors + self.offset * stride for anchors, stride in zip(levels, self.strides, strict=True)]
        return [torch.cat(shifted)] * len(image_list.image_sizes)


class RegionPool(nn.Module):
    """RoIAlign of each box from the level that fits its size.

    A box of area ``a`` belongs to stride ``2 ** floor(4 + log2(sqrt(a) / 224))`` (equation 1 of arXiv 1612.03144), here
    with 224 in proportion to the anchors; it is pooled from the coarsest level that is not coarser, else from the
    finest there is. For consecutive levels and ``anchor_scale`` 8 this is torchvision's ``MultiScaleRoIAlign``. On
    canvases below 224 pixels the published constant would put every box on stride 8 or finer: scale the anchors.

    Args:
        names: Keys of the maps to pool from, finest first.
        strides: Of those maps.
        size: Side of the pooled squares.
        anchor_scale: As in ``DetectorOptions``.
    """

    def __init__(self, names: Sequence[str], strides: Sequence[int], *, size: int, anchor_scale: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.strides = tuple(strides)
        self.size = size
        self.canonical = CANONICAL_SIDE * anchor_scale / PAPER_SCALE

    def forward(self, features: Mapping[str, Tensor], boxes: list[Tensor], image_shapes: Any = None) -> Tensor:
        """Pool boxes (n_i, 4) of each picture to (sum of n_i, C, size, size) in float32.

        ``image_shapes`` is for torchvision, whose own pooling guesses scales from it; nothing here needs it.
        """
        maps = [features[name].float() for name in self.names]
        level_of = self.levels(torch.cat(boxes))
        owner = torch.cat([torch.full_like(rows[:, :1], place) for place, rows in enumerate(boxes)])
        rois = torch.cat([owner, torch.cat(boxes)], dim=1)
        pooled = maps[0].new_zeros((len(rois), maps[0].shape[1], self.size, self.size))
        for level, (values, stride) in enumerate(zip(maps, self.strides, strict=True)):
            rows = torch.where(level_of == level)[0]
            found = roi_align(values, rois[rows], self.size, spatial_scale=1 / stride, sampling_ratio=SAMPLES)
            pooled[rows] = found.to(pooled.dtype)
        return pooled

    def levels(self, boxes: Tensor) -> Tensor:
        """Return for each box (n, 4) the place of its level, int64 (n,)."""
        powers = torch.tensor([math.log2(stride) for stride in self.strides], device=boxes.device)
        wanted = torch.floor(CANONICAL_LEVEL + torch.log2(box_area(boxes).sqrt() / self.canonical) + 1e-6)
        return (torch.searchsorted(powers, wanted, right=True) - 1).clamp(min=0)
