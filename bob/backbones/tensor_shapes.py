"""A timm architecture by the shapes of its tensors alone: built without memory or time for their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import timm
import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _ArithmeticOnCpu(TorchFunctionMode):
    # timm 1.0.20 computes stochastic depth rates and RegNet's widths in tensors and reads them back.
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if func in (torch.linspace, torch.arange, torch.tensor) and given.get("device") is None:
            given["device"] = "cpu"
        return func(*args, **given)


def shapes_only(arch: str, *, classes: int, size: Mapping[str, Any] | None = None) -> nn.Module:
    """Build an architecture on the meta device: names, shapes and feature levels are right, there are no values.

    Args:
        arch: timm's name of the architecture, without a tag.
        classes: Outputs of the classifier; 0 builds none.
        size: What it is built with (``img_size``, ``output_stride``); its native values if not given.
    """
    with torch.device("meta"), _ArithmeticOnCpu():
        module: nn.Module = timm.create_model(arch, num_classes=classes, **(size or {}))
    return module
