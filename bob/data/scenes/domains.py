"""Shifted domains: the same scene, seen otherwise. Labels, boxes and masks stay what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from bob.data.scenes.textures import Rng, octaves, uniform


def _clean(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    return pixels


def _sketch(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    grey = Image.fromarray(pixels).convert("L").filter(ImageFilter.GaussianBlur(1))
    edges = np.asarray(ImageOps.autocontrast(grey.filter(ImageFilter.FIND_EDGES), cutoff=1), dtype=np.float32)
    edges[:2], edges[-2:], edges[:, :2], edges[:, -2:] = 0, 0, 0, 0
    paper = uniform(rng, 215, 250) - edges * np.float32(0.85)
    return _bytes(np.repeat(paper[..., None], 3, axis=2))


def _night(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    dark = pixels.astype(np.float32) * np.array([0.2, 0.25, 0.38], dtype=np.float32)
    grain = rng.integers(-14, 15, pixels.shape).astype(np.float32)
    return _bytes(dark + grain)


def _fog(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    height, width, _ = pixels.shape
    depth = np.linspace(0.85, 0.45, height, dtype=np.float32)[:, None]
    thick = (depth + (octaves(rng, height, width, width / 3, 3) - np.float32(0.5)) * np.float32(0.35))[..., None]
    return _bytes(pixels * (1 - thick) + np.float32(uniform(rng, 200, 235)) * thick)


def _pixelated(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    image = Image.fromarray(pixels)
    small = image.resize((max(1, image.width // 5), max(1, image.height // 5)), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST))


def _negative(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    return 255 - pixels


def _painting(pixels: np.ndarray, rng: Rng) -> np.ndarray:
    flat = Image.fromarray(pixels).filter(ImageFilter.MedianFilter(7))
    return np.asarray(ImageOps.posterize(flat, 3))


_SHIFTS: dict[str, Callable[[np.ndarray, Rng], np.ndarray]] = {
    "clean": _clean,
    "sketch": _sketch,
    "night": _night,
    "fog": _fog,
    "pixelated": _pixelated,
    "negative": _negative,
    "painting": _painting,
}
DOMAINS: tuple[str, ...] = tuple(_SHIFTS)


def shift(pixels: np.ndarray, domain: str, rng: Rng) -> np.ndarray:
    """Return uint8 (H, W, 3) pixels as they look in ``domain``, one of ``DOMAINS``."""
    return np.ascontiguousarray(_SHIFTS[domain](pixels, rng))


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
