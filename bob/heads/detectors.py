"""Detectors of boxes and masks: a registered head on any backbone's pyramid, pictures being a fixed canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchvision.ops import remove_small_boxes

from bob.core.errors import ConfigError
from bob.core.registry import resolved
from bob.heads.detector_options import DetectorOptions
from bob.heads.fpn import Fpn
from bob.heads.head_registry import HEADS

if TYPE_CHECKING:
    from bob.backbones.pyramid import PyramidModel

__all__ = ["Detector", "DetectorOptions", "build_detector"]

LEAST_SIDE = 1e-2  # pixels; a thinner box is no object
Group = list[tuple[str, nn.Parameter]]


class Detector(nn.Module):
    """A pyramid, a feature pyramid network on it, and a head.

    It keeps nothing between calls, and resizes, normalises and pads nothing: boxes that go in and come out are pixels
    of the canvas. Under autocast the convolutions and linear layers run in the low precision, coordinates, scores and
    losses in float32. Training samples anchors and regions with torch's global generator.

    Args:
        pyramid: From ``build_pyramid``.
        options: The head.
    """

    def __init__(self, pyramid: PyramidModel, options: DetectorOptions) -> None:
        super().__init__()
        self.pyramid = pyramid
        self.options = options
        head = HEADS.get(options.head)
        self.fpn = Fpn(pyramid.channels, pyramid.strides, channels=options.channels, extra=head.extra_levels)
        self.heads: Any = resolved(head.build)(self.fpn, options)

    def forward(
        self, images: Tensor, targets: list[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Return ``losses`` where targets are given, else what ``detect`` finds."""
        return self.detect(images) if targets is None else self.losses(images, targets)

    def losses(self, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the losses, each a scalar mean over the batch; their sum is what to minimise.

        Args:
            images: float32 (N, 3, H, W), normalised, on the canvas.
            targets: For each picture ``boxes`` float32 (n, 4) in canvas pixels, with positive width and height;
                ``labels`` int64 (n,), 0-based; and where the head has masks ``masks`` uint8 (n, H, W). n may be 0.

        Raises:
            ConfigError: The pictures have another size than the canvas.
        """
        wanted = [{**target, "boxes": target["boxes"].float()} for target in targets]
        return self.heads.losses(images, self._maps(images), wanted)

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[dict[str, Tensor]]:
        """Return for each picture what was found, best first, at most ``max_detections`` objects.

        Each has ``boxes`` (n, 4) within the canvas, ``scores`` (n,), ``labels`` int64 (n,), 0-based; and where the head
        has masks ``mask_probs`` (n, M, M) in [0, 1], the object's pixels relative to its box.
        """
        found = self.heads.detect(images, self._maps(images))
        return [_solid(objects) for objects in found]

    def layers(self) -> list[Group]:
        """Return all parameters by name in groups from the stem to the top: the pyramid's, then all that is new."""
        groups = [
            [(f"pyramid.{name}", parameter) for name, parameter in group] for group in self.pyramid.layer_groups()
        ]
        new = [(name, parameter) for name, parameter in self.named_parameters() if not name.startswith("pyramid.")]
        return [*groups, new]

    @property
    def no_decay_names(self) -> frozenset[str]:
        """Names, as in ``layers``, of what trains without weight decay by the backbone's own word."""
        return frozenset(f"pyramid.{name}" for name in self.pyramid.no_decay_names)

    @property
    def head_params_m(self) -> float:
        """Parameters beyond the backbone's own, in millions."""
        of_body = sum(parameter.numel() for parameter in self.pyramid.body.parameters())
        return (sum(parameter.numel() for parameter in self.parameters()) - of_body) / 1e6

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        if tuple(images.shape[-2:]) != tuple(self.pyramid.canvas):
            raise ConfigError(
                f"pictures of {tuple(images.shape[-2:])} pixels: expected the canvas {self.pyramid.canvas}."
            )
        return self.fpn(self.pyramid(images))


def build_detector(pyramid: PyramidModel, options: DetectorOptions) -> Detector:
    """Put a freshly initialised head on a pyramid, on the CPU.

    The same seed gives the same weights; the caller's generators are left alone. Initial weights, class priors and
    thresholds are torchvision's own, but for ``score_threshold``.

    Raises:
        ConfigError: Two levels of the pyramid have the same stride.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(options.seed)  # torch.manual_seed would seed the GPUs too
        return Detector(pyramid, options)


def _solid(objects: dict[str, Tensor]) -> dict[str, Tensor]:
    keep = remove_small_boxes(objects["boxes"], LEAST_SIDE)
    return {name: values[keep] for name, values in objects.items()}
