"""Light and camera: gradient, a cast shadow, blur, sensor noise."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bob.data.scenes.textures import Rng, uniform


def expose(canvas: np.ndarray, rng: Rng) -> np.ndarray:
    """Return the painted float32 (H, W, 3) canvas as the camera sees it: uint8 (H, W, 3)."""
    size = canvas.shape[0]
    lit = canvas * _gradient(rng, size)[..., None] * _shadow(rng, size)[..., None]
    tint = 1 + (rng.random(3).astype(np.float32) - np.float32(0.5)) * np.float32(0.24)
    lit = lit * tint * np.float32(uniform(rng, 0.8, 1.2))
    image = Image.fromarray(np.clip(np.rint(lit), 0, 255).astype(np.uint8))
    radius = uniform(rng, 0, 1.3) * size / 160
    image = image.filter(ImageFilter.GaussianBlur(radius))
    strength = 2 + int(rng.integers(9))
    noise = rng.integers(-strength, strength + 1, (2, size, size, 3), dtype=np.int16).sum(axis=0, dtype=np.int16)
    return np.clip(np.asarray(image, dtype=np.int16) + noise, 0, 255).astype(np.uint8)


def _gradient(rng: Rng, size: int) -> np.ndarray:
    """Return a brightness ramp (H, W) between the four corners."""
    corners = rng.integers(110, 256, (2, 2), dtype=np.uint8)
    ramp = Image.fromarray(corners).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(ramp, dtype=np.float32) / np.float32(205)


def _shadow(rng: Rng, size: int) -> np.ndarray:
    """Return a soft-edged shadow (H, W) of something outside the picture, or none."""
    depth = uniform(rng, 0.0, 0.55)
    corners = [(uniform(rng, -0.3, 1.3) * size, uniform(rng, -0.3, 1.3) * size) for _ in range(4)]
    layer = Image.new("L", (size, size), 0)
    ImageDraw.Draw(layer).polygon(corners, fill=255)
    layer = layer.filter(ImageFilter.BoxBlur(uniform(rng, 1, 8) * size / 160))
    return 1 - np.asarray(layer, dtype=np.float32) / np.float32(255) * np.float32(depth)
