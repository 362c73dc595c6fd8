"""Elastic deformation, pixelation and JPEG compression. Constants: the reference packages, see ``__init__``."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

_ELASTIC = (250 * 0.05, 250 * 0.065, 250 * 0.085, 250 * 0.1, 250 * 0.12)  # strength of the displacement
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # share of the sides' pixels that is kept
_JPEG = (25, 18, 15, 10, 7)  # quality


def elastic_transform(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Move each pixel by a smooth random field. uint8 (H, W, 3) to float32 in [0, 255].

    The field's reach is 0.5 % of the height in both directions, smoothed over 1 % of each side.
    """
    clean = pixels.astype(np.float32) / np.float32(255)
    height, width, channels = clean.shape
    right = _displacement(height, width, _ELASTIC[level], rng)
    down = _displacement(height, width, _ELASTIC[level], rng)
    where = np.stack((np.arange(height)[:, None] + down, np.arange(width)[None, :] + right))
    moved = [
        ndimage.map_coordinates(clean[..., channel], where, order=1, mode="reflect") for channel in range(channels)
    ]
    return np.clip(np.stack(moved, axis=-1), 0, 1) * 255


def _displacement(height: int, width: int, strength: float, rng: np.random.RandomState) -> np.ndarray:
    reach = height * 0.005
    field = rng.uniform(-reach, reach, size=(height, width))
    smooth = ndimage.gaussian_filter(field, (height * 0.01, width * 0.01), mode="reflect", truncate=3)
    return (smooth * strength).astype(np.float32)


def pixelate(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Shrink by averaging and enlarge by repeating. uint8 (H, W, 3) to uint8."""
    height, width, _ = pixels.shape
    share = _PIXELATE[level]
    small = Image.fromarray(pixels).resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.NEAREST))


def jpeg_compression(pixels: np.ndarray, level: int, rng: np.random.RandomState) -> np.ndarray:
    """Write and read the picture as JPEG. uint8 (H, W, 3) to uint8; the last bits are the installed library's."""
    stored = BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", quality=_JPEG[level])
    with Image.open(stored) as image:
        return np.asarray(image)
