"""Building a backbone with its weights: never half-loaded, never random unless asked for by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import get_pretrained_cfg
from torch import nn

from bob.backbones.backbone import Backbone
from bob.backbones.backbone_model import BackboneModel, Sides, estimate_batch_norm, prepare
from bob.backbones.checkpoints import load_strictly, load_timm
from bob.backbones.user_backbones import user_backbone
from bob.core.errors import ConfigError, WeightsError, WeightsMissingError

__all__ = [
    "BackboneModel",
    "build_backbone",
    "build_classifier",
    "build_module",
    "estimate_batch_norm",
    "headless",
    "prepare",
    "seeded",
]

IMAGENET_CLASSES = 1000


def build_backbone(
    backbone: Backbone, *, weights_path: Path | None, image_size: int, seed: int, num_classes: int = 0
) -> BackboneModel:
    """Build a backbone on the CPU, in evaluation mode.

    Args:
        backbone: What to build.
        weights_path: Its checkpoint, from ``weights.locate``; None for a control, and only for that.
        image_size: Input side in pixels, a multiple of ``backbone.size_multiple``.
        seed: Of whatever is initialised at random: a control's weights, the new head. The caller's generators are
            left alone.
        num_classes: Classes of a new linear head; 0 for none.

    Returns:
        A module from (N, 3, S, S) to (N, width), or to (N, num_classes) with a head.

    Raises:
        WeightsError: The checkpoint is corrupt or does not fit.
        WeightsMissingError: No checkpoint was given for a backbone that is no control.
        ConfigError: The architecture cannot be built for this size.
    """
    with seeded(seed):
        module = headless(build_module(backbone, weights_path, (image_size, image_size)))
        return BackboneModel(module, image_size=image_size, num_classes=num_classes).eval()


def build_classifier(backbone: Backbone, *, weights_path: Path | None, image_size: int, seed: int = 0) -> nn.Module:
    """Build a model with its own pretrained head, for the protocol ``pretrained_head``; arguments as above.

    Returns:
        A module from (N, 3, S, S) to logits (N, 1000) in ImageNet-1k's order, in evaluation mode.

    Raises:
        WeightsError: The checkpoint has no head of 1000 classes (self-supervised ones have none), or does not fit.
    """
    if backbone.source == "timm" and not backbone.is_control:
        outputs = get_pretrained_cfg(backbone.name).num_classes
        if outputs != IMAGENET_CLASSES:
            raise _no_head(backbone, outputs)
    with seeded(seed):
        module = build_module(backbone, weights_path, (image_size, image_size), classes=IMAGENET_CLASSES)
    if getattr(module, "num_classes", 0) != IMAGENET_CLASSES:
        raise _no_head(backbone, int(getattr(module, "num_classes", 0)))
    return module.eval()


def _no_head(backbone: Backbone, outputs: int) -> WeightsError:
    has = f"a head with {outputs} outputs" if outputs else "no head"
    return WeightsError(
        f"the weights of '{backbone.name}' have {has}: protocol 'pretrained_head' needs ImageNet-1k's 1000 classes.",
        hint="Use protocol 'linear' or 'knn', or a checkpoint whose tag ends in 'in1k'.",
    )


class seeded:
    """Seed torch's CPU generator inside the block and leave the caller's as it was."""

    def __init__(self, seed: int) -> None:
        self._fork: Any = torch.random.fork_rng(devices=[])
        self._seed = seed

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *failure: Any) -> None:
        self._fork.__exit__(*failure)


def build_module(
    backbone: Backbone,
    path: Path | None,
    sides: Sides,
    *,
    classes: int = 0,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build the bare architecture with its weights, and with the checkpoint's own head if it has one.

    Args:
        backbone: What to build.
        path: Its checkpoint; None for a control, and only for that.
        sides: Height and width of the input in pixels, multiples of ``backbone.size_multiple``.
        classes: Outputs of a control's head.
        options: More keyword arguments of timm's constructor (``output_stride``); a user's own takes none.

    Raises:
        WeightsError: The checkpoint is corrupt or does not fit.
        WeightsMissingError: No checkpoint was given for a backbone that is no control.
        ConfigError: The architecture cannot be built for this size.
    """
    shown = _shown(sides)
    if any(side % backbone.size_multiple for side in sides):
        step = backbone.size_multiple
        raise ConfigError(f"'{backbone.name}' takes multiples of {step} pixels: image_size {shown} is not one.")
    user = user_backbone(backbone.name)
    if user is None and path is None and not backbone.is_control:
        raise WeightsMissingError(
            f"'{backbone.name}' was asked for without a weights file: it is never built from random.",
            hint=f"'bob fetch' brings the file; '{backbone.arch}.random' is the control.",
        )
    if user is not None:
        module = user.module(sides)
        if user.weights is not None:
            load_strictly(module, backbone, path or user.weights)
        return module
    given = {**({"img_size": sides} if _takes_size(backbone) else {}), **(options or {})}
    try:
        if backbone.is_control or path is None:
            return timm.create_model(backbone.arch, num_classes=classes, **given)
        return load_timm(backbone, path, size=given)
    except AssertionError as error:
        raise ConfigError(f"'{backbone.name}' cannot be built for {shown} pixels: {error}.") from error


def headless(module: Any) -> nn.Module:
    """Return a module without its classifier, if it has one to take off."""
    if hasattr(module, "reset_classifier"):
        module.reset_classifier(0)
    return module


def _shown(sides: Sides) -> str:
    height, width = sides
    return str(height) if height == width else f"{height} x {width}"


def _takes_size(backbone: Backbone) -> bool:
    return bool(get_pretrained_cfg(backbone.arch).fixed_input_size)
