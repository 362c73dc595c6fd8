"""Noise: Gaussian, shot, impulse and speckle. Constants: arXiv 1903.12261, the authors' repository."""

from __future__ import annotations

import numpy as np

_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation, white is 1
_SHOT = (60, 25, 12, 5, 3)  # photons a white pixel sends
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)  # share of values that are hit
_SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)  # standard deviation, the value itself is 1


def gaussian_noise(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Add normal noise to each value, as in low light. uint8 (H, W, 3) to float64 in [0, 255]."""
    return _levels(pixels / 255.0 + rng.normal(size=pixels.shape, scale=_GAUSSIAN[level]))


def shot_noise(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Draw each value from a Poisson distribution, as photons arrive. uint8 (H, W, 3) to float64 in [0, 255]."""
    photons = _SHOT[level]
    return _levels(rng.poisson(pixels / 255.0 * photons) / float(photons))


def impulse_noise(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Set values to black or white at random, as bit errors do. uint8 (H, W, 3) to whole levels.

    Draws as scikit-image's ``random_noise(mode="s&p")``: which values are hit, then which turn white.
    """
    hit = rng.random_sample(pixels.shape) <= _IMPULSE[level]
    white = rng.random_sample(pixels.shape) <= 0.5
    return np.where(hit, np.where(white, 255, 0), pixels)


def speckle_noise(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Add normal noise in proportion to each value. uint8 (H, W, 3) to float64 in [0, 255]."""
    clean = pixels / 255.0
    return _levels(clean + clean * rng.normal(size=pixels.shape, scale=_SPECKLE[level]))


def _levels(values: np.ndarray) -> np.ndarray:
    return np.clip(values, 0, 1) * 255
