"""Position embeddings of a checkpoint on the grid of another input size, where timm leaves them as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import resample_abs_pos_embed

from bob.backbones.shapes import shapes_only

Grid = tuple[int, int]


def resized_positions(
    state: Mapping[str, torch.Tensor], arch: str, size: Mapping[str, Any]
) -> Mapping[str, torch.Tensor]:
    """Return a checkpoint whose position embeddings fit an architecture that is built for ``size``.

    timm resizes most of them itself. It does not for Hiera, nor for an attention pool over a map, nor where the new
    grid is another with as many cells: 16 x 36 for 24 x 24. A checkpoint's own grid is square.

    Args:
        state: Tensors by name.
        arch: timm's name of the architecture, without a tag.
        size: What it is built with, ``{"img_size": (height, width)}``; without that nothing is changed.
    """
    if "img_size" not in size:
        return state
    model: Any = shapes_only(arch, classes=0, size=size)
    found = {key: _resized(key, value, model) for key, value in state.items() if _is_position(key)}
    return {**state, **found}


def _is_position(key: str) -> bool:
    return key.rpartition(".")[2] in ("pos_embed", "pos_embed_abs") or key.endswith("attnpool.positional_embedding")


def _resized(key: str, value: torch.Tensor, model: Any) -> torch.Tensor:
    grid, prefix, own = _layout(key, model)
    cells = value.shape[-2] - prefix if value.ndim in (2, 3) else 0
    if grid is None or cells < 1 or math.isqrt(cells) ** 2 != cells or (math.isqrt(cells),) * 2 == grid:
        return value
    if not own and cells != grid[0] * grid[1]:
        return value  # timm's code does it
    batched = value if value.ndim == 3 else value[None]
    resized = resample_abs_pos_embed(batched, new_size=list(grid), num_prefix_tokens=prefix)
    return resized if value.ndim == 3 else resized[0]


def _layout(key: str, model: Any) -> tuple[Grid | None, int, bool]:
    """Return the grid of a position embedding in this model, its tokens before the grid, and if timm never resizes."""
    if "." in key:
        size = getattr(getattr(model, "head", None), "feat_size", None)
        return (None if size is None else (size[0], size[1])), 1, True
    if hasattr(model, "tokens_spatial_shape"):
        height, width = model.tokens_spatial_shape
        return (height, width), 0, True
    size = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    without = getattr(model, "no_embed_class", False)
    return (
        (None if size is None else (size[0], size[1])),
        0 if without else getattr(model, "num_prefix_tokens", 0),
        False,
    )
