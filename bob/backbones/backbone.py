"""What a backbone is, as data: no weights, no torch."""

from __future__ import annotations

from dataclasses import dataclass

RANDOM_TAG = "random"


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How a picture becomes a model's input.

    Attributes:
        image_size: Side of the square input in pixels.
        mean: Per-channel mean, RGB, of pixels in [0, 1].
        std: Per-channel standard deviation, RGB.
        interpolation: ``bilinear`` or ``bicubic``, as timm names it.
        crop_pct: At evaluation the short side is resized to ``image_size / crop_pct`` and the centre is cropped.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    crop_pct: float


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """One checkpoint, named as timm names it: ``arch.tag``.

    Attributes:
        name: ``arch.tag``; the tag ``random`` is the architecture without training.
        family: The architecture's family ("resnet", "vit", "convnext", ...).
        pretrain_method: "supervised", "DINO", "DINOv2", "MAE", "CLIP", ...; "none" for random.
        pretrain_data: The data of pretraining ("ImageNet-1k", ...); "none" for random.
        params_m: Parameters in millions, without the classifier.
        license: SPDX-like name of the weights' licence.
        input: The model's own input configuration, at its native size.
        size_multiple: An input side must be a multiple of this (a ViT's patch size).
        package: A Python package that carries the checkpoint (module name), if there is one.
        hub: Where the hub has it, ``owner/repo``, ``owner/repo:file`` or a URL; None for ``timm/NAME``.
        source: Where the code comes from: ``timm``, or ``module:attr`` / ``file.py:attr`` for a user's own.
    """

    name: str
    family: str
    pretrain_method: str
    pretrain_data: str
    params_m: float
    license: str
    input: InputConfig
    size_multiple: int = 1
    package: str | None = None
    hub: str | None = None
    source: str = "timm"

    @property
    def arch(self) -> str:
        """The name without its tag."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """The part after the first dot; empty if there is none."""
        return self.name.partition(".")[2]

    @property
    def is_control(self) -> bool:
        """Whether this is a random-init control, which never enters a mean or a rank of the candidates."""
        return self.tag == RANDOM_TAG
