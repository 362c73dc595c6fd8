"""Segmentation heads on any backbone's pyramid: pictures in, one logit per class and pixel out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bob.backbones.meta_pass import tried
from bob.core.errors import ConfigError, unknown_name
from bob.core.registry import resolved
from bob.heads import segmentation_decoders as decoders
from bob.heads.head_registry import HEADS, Head, heads_that

if TYPE_CHECKING:
    from bob.backbones.pyramid import PyramidModel

Group = list[tuple[str, nn.Parameter]]


def pyramid_needs(head: str) -> tuple[tuple[int, ...], int]:
    """Return the levels and the output stride that ``build_pyramid`` must be called with for a head.

    Raises:
        UnknownNameError: No head is called so.
    """
    described = _described(head)
    return described.levels, described.output_stride


def _described(head: str) -> Head:
    known = heads_that("semantic")
    if head not in known:
        raise unknown_name("segmentation head", head, known, hint=f"Known are {', '.join(known)}.")
    return HEADS.get(head)


def build_segmenter(
    pyramid: PyramidModel, *, head: str, classes: int, channels: int = 256, seed: int = 0, **own: Any
) -> Segmenter:
    """Put a new segmentation head on a pyramid, on the CPU, in training mode.

    Weights are drawn as torch's layers draw them. A classifier drawn from N(0, 0.01), as detectors have it, learns so
    slowly that thin classes stay unseen in a short training (after 8 epochs of 120 streets, mIoU on val .44, not .51).

    For a linear head the pyramid's neck is taken out of it, and its channels and strides change accordingly: a plain
    ViT's neck is a few million parameters with non-linear layers, while a ResNet has none. What learns on a frozen
    backbone is then linear for every family: on a plain ViT it sees the one map that there is, at its own stride.

    Args:
        pyramid: Built as ``pyramid_needs(head)`` says; the segmenter's own from now on.
        head: A registered head that produces "semantic".
        classes: Classes to tell apart, background included if the data have one; at least 2.
        channels: Width of the decoder of ``upernet`` and ``deeplabv3plus``; the other two have none.
        seed: Of the head's weights. The caller's generators are left alone.
        own: Values of the head's own parameters.

    Raises:
        UnknownNameError: No head is called so.
        ConfigError: There are fewer than 2 classes, or the pyramid's maps are not those that the head needs.
    """
    described = _described(head)
    if classes < 2 or channels < 1:
        raise ConfigError(f"{classes} classes and {channels} channels: at least 2 and 1 are expected.")
    if described.linear:
        _take_out_neck(pyramid)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        top = resolved(described.build)(pyramid.channels, pyramid.strides, classes=classes, width=channels, **own)
    return Segmenter(pyramid, top).train()


def _take_out_neck(pyramid: PyramidModel) -> None:
    pyramid.neck = nn.Identity()
    shapes, _ = tried(pyramid, pyramid.canvas)
    pyramid.channels = tuple(shape[1] for shape in shapes)
    pyramid.strides = tuple(pyramid.canvas[0] // shape[2] for shape in shapes)


class Segmenter(nn.Module):
    """A pyramid and a head on it.

    Attributes:
        pyramid: The backbone's maps.
        head: What is trained on them; maps to logits at its own stride.
    """

    def __init__(self, pyramid: PyramidModel, head: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised pictures (N, 3, H, W) to logits (N, classes, H, W), float32.

        The head's logits are resized bilinearly (``align_corners=False``) to the pictures' size.
        """
        logits = self.head(self.pyramid(images))
        return decoders.resize(logits.float(), images.shape[-2:])

    def layers(self) -> list[Group]:
        """Return all parameters by name in groups from the stem to the top, the head last, for layer decay."""
        body = [[(f"pyramid.{name}", parameter) for name, parameter in group] for group in self.pyramid.layer_groups()]
        return [*body, [(f"head.{name}", parameter) for name, parameter in self.head.named_parameters()]]

    @property
    def no_decay_names(self) -> frozenset[str]:
        """Names, as in ``layers``, of what trains without weight decay beside norms and biases."""
        return frozenset(f"pyramid.{name}" for name in self.pyramid.no_decay_names)

    @property
    def head_params_m(self) -> float:
        """Parameters outside the pretrained body (the head and the pyramid's neck), in millions."""
        body = {id(parameter) for parameter in self.pyramid.body.parameters()}
        return sum(parameter.numel() for parameter in self.parameters() if id(parameter) not in body) / 1e6

    @property
    def has_batch_norm(self) -> bool:
        """Whether the head normalises over the batch in training: then the micro-batch changes what is learned."""
        return any(isinstance(module, _BatchNorm) for module in self.head.modules())
