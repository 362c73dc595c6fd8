"""Blur: defocus, glass, motion, zoom and Gaussian. Constants: arXiv 1903.12261, the authors' repository."""

from __future__ import annotations

import numpy as np

from bob.data.corruptions.image_filters import correlate, disk, enlarge, gaussian, motion

_DEFOCUS = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius and softness of the circle, pixels
_GLASS = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # sigma, reach (pixels), passes
_MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))  # radius, sigma, pixels
_ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end (excluded), step
_GAUSSIAN = (1, 2, 3, 4, 6)  # sigma, pixels


def gaussian_blur(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Blur with a normal curve. uint8 (H, W, 3) to float64 in [0, 255]."""
    return np.clip(gaussian(pixels / 255.0, _GAUSSIAN[level]), 0, 1) * 255


def defocus_blur(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Blur with a disk, as a lens out of focus. uint8 (H, W, 3) to float64 in [0, 255]."""
    radius, softness = _DEFOCUS[level]
    return np.clip(correlate(pixels / 255.0, disk(radius, softness)), 0, 1) * 255


def motion_blur(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Smear along a line within 45 degrees of level. uint8 (H, W, 3) to float64 in [0, 255]."""
    radius, sigma = _MOTION[level]
    return np.clip(motion(pixels, radius, sigma, rng.uniform(-45, 45)), 0, 255)


def zoom_blur(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Average the picture with ever larger versions of itself. uint8 (H, W, 3) to float32 in [0, 255]."""
    end, step = _ZOOM[level]
    factors = np.arange(1, end, step)
    clean = (pixels / 255.0).astype(np.float32)
    height, width, channels = clean.shape
    total = np.zeros_like(clean)
    for channel in range(channels):
        for factor in factors:
            total[..., channel] += enlarge(clean[..., channel], factor)[:height, :width]
    return np.clip((clean + total) / (len(factors) + 1), 0, 1) * 255


def glass_blur(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Blur, scatter pixels locally, blur again, as through frosted glass. uint8 (H, W, 3) to float64 in [0, 255]."""
    sigma, reach, passes = _GLASS[level]
    values = (gaussian(pixels / 255.0, sigma) * 255).astype(np.uint8)
    for _ in range(passes):
        values = _scatter(values, reach, rng)
    return np.clip(gaussian(values / 255.0, sigma), 0, 1) * 255


def _scatter(values: np.ndarray, reach: int, rng: np.random.RandomState) -> np.ndarray:
    """Copy to each inner pixel, from the bottom right one backwards, a neighbour as it then is.

    Each step reads one pixel, which an earlier step may have written, so a pixel's origin is the end of a chain.
    Chains are followed for all pixels at once, twice as far with each round, instead of pixel by pixel.
    """
    height, width, channels = values.shape
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    offsets = rng.randint(-reach, reach, size=(len(rows), len(columns), 2))
    place = rows[:, None] * width + columns
    read = (rows[:, None] + offsets[..., 1]) * width + columns + offsets[..., 0]
    inner = np.zeros(height * width, dtype=bool)
    inner[place] = True
    written = inner[read] & (read > place)
    count = height * width
    origin = np.arange(2 * count)  # the first half: a pixel before the pass; the second: after it
    origin[count + place] = np.where(written, count + read, read)
    origin[count:][~inner] -= count
    while origin.max() >= count:
        origin = origin[origin]
    return values.reshape(count, channels)[origin[count:]].reshape(values.shape)
