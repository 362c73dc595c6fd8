"""Position embeddings of a checkpoint on the grid of another input size, where timm leaves them as they are.

timm resizes those of most transformers. It does not for Hiera, nor for an attention pool over a map, and its older
versions (1.0.20) take a grid with as many cells, 16 x 36 for 24 x 24, for the same. A checkpoint's grid is square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed

from bob.backbones.tensor_shapes import shapes_only

Grid = tuple[int, int]


def resized_positions(
    state: Mapping[str, torch.Tensor], arch: str, size: Mapping[str, Any]
) -> Mapping[str, torch.Tensor]:
    """Return a checkpoint whose position embeddings fit an architecture, for those that timm never resizes.

    Args:
        state: Tensors by name.
        arch: timm's name of the architecture, without a tag.
        size: What it is built with, ``{"img_size": (height, width)}``; without that nothing is changed.
    """
    names = [key for key in state if _of_attention_pool(key) or key in ("pos_embed", "pos_embed_abs")]
    if "img_size" not in size or not names:
        return state
    model: Any = shapes_only(arch, classes=0, size=size)
    return {**state, **{key: _resized(key, state[key], model) for key in names}}


def resize_left_over(model: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Resize a plain transformer's position embedding (1, L, C) that was loaded from a square onto another grid.

    Args:
        model: With its weights, changed in place.
        state: What they were loaded from.
    """
    positions, grid = getattr(model, "pos_embed", None), _grid(getattr(model, "patch_embed", None), "grid_size")
    if positions is None or grid is None or positions.ndim != 3 or grid[0] == grid[1]:
        return
    raw = (value.to(positions.dtype) for value in state.values() if value.shape == positions.shape)
    if any(torch.equal(value, positions) for value in raw):
        prefix = 0 if getattr(model, "no_embed_class", False) else getattr(model, "num_prefix_tokens", 0)
        positions.data = resample_abs_pos_embed(positions.data, new_size=list(grid), num_prefix_tokens=prefix)


def _of_attention_pool(key: str) -> bool:
    return key in ("head.pos_embed", "visual.attnpool.positional_embedding")


def _resized(key: str, value: torch.Tensor, model: Any) -> torch.Tensor:
    of_pool = _of_attention_pool(key)
    grid = _grid(getattr(model, "head", None), "feat_size") if of_pool else _grid(model, "tokens_spatial_shape")
    side = math.isqrt(value.shape[-2])
    if grid is None or value.ndim not in (2, 3) or grid == (side, side):
        return value
    batched = value if value.ndim == 3 else value[None]
    resized = resample_abs_pos_embed(batched, new_size=list(grid), num_prefix_tokens=int(of_pool))
    return resized if value.ndim == 3 else resized[0]


def _grid(holder: Any, name: str) -> Grid | None:
    size = getattr(holder, name, None)
    return None if size is None else (int(size[0]), int(size[1]))
