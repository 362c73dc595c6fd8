"""A network's last maps at a finer stride, by dilation in place of strides (Yu and Koltun 2015, arXiv 1511.07122)."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from torch import nn

from bob.backbones.tensor_shapes import shapes_only


@functools.lru_cache(maxsize=64)
def takes_output_stride(arch: str, output_stride: int) -> bool:
    """Whether timm itself builds an architecture at this output stride."""
    try:
        model: Any = shapes_only(arch, classes=0, size={"output_stride": output_stride})
    except (TypeError, AssertionError, NotImplementedError):
        return False  # timm has no list of them: each kind of network refuses in its own way
    return max(level["reduction"] for level in model.feature_info) <= output_stride


def dilate(module: Any, indices: Iterable[int], *, output_stride: int) -> None:
    """Dilate a MobileNetV3 or V4, which timm does only for its feature networks; weights stay as they are.

    As in timm's builder, the convolution that had the stride keeps its dilation; those after it get its stride's.

    Args:
        module: The network, changed in place if it can be.
        indices: Numbers of its feature levels from the first that is coarser than ``output_stride``.
        output_stride: Of the result.
    """
    ends, blocks = getattr(module, "stage_ends", None), getattr(module, "blocks", None)
    levels = list(indices)
    if type(module).__name__ != "MobileNetV3" or ends is None or blocks is None:
        return
    if levels:
        _dilate(conv for block in blocks[ends[levels[0] - 1] :] for conv in _convolutions(block))
    for level in levels:
        module.feature_info[level]["reduction"] = output_stride


def _convolutions(block: nn.Module) -> list[nn.Conv2d]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def _dilate(convolutions: Iterable[nn.Conv2d]) -> None:
    dilation = 1
    for conv in convolutions:
        following = dilation * conv.stride[0]
        padded = conv.padding != (0, 0)  # the others are 1 x 1, or pad themselves by the picture
        conv.stride, conv.dilation = (1, 1), (dilation, dilation)
        if padded:
            kernel = conv.kernel_size
            conv.padding = (dilation * (kernel[0] - 1) // 2, dilation * (kernel[1] - 1) // 2)
        dilation = following
