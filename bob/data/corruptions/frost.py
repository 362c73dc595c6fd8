"""Frost: a photograph of ice laid over the picture. Constants: arXiv 1903.12261, the authors' repository."""

from __future__ import annotations

import math

import numpy as np

from bob.data.corruptions.photographs import FILES, frost_photograph

_FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))  # share of the picture, share of the ice
_SHARPNESS = -0.75  # OpenCV's parameter of the cubic kernel
_TAPS = 4


def frost(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Add a random cut of a random photograph. uint8 (H, W, 3) to float64 in [0, 255].

    The photograph is enlarged to cover the picture, and by a tenth more.

    Raises:
        ConfigError: The photographs are not installed.
    """
    clean_share, ice_share = _FROST[level]
    height, width, _ = pixels.shape
    ice = frost_photograph(rng.randint(len(FILES)))
    scale = 1.1 * max(1, height / ice.shape[0], width / ice.shape[1])
    tall, wide = math.ceil(ice.shape[0] * scale), math.ceil(ice.shape[1] * scale)
    top = rng.randint(0, tall - height)
    left = rng.randint(0, wide - width)
    cut = resized_cut(ice, (tall, wide), slice(top, top + height), slice(left, left + width))
    return np.clip(clean_share * pixels + ice_share * cut, 0, 255)


def resized_cut(image: np.ndarray, size: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    """Return ``rows`` and ``columns`` of the uint8 (H, W, 3) image enlarged to ``size`` by cubic convolution.

    Keys 1981 with a = -0.75 and the edge repeated, rounded once, as OpenCV's INTER_CUBIC with Intel's primitives;
    without them OpenCV rounds the weights to 1/2048, which changes 3 to 5 % of the values by one level.
    """
    across, across_weights = _taps(image.shape[1], size[1], columns)
    down, down_weights = _taps(image.shape[0], size[0], rows)
    first = down.min()
    used = image[first : down.max() + 1].astype(np.float64)
    narrow = np.zeros((used.shape[0], len(across), 3))
    cut = np.zeros((len(down), len(across), 3))
    for tap in range(_TAPS):
        narrow += used[:, across[:, tap]] * across_weights[:, tap, None]
    for tap in range(_TAPS):
        cut += narrow[down[:, tap] - first] * down_weights[:, tap, None, None]
    return np.clip(np.floor(cut + 0.5), 0, 255).astype(np.uint8)


def _taps(source: int, target: int, wanted: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each of n wanted places, the pixels it is made of and their weights: int and float64 (n, 4)."""
    place = (np.arange(wanted.start, wanted.stop) + 0.5) * (source / target) - 0.5
    first = np.floor(place).astype(np.intp) - 1
    pixels = first[:, None] + np.arange(_TAPS)
    return np.clip(pixels, 0, source - 1), _cubic(np.abs(place[:, None] - pixels))


def _cubic(distance: np.ndarray) -> np.ndarray:
    near = ((_SHARPNESS + 2) * distance - (_SHARPNESS + 3)) * distance**2 + 1
    far = ((_SHARPNESS * distance - 5 * _SHARPNESS) * distance + 8 * _SHARPNESS) * distance - 4 * _SHARPNESS
    return np.where(distance <= 1, near, far)
