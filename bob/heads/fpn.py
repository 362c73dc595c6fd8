"""A feature pyramid network on any backbone's pyramid, with the coarser levels that detectors add."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from bob.core.errors import ConfigError


class Fpn(nn.Module):
    """Lin et al. 2017 (arXiv 1612.03144), as torchvision builds it, on levels of any strides.

    Args:
        in_channels: Channels of each map, finest first.
        strides: Stride of each map; strictly increasing, but not every power of two need be there.
        channels: Channels of every map that comes out.
        extra: ``pool``: one more level, the last one subsampled (Faster R-CNN). ``convs``: two more, by strided
            convolutions of the last one, P6 and P7 of RetinaNet and FCOS.

    Attributes:
        strides: Stride of every map that comes out. Each extra level doubles it.

    Raises:
        ConfigError: Two maps have the same stride: levels of a detector hold objects of different sizes.
    """

    def __init__(self, in_channels: Sequence[int], strides: Sequence[int], *, channels: int, extra: str) -> None:
        super().__init__()
        if any(fine >= coarse for fine, coarse in itertools.pairwise(strides)):
            raise ConfigError(f"a detector's levels must grow coarser, finest first: got strides {tuple(strides)}.")
        added = {"pool": 1, "convs": 2}[extra]
        block = LastLevelMaxPool() if extra == "pool" else LastLevelP6P7(channels, channels)
        self.network = FeaturePyramidNetwork(list(in_channels), channels, block)
        self.own = len(strides)
        self.strides = (*strides, *(strides[-1] * 2**step for step in range(1, added + 1)))

    @property
    def names(self) -> tuple[str, ...]:
        """The key of each level in what ``forward`` returns."""
        return tuple(f"stride_{stride}" for stride in self.strides)

    def forward(self, maps: Sequence[Tensor]) -> OrderedDict[str, Tensor]:
        """Map one (N, C_i, H_i, W_i) per level to (N, channels, H_i, W_i) by name, the extra levels last."""
        found = self.network(OrderedDict(zip(self.names[: self.own], maps, strict=True)))
        return OrderedDict(zip(self.names, found.values(), strict=True))
