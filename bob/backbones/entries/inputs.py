"""The three normalisations that the catalogue's checkpoints were trained with, as timm's configurations give them."""

from __future__ import annotations

from bob.backbones.backbone import InputConfig


def imagenet(image_size: int, *, crop_pct: float, interpolation: str = "bicubic") -> InputConfig:
    """Return an input normalised by ImageNet's channel statistics."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return InputConfig(image_size=image_size, mean=mean, std=std, interpolation=interpolation, crop_pct=crop_pct)


def half(image_size: int, *, crop_pct: float, interpolation: str = "bicubic") -> InputConfig:
    """Return an input scaled to [-1, 1]: mean and standard deviation 0.5."""
    mean = std = (0.5, 0.5, 0.5)
    return InputConfig(image_size=image_size, mean=mean, std=std, interpolation=interpolation, crop_pct=crop_pct)


def clip(image_size: int, *, crop_pct: float, interpolation: str = "bicubic") -> InputConfig:
    """Return an input normalised by the channel statistics of CLIP's training pictures."""
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return InputConfig(image_size=image_size, mean=mean, std=std, interpolation=interpolation, crop_pct=crop_pct)
