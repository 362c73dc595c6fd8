"""Weather: snow and fog (frost has a module of its own). Constants: arXiv 1903.12261, the authors' repository."""

from __future__ import annotations

import numpy as np

from bob.data.corruptions.image_filters import enlarge, fused, motion

# mean and spread of the flakes' field, its zoom, threshold, trace radius and sigma (pixels), share of the clean picture
_SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))  # thickness, decay of the roughness
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def snow(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Whiten the picture and let flakes fall across it. uint8 (H, W, 3) to float64 in [0, 255]."""
    clean = pixels.astype(np.float32) / np.float32(255)
    share = _SNOW[level][-1]
    flakes = _flakes(level, rng, pixels.shape[0], pixels.shape[1])[..., None]
    pale = share * clean + (1 - share) * np.maximum(clean, _grey(clean)[..., None] * 1.5 + 0.5)
    return np.clip(pale + flakes + np.rot90(flakes, k=2), 0, 1) * 255


def _grey(rgb: np.ndarray) -> np.ndarray:
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return fused(blue, _LUMA[2], fused(red, _LUMA[0], green * _LUMA[1]))  # OpenCV's order, to its last bit


def _flakes(level: int, rng: np.random.RandomState, height: int, width: int) -> np.ndarray:
    """Return float64 (height, width) in [0, 1]: a thresholded random field, enlarged and smeared downwards."""
    mean, spread, zoom, threshold, radius, sigma, _ = _SNOW[level]
    field = enlarge(rng.normal(size=(height, width), loc=mean, scale=spread), zoom)
    field[field < threshold] = 0
    smeared = motion(np.clip(field, 0, 1), int(radius), sigma, rng.uniform(-135, -45))
    return np.round(smeared * 255).astype(np.uint8)[:height, :width] / 255.0


def fog(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Lay a cloud over the picture. uint8 (H, W, 3) to float64 in [0, 255]."""
    thickness, decay = _FOG[level]
    height, width, _ = pixels.shape
    clean = pixels / 255.0
    brightest = clean.max()
    side = 1 << (max(height, width) - 1).bit_length()
    cloud = plasma(side, decay, rng)[:height, :width, None]
    return np.clip((clean + thickness * cloud) * brightest / (brightest + thickness), 0, 1) * 255


def plasma(side: int, decay: float, rng: np.random.RandomState) -> np.ndarray:
    """Return a random height map by the diamond-square algorithm: float32 (side, side) in [0, 1], tiling the plane.

    ``side`` is a power of two. The roughness starts at 100 squared and shrinks by ``decay`` with each halving.
    """
    heights = np.zeros((side, side), dtype=np.float32)
    step, rough = side, 100.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        _set_middles(heights[half::step, half::step], _both(_both(corners, -1, 0), -1, 1), rough, rng)
        middles = heights[half::step, half::step]
        _set_middles(heights[::step, half::step], _both(middles, 1, 0) + _both(corners, -1, 1), rough, rng)
        _set_middles(heights[half::step, ::step], _both(middles, 1, 1) + _both(corners, -1, 0), rough, rng)
        step, rough = half, rough / decay
    heights -= heights.min()
    return heights / heights.max()


def _both(values: np.ndarray, shift: int, axis: int) -> np.ndarray:
    return values + np.roll(values, shift, axis=axis)


def _set_middles(target: np.ndarray, total: np.ndarray, rough: float, rng: np.random.RandomState) -> None:
    target[...] = total / 4 + rough * rng.uniform(-rough, rough, total.shape)
