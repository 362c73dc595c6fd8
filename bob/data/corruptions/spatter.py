"""Spatter: drops of water or mud on the lens. Constants: arXiv 1903.12261, the authors' repository."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bob.data.corruptions.drops import canny, capped_distance, equalised, rounded_mean
from bob.data.corruptions.image_filters import gaussian

# mean and spread of the liquid's field, its sigma (pixels), threshold, strength (water) or sigma (mud)
_SPATTER = (
    (0.65, 0.3, 4, 0.69, 0.6),
    (0.65, 0.3, 3, 0.68, 0.6),
    (0.65, 0.3, 2, 0.68, 0.5),
    (0.65, 0.3, 1, 0.65, 1.5),
    (0.67, 0.4, 1, 0.65, 1.5),
)
_MUD_FROM = 3  # the level from which it is mud
_WATER = (np.array([175, 238, 238]) / 255.0).astype(np.float32)  # pale turquoise
_MUD = np.array([63, 42, 20]) / 255.0  # brown
_EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
_REACH = 20  # pixels from a drop's rim beyond which its shade is flat


def spatter(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Let drops of water (levels 0-2) or mud (3-4) fall on the picture. uint8 (H, W, 3) to float in [0, 255].

    Where no drop is drawn the picture stays as it is.
    """
    mean, spread, sigma, threshold, last = _SPATTER[level]
    clean = pixels.astype(np.float32) / np.float32(255)
    liquid = gaussian(rng.normal(size=pixels.shape[:2], loc=mean, scale=spread), sigma)
    liquid[liquid < threshold] = 0
    if level >= _MUD_FROM:
        cover = gaussian((liquid > threshold).astype(np.float32), last)
        cover[cover < 0.8] = 0
        return np.clip(clean * (1 - cover[..., None]) + _MUD * cover[..., None], 0, 1) * 255
    drops = _shaded((liquid * 255).astype(np.uint8))
    if not drops.any():
        return pixels
    return np.clip(clean + (drops / drops.max() * np.float32(last))[..., None] * _WATER, 0, 1) * np.float32(255)


def _shaded(liquid: np.ndarray) -> np.ndarray:
    """Return float32 (H, W): each drop's thickness, embossed by the distance to its rim. uint8 (H, W) comes in."""
    distance = np.minimum(capped_distance(canny(liquid, 50, 150), _REACH), _REACH)
    flat = ndimage.uniform_filter(distance.astype(np.float64), 3, mode="mirror").astype(np.float32).astype(np.uint8)
    relief = ndimage.correlate(equalised(flat).astype(np.int64), _EMBOSS, mode="mirror")
    return liquid * rounded_mean(np.clip(relief, 0, 255)).astype(np.float32)
