"""Necks that belong to a backbone's pyramid: a pyramid from one map, and the norms of a transformer's maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from timm.layers import LayerNorm2d
from torch import nn

CHANNELS = 256


class SimplePyramid(nn.Module):
    """The simple feature pyramid of ViTDet (Li et al. 2022, arXiv 2203.16527): every level from one map.

    Finer levels come by deconvolutions of 2 x 2 with stride 2, each halving the channels, with LayerNorm and GELU
    between them; coarser ones by max pooling. Each level ends with convolutions of 1 x 1 and 3 x 3 without bias, each
    followed by LayerNorm.

    Args:
        width: Channels of the map.
        base: Its stride, a power of 2.
        strides: Of the levels, powers of 2.
        channels: Of every level.

    Attributes:
        channels: One number per level.
    """

    def __init__(self, width: int, *, base: int, strides: Sequence[int], channels: int = CHANNELS) -> None:
        super().__init__()
        self.channels = (channels,) * len(strides)
        self.levels = nn.ModuleList(_level(width, base, stride, channels) for stride in strides)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Turn the one map (N, width, H, W) of a list into a map (N, channels, H_i, W_i) per level."""
        (features,) = maps
        return [level(features) for level in self.levels]


def _level(width: int, base: int, stride: int, channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    doublings = round(math.log2(base / stride))
    for step in range(doublings):
        if step:
            layers += [LayerNorm2d(width), nn.GELU()]
        half = max(1, width // 2)
        layers.append(nn.ConvTranspose2d(width, half, kernel_size=2, stride=2))
        width = half
    if doublings < 0:
        layers.append(nn.MaxPool2d(kernel_size=stride // base))
    layers += [nn.Conv2d(width, channels, kernel_size=1, bias=False), LayerNorm2d(channels)]
    layers += [nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False), LayerNorm2d(channels)]
    return nn.Sequential(*layers)


class LevelNorms(nn.Module):
    """A new LayerNorm on each map: residual streams without batch norm grow from stage to stage.

    The detectors of Swin (arXiv 2103.14030), ConvNeXt (arXiv 2201.03545) and their successors have the same.

    Args:
        widths: Channels of each map.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in widths)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Normalise each map (N, C_i, H_i, W_i) over its channels."""
        return [norm(features) for norm, features in zip(self.norms, maps, strict=True)]
