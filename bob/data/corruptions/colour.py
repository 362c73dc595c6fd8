"""Brightness, contrast and saturation. Constants: arXiv 1903.12261, the authors' repository."""

from __future__ import annotations

import numpy as np

_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of HSV
_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # share of the distance to the mean that is kept
_SATURATE = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))  # factor and addend of the saturation


def brightness(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Add to the value of HSV. uint8 (H, W, 3) to float64 in [0, 255]."""
    hue, saturation, value = to_hsv(pixels / 255.0)
    return np.clip(from_hsv(hue, saturation, np.clip(value + _BRIGHTNESS[level], 0, 1)), 0, 1) * 255


def saturate(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Scale the saturation of HSV; levels 0 and 1 take colour away. uint8 (H, W, 3) to float64 in [0, 255]."""
    factor, addend = _SATURATE[level]
    hue, saturation, value = to_hsv(pixels / 255.0)
    return np.clip(from_hsv(hue, np.clip(saturation * factor + addend, 0, 1), value), 0, 1) * 255


def contrast(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw each value towards its channel's mean. uint8 (H, W, 3) to float64 in [0, 255]."""
    clean = pixels / 255.0
    means = clean.mean(axis=(0, 1), keepdims=True)
    return np.clip((clean - means) * _CONTRAST[level] + means, 0, 1) * 255


def to_hsv(rgb: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return hue, saturation and value, each (H, W) in [0, 1], of float (H, W, 3) in [0, 1]; grey has hue 0.

    The hexcone model of Smith 1978; of several largest channels the last decides the hue, as in scikit-image.
    """
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = rgb.max(axis=-1)
    spread = value - rgb.min(axis=-1)
    grey = spread == 0
    divisor = np.where(grey, 1.0, spread)
    sixth = np.zeros_like(value)
    for offset, largest, first, second in ((0.0, red, green, blue), (2.0, green, blue, red), (4.0, blue, red, green)):
        sixth = np.where(largest == value, offset + (first - second) / divisor, sixth)
    hue = np.where(grey, 0.0, sixth / 6.0 % 1.0)
    return hue, spread / np.where(value == 0, 1.0, value), value


def from_hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Return float (H, W, 3) RGB of hue, saturation and value, each (H, W) in [0, 1]."""
    sector = np.floor(hue * 6)
    along = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - along * saturation)
    rising = value * (1 - (1 - along) * saturation)
    which = sector.astype(np.intp) % 6
    red = np.choose(which, (value, falling, low, low, rising, value))
    green = np.choose(which, (rising, value, value, falling, low, low))
    blue = np.choose(which, (low, low, rising, value, value, falling))
    return np.stack((red, green, blue), axis=-1)
