"""From a picture to a model's input. Pillow resizes, as it does under timm; tensors appear only at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from bob.backbones.backbone import InputConfig
from bob.core.errors import ConfigError

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
CROP_SCALE = (0.35, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10
JITTER = 0.2
FILTER_REACH = 4  # pixels, more than the widest filter reaches
MOST_RESIZED = 64  # times the crop's pixels: of a longer picture only what the crop keeps is resized


def resampling(name: str) -> Image.Resampling:
    """Return Pillow's filter for timm's name of it; ConfigError for an unknown one."""
    if name not in RESAMPLING:
        raise ConfigError(f"interpolation {name!r} is not one of {', '.join(RESAMPLING)}.")
    return RESAMPLING[name]


@dataclass(frozen=True)
class EvalCrop:
    """Resize the short side to ``image_size / crop_pct``, crop the centre, as timm evaluates: uint8 (S, S, 3)."""

    input: InputConfig

    def __call__(self, image: Image.Image) -> np.ndarray:
        """Return the centre of an RGB picture."""
        side = self.input.image_size
        width, height = _short_side(image.size, math.floor(side / self.input.crop_pct))
        how = resampling(self.input.interpolation)
        left, top = round((width - side) / 2), round((height - side) / 2)
        if width * height > MOST_RESIZED * side * side and min(left, top) >= 0:
            return np.asarray(_resized_part(image, (width, height), (left, top), side, how))
        return np.asarray(image.resize((width, height), how).crop((left, top, left + side, top + side)))


@dataclass(frozen=True)
class TrainCrop:
    """A random part of the picture, resized, flipped half of the time, its colours shifted a little: uint8 (S, S, 3).

    The crop is Inception's (Szegedy et al. 2015, arXiv 1409.4842): a share ``scale`` of the area with a side ratio
    within ``ratio``. Brightness, contrast and saturation are each multiplied by 1 +- ``jitter``.
    """

    input: InputConfig
    scale: tuple[float, float] = CROP_SCALE
    ratio: tuple[float, float] = CROP_RATIO
    jitter: float = JITTER

    def __call__(self, image: Image.Image, generator: torch.Generator) -> np.ndarray:
        """Return one augmented view; the same generator state gives the same view."""
        chance = torch.rand(2 * CROP_ATTEMPTS + 6, generator=generator, dtype=torch.float64).tolist()
        side = self.input.image_size
        box = self._box(image.size, chance)
        view = image.resize((side, side), resampling(self.input.interpolation), box=box)
        if chance[-4] < 0.5:
            view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return np.asarray(recoloured(view, self.jitter, chance[-3:]))

    def _box(self, size: tuple[int, int], chance: list[float]) -> tuple[int, int, int, int]:
        width, height = size
        for attempt in range(CROP_ATTEMPTS):
            area = width * height * _between(*self.scale, chance[2 * attempt])
            ratio = math.exp(_between(math.log(self.ratio[0]), math.log(self.ratio[1]), chance[2 * attempt + 1]))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                left, top = int(chance[-6] * (width - wide + 1)), int(chance[-5] * (height - high + 1))
                return left, top, left + wide, top + high
        return self._widest_box(width, height)

    def _widest_box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the largest centred box within ``ratio``, for a picture so long that no random one fitted."""
        wide = min(width, max(1, round(height * self.ratio[1])))
        high = min(height, max(1, round(width / self.ratio[0])))
        left, top = (width - wide) // 2, (height - high) // 2
        return left, top, left + wide, top + high


def recoloured(view: Image.Image, jitter: float, chance: list[float]) -> Image.Image:
    """Multiply brightness, contrast and saturation each by 1 +- ``jitter``, as three numbers in [0, 1) decide."""
    if jitter == 0:
        return view
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for enhancer, part in zip(enhancers, chance, strict=True):
        view = enhancer(view).enhance(_between(1 - jitter, 1 + jitter, part))
    return view


def normalise(pixels: Tensor, input: InputConfig) -> Tensor:
    """Turn uint8 (..., S, S, 3) into float32 (..., 3, S, S) with the model's mean and standard deviation.

    The result keeps its memory order, which for a batch is torch's ``channels_last``.
    """
    mean = torch.tensor(input.mean, dtype=torch.float32, device=pixels.device)
    std = torch.tensor(input.std, dtype=torch.float32, device=pixels.device)
    scaled = pixels.to(torch.float32).div_(255).sub_(mean).div_(std)
    return scaled.movedim(-1, -3)


def eval_transform(input: InputConfig) -> Callable[[Image.Image], Tensor]:
    """Return the evaluation transform: an RGB picture to float32 (3, S, S), equal to timm's for this configuration."""
    crop = EvalCrop(input)

    def transform(image: Image.Image) -> Tensor:
        return normalise(torch.tensor(crop(image)), input).contiguous()

    return transform


def train_transform(input: InputConfig) -> Callable[[Image.Image, torch.Generator], Tensor]:
    """Return the training transform: an RGB picture and a generator to float32 (3, S, S)."""
    crop = TrainCrop(input)

    def transform(image: Image.Image, generator: torch.Generator) -> Tensor:
        return normalise(torch.tensor(crop(image, generator)), input).contiguous()

    return transform


def _short_side(size: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = size
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side


def _resized_part(
    image: Image.Image, size: tuple[int, int], corner: tuple[int, int], side: int, how: Image.Resampling
) -> Image.Image:
    """Return the square of ``side`` at ``corner`` of the picture resized to ``size``, without the rest of it.

    Of a strip of 20,000 x 2 pixels a crop of 224 keeps a ten-thousandth. Rounding apart (two grey levels at most), the
    pixels are those of resizing it whole.
    """
    edges: list[tuple[int, int, float, float]] = []
    for length, resized, start in zip(image.size, size, corner, strict=True):
        scale = length / resized
        first, last = start * scale, (start + side) * scale
        margin = math.ceil(FILTER_REACH * max(1.0, scale))
        # Whole pixels are cut out first: Pillow takes boxes in single precision, too coarse far from the edge.
        cut = max(0, math.floor(first) - margin), min(length, math.ceil(last) + margin)
        edges.append((*cut, first - cut[0], min(last - cut[0], float(cut[1] - cut[0]))))
    (left, right, *wide), (top, bottom, *high) = edges
    part = image.crop((left, top, right, bottom))
    return part.resize((side, side), how, box=(wide[0], high[0], wide[1], high[1]))


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
