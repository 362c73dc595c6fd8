"""Where a network's maps are taken: by the reductions that it states, never by fixed numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

COARSEST = 32


@dataclass(frozen=True, kw_only=True)
class Taps:
    """The maps that a network is asked for.

    Attributes:
        indices: Numbers of timm's feature levels, one per level of the pyramid or one for all of them; empty for a
            module that only has a last map.
        single: One map serves every level of the pyramid.
        norm: The network's final norm is applied to the map: a plain transformer's.
    """

    indices: tuple[int, ...]
    single: bool
    norm: bool = False

    def maps(self, module: Any, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps (N, C, H, W) of pictures (N, 3, H, W); what a user's module gives comes as it is."""
        if not self.indices:
            forward = getattr(module, "forward_features", module)
            return [forward(pictures)]
        maps = module.forward_intermediates(
            pictures,
            indices=list(self.indices),
            norm=self.norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return [_pooling_norm(module, features) for features in maps] if self.norm else list(maps)


def choose_taps(module: Any, reductions: Sequence[int], levels: Sequence[int]) -> Taps:
    """Choose the last map of each level's reduction, or one map for all where the network lacks a level.

    Args:
        module: The network.
        reductions: Stride of each of its feature levels; see ``reductions_of``.
        levels: Strides that are wanted.
    """
    if not reductions or not hasattr(module, "forward_intermediates"):
        return Taps(indices=(), single=True)
    last = {reduction: index for index, reduction in enumerate(reductions)}
    if set(levels) <= set(last):
        return Taps(indices=tuple(last[level] for level in levels), single=False)
    fitting = [index for index, reduction in enumerate(reductions) if reduction <= COARSEST]
    return Taps(indices=(max(fitting, default=0),), single=True, norm=len(last) == 1)


def reductions_of(module: Any) -> list[int]:
    """Return the stride of each of timm's feature levels; nothing for another module."""
    info = getattr(module, "feature_info", None) or []
    return [int(level["reduction"]) for level in getattr(info, "info", info)]


def _pooling_norm(module: Any, features: torch.Tensor) -> torch.Tensor:
    # A transformer that averages its tokens has its final norm behind the average: EVA-02 moved it there.
    norm, pooled = getattr(module, "norm", None), getattr(module, "fc_norm", None)
    if not isinstance(norm, nn.Identity) or not isinstance(pooled, nn.LayerNorm):
        return features
    return pooled(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
