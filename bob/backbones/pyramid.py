"""One pyramid for every backbone: maps (N, C, H / stride, W / stride) at strides 4, 8, 16 and 32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bob.backbones.backbone import Backbone
from bob.backbones.backbone_model import BackboneModel, Group, Sides
from bob.backbones.dilation import dilate, takes_output_stride
from bob.backbones.loader import build_module, headless, seeded
from bob.backbones.meta_pass import tried
from bob.backbones.resample import Resample
from bob.backbones.simple_pyramid import LevelNorms, SimplePyramid
from bob.backbones.taps import Taps, choose_taps, reductions_of
from bob.backbones.tensor_shapes import shapes_only
from bob.backbones.user_backbones import user_backbone
from bob.core.errors import ConfigError

STRIDES = (4, 8, 16, 32)
OUTPUT_STRIDES = (8, 16, 32)


def build_pyramid(
    backbone: Backbone,
    *,
    weights_path: Path | None,
    canvas: Sides,
    levels: tuple[int, ...] = STRIDES,
    frozen: bool = False,
    output_stride: int = 32,
    seed: int,
) -> PyramidModel:
    """Build a backbone with its pyramid on the CPU, in evaluation mode.

    A network with stages gives its own maps, and where it has no batch norm each gets a new LayerNorm. A plain
    transformer, a network without some of the levels and a user's module give one map, from which ViTDet's simple
    feature pyramid makes all levels.

    Args:
        backbone: What to build.
        weights_path: Its checkpoint, from ``weights.locate``; None for a control, and only for that.
        canvas: Height and width of every picture in pixels, multiples of 32.
        levels: Strides of the maps wanted, ascending, of 4, 8, 16 and 32.
        frozen: The pretrained part never changes, batch-norm statistics included; the neck still learns.
        output_stride: The coarsest stride: 16 or 8 keep the last levels there, by dilation (DeepLab, arXiv
            1606.00915) or, where an architecture cannot be dilated, by bilinear resampling.
        seed: Of a control's weights and of the neck. The caller's generators are left alone.

    Raises:
        WeightsError: The checkpoint is corrupt or does not fit.
        WeightsMissingError: No checkpoint was given for a backbone that is no control.
        ConfigError: Levels, canvas or output stride are impossible, or the backbone gives no map.
    """
    _check(canvas, levels, output_stride)
    padded = tuple(math.ceil(side / backbone.size_multiple) * backbone.size_multiple for side in canvas)
    sides = (padded[0], padded[1])
    with seeded(seed):
        module, reductions = _dilated(backbone, weights_path, sides, output_stride)
        body = _body(backbone, headless(module), sides)
    taps = choose_taps(module, reductions, levels)
    strides = tuple(min(level, output_stride) for level in levels)
    with seeded(seed):
        return PyramidModel(body, taps=taps, canvas=canvas, strides=strides, frozen=frozen, name=backbone.name).eval()


class PyramidModel(nn.Module):
    """A backbone whose maps, one per stride, every dense head sits on; ``build_pyramid`` makes it.

    Args:
        body: The pretrained part, built for the canvas, or for a little more where its patches do not divide it.
        taps: Which of its maps are taken.
        canvas: Height and width of the pictures.
        strides: Of the maps that it gives.
        frozen: The body stays as it is.
        name: Of the backbone, for messages.

    Attributes:
        channels: Of each map.
        strides: Pixels of the picture that a cell of each map spans.
        emulated_stride: An output stride below 32 could not be had by dilation: the last map was resampled to it.
        body: The pretrained part: pooling, width and features of whole pictures.
        neck: What stands between the body's maps and the levels, and always learns; Identity if nothing.
    """

    def __init__(
        self, body: BackboneModel, *, taps: Taps, canvas: Sides, strides: tuple[int, ...], frozen: bool, name: str
    ) -> None:
        super().__init__()
        self.body = body
        self.canvas = canvas
        self.strides = strides
        self.frozen = frozen
        self._taps = taps
        shapes, used = _tried_maps(body, taps, name)
        spans = [(body.canvas[0] / shape[2], body.canvas[1] / shape[3]) for shape in shapes]
        own = [_nearest_stride(max(span)) for span in spans]
        targets = own if taps.single else list(strides)
        self.emulated_stride = any(target < stride for target, stride in zip(targets, own, strict=True))
        self.aligned = nn.ModuleList(
            _aligner(shape[2:], span, canvas, target)
            for shape, span, target in zip(shapes, spans, targets, strict=True)
        )
        self.neck = _neck(body, taps, [shape[1] for shape in shapes], own, strides)
        self.channels = tuple(getattr(self.neck, "channels", [shape[1] for shape in shapes]))
        for parameter_name, parameter in body.named_parameters():
            parameter.requires_grad_(parameter_name in used and not frozen)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Map pictures (N, 3, *canvas) to one map (N, channels, H / stride, W / stride) per level."""
        assert tuple(pictures.shape[-2:]) == self.canvas, f"pictures are {tuple(pictures.shape)}, not on {self.canvas}"
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self._taps.maps(self.body.arch_module, self.body.laid_out(self._padded(pictures)))
        return list(self.neck([align(features) for align, features in zip(self.aligned, maps, strict=True)]))

    def train(self, mode: bool = True) -> PyramidModel:
        """Set the mode, but leave the body's batch norms, and the whole body if it is frozen, in evaluation mode."""
        super().train(mode)
        for module in self.body.modules():
            if self.frozen or isinstance(module, _BatchNorm):
                module.training = False
        return self

    @property
    def has_batch_norm(self) -> bool:
        """Whether a layer of the body normalises by statistics over the batch."""
        return self.body.has_batch_norm

    @property
    def no_decay_names(self) -> frozenset[str]:
        """Names, as in ``layer_groups``, of what trains without weight decay (position embeddings, tokens)."""
        return frozenset(f"body.{name}" for name in self.body.no_decay_names)

    def layer_groups(self) -> list[Group]:
        """Return what learns, by name, in groups from the stem to the top, the neck last.

        Left out is what no map depends on (the classifier's last convolution, a stage above the levels) and, of a
        frozen model, the body: none of that has a gradient.
        """
        groups = [
            [(f"body.{name}", parameter) for name, parameter in group if parameter.requires_grad]
            for group in self.body.layer_groups()
        ]
        groups.append([(f"neck.{name}", parameter) for name, parameter in self.neck.named_parameters()])
        return [group for group in groups if group]

    def _padded(self, pictures: torch.Tensor) -> torch.Tensor:
        height, width = self.canvas
        bottom, right = self.body.canvas[0] - height, self.body.canvas[1] - width
        return nn.functional.pad(pictures, (0, right, 0, bottom)) if bottom or right else pictures


def _check(canvas: Sides, levels: Sequence[int], output_stride: int) -> None:
    if any(side < STRIDES[-1] or side % STRIDES[-1] for side in canvas):
        raise ConfigError(
            f"canvas {canvas[0]} x {canvas[1]} is impossible: expected multiples of {STRIDES[-1]} pixels."
        )
    if not levels or list(levels) != sorted(set(levels) & set(STRIDES)):
        raise ConfigError(f"levels {list(levels)} are impossible: expected some of {list(STRIDES)}, ascending.")
    if output_stride not in OUTPUT_STRIDES:
        raise ConfigError(f"output_stride {output_stride} is impossible: expected one of {list(OUTPUT_STRIDES)}.")


def _dilated(
    backbone: Backbone, path: Path | None, sides: Sides, output_stride: int
) -> tuple[nn.Module, Sequence[int]]:
    """Build the architecture, dilated if need be and possible, and return it with the reductions it has undilated."""
    own = user_backbone(backbone.name) is None
    if output_stride == STRIDES[-1] or not own or not takes_output_stride(backbone.arch, output_stride):
        module = build_module(backbone, path, sides)
        reductions = reductions_of(module)
        dilate(module, [i for i, r in enumerate(reductions) if r > output_stride], output_stride=output_stride)
        return module, reductions
    module = build_module(backbone, path, sides, options={"output_stride": output_stride})
    return module, reductions_of(shapes_only(backbone.arch, classes=0))


def _body(backbone: Backbone, module: nn.Module, sides: Sides) -> BackboneModel:
    try:
        return BackboneModel(module, image_size=max(sides), canvas=sides)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"'{backbone.name}' fails on a picture of {sides[0]} x {sides[1]} pixels: {error}",
            hint="A user's 'build' that must know height and width declares 'canvas=None' beside 'image_size'.",
        ) from error


class _Tapped(nn.Module):
    """The body's maps alone, to try them: parameters are named as the body's, after a prefix."""

    def __init__(self, body: BackboneModel, taps: Taps) -> None:
        super().__init__()
        self.body = body
        self.taps = taps

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        return self.taps.maps(self.body.arch_module, pictures)


def _tried_maps(body: BackboneModel, taps: Taps, name: str) -> tuple[list[tuple[int, ...]], frozenset[str]]:
    """Return the shapes of the body's maps for one picture, and the names of its parameters that they depend on."""
    shapes, used = tried(_Tapped(body, taps), body.canvas)
    wrong = [shape for shape in shapes if len(shape) != 4]
    if wrong:
        what = "one vector per picture" if len(wrong[0]) == 2 else "no map"
        raise ConfigError(
            f"'{name}' gives {what}, shape {wrong[0]}: detection and segmentation need a map (N, C, H, W).",
            hint="Let its 'forward_features', or 'forward', return the last map, before it is pooled.",
        )
    return shapes, frozenset(parameter_name.removeprefix("body.") for parameter_name in used)


def _nearest_stride(span: float) -> int:
    return min(STRIDES, key=lambda stride: abs(math.log2(stride / span)))


def _aligner(shape: Any, span: tuple[float, float], canvas: Sides, stride: int) -> nn.Module:
    target = (canvas[0] // stride, canvas[1] // stride)
    if tuple(shape) == target and span == (stride, stride):
        return nn.Identity()
    return Resample(tuple(shape), span, target=target, stride=stride)


def _neck(
    body: BackboneModel, taps: Taps, widths: Sequence[int], own: Sequence[int], strides: Sequence[int]
) -> nn.Module:
    if taps.single:
        return SimplePyramid(widths[0], base=own[0], strides=strides)
    return nn.Identity() if body.has_batch_norm else LevelNorms(widths)
