"""Procedural textures. Only + - * / and Pillow's fixed-point resizing: the same bytes whatever the processor."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image

Field = np.ndarray  # float32 (height, width) in [0, 1]
Rng = np.random.Generator


def uniform(rng: Rng, low: float, high: float) -> float:
    """Return a number in [low, high)."""
    return low + (high - low) * float(rng.random())


def smooth_noise(rng: Rng, height: int, width: int, rows: int, columns: int) -> Field:
    """Return random values on a coarse grid, enlarged smoothly."""
    grid = rng.integers(0, 256, (max(2, rows), max(2, columns)), dtype=np.uint8)
    image = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def octaves(rng: Rng, height: int, width: int, cell: float, count: int = 4) -> Field:
    """Return noise of several scales, the coarsest with cells of ``cell`` pixels, each finer one half as strong."""
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(count):
        rows, columns = (math.ceil(side * 2**octave / cell) for side in (height, width))
        total += smooth_noise(rng, height, width, min(rows, height), min(columns, width)) * np.float32(0.5**octave)
    return _stretch(total / np.float32(2 - 0.5 ** (count - 1)), 2.0)


def stripes(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return bands at an angle, bent by noise, hard or soft."""
    along = _direction(rng, height, width) / np.float32(uniform(rng, 5, 18) * unit)
    bent = along + smooth_noise(rng, height, width, 4, 4) * np.float32(uniform(rng, 0, 1.2))
    return _stretch(_triangle(bent), uniform(rng, 1, 6))


def checks(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return a chessboard at an angle."""
    period = np.float32(uniform(rng, 6, 20) * unit)
    angle = uniform(rng, 0, math.pi / 2)
    one = _direction(rng, height, width, angle) / period
    other = _direction(rng, height, width, angle + math.pi / 2) / period
    return _stretch((_triangle(one) - np.float32(0.5)) * (_triangle(other) - np.float32(0.5)) * 2 + np.float32(0.5), 6)


def dots(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return round spots on a turned lattice."""
    period = np.float32(uniform(rng, 6, 16) * unit)
    angle = uniform(rng, 0, math.pi / 2)
    one = _direction(rng, height, width, angle) / period
    other = _direction(rng, height, width, angle + math.pi / 2) / period
    off = [axis - np.floor(axis) - np.float32(0.5) for axis in (one, other)]
    distance = off[0] * off[0] + off[1] * off[1]
    return _stretch(np.float32(0.5) + (distance - np.float32(uniform(rng, 0.04, 0.14))) * 4, 2.5)


def grain(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return rings drawn out along one side, as in sawn wood."""
    bend = smooth_noise(rng, height, width, 3, 2 + int(rng.integers(4)))
    rings = bend * np.float32(uniform(rng, 3, 9))
    fibre = smooth_noise(rng, height, width, height, max(2, width // 12))
    field = _triangle(rings) * np.float32(0.7) + fibre * np.float32(0.3)
    return field if rng.random() < 0.5 else np.ascontiguousarray(_turned(field))


def fur(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return short strokes that mostly run one way."""
    stretch = uniform(rng, 4, 10)
    rows, columns = math.ceil(height / (1.5 * unit)), math.ceil(width / (stretch * unit))
    strokes = smooth_noise(rng, height, width, min(rows, height), columns)
    field = _stretch(strokes * np.float32(0.7) + smooth_noise(rng, height, width, 4, 4) * np.float32(0.3), 1.6)
    return field if rng.random() < 0.5 else np.ascontiguousarray(_turned(field))


def cloudy(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return noise of several scales."""
    return octaves(rng, height, width, uniform(rng, 14, 60) * unit)


def speckle(rng: Rng, height: int, width: int, unit: float) -> Field:
    """Return fine noise with hard edges, as in stone or gravel."""
    return _stretch(octaves(rng, height, width, uniform(rng, 4, 10) * unit, 2), uniform(rng, 1, 3))


KINDS: tuple[Callable[[Rng, int, int, float], Field], ...] = (
    cloudy,
    stripes,
    checks,
    dots,
    grain,
    fur,
    speckle,
)


def random_texture(rng: Rng, height: int, width: int, unit: float, colours: np.ndarray) -> np.ndarray:
    """Return float32 (height, width, 3) in [0, 255]: a random texture between two colours (2, 3), roughened.

    ``unit`` is the length in pixels that the textures' periods are given in.
    """
    field = KINDS[int(rng.integers(len(KINDS)))](rng, height, width, unit)
    rough = octaves(rng, height, width, 24 * unit, 3) - np.float32(0.5)
    field = np.clip(field + rough * np.float32(uniform(rng, 0.2, 0.6)), 0, 1)[..., None]
    low, high = colours.astype(np.float32)
    return low + (high - low) * field


def random_colour(rng: Rng) -> np.ndarray:
    """Return a float32 (3,) colour in [0, 255], not too often grey."""
    colour = rng.integers(10, 246, 3).astype(np.float32)
    grey = np.float32((int(colour[0]) + int(colour[1]) + int(colour[2])) / 3)
    return grey + (colour - grey) * np.float32(uniform(rng, 0.2, 1.0))


def _direction(rng: Rng, height: int, width: int, angle: float | None = None) -> Field:
    """Return each pixel's distance in pixels along a direction."""
    turn = uniform(rng, 0, math.pi) if angle is None else angle
    # Six digits are exact enough, and the same from every maths library.
    across, down = np.float32(round(math.cos(turn), 6)), np.float32(round(math.sin(turn), 6))
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    return rows * down + columns * across


def _triangle(values: Field) -> Field:
    """Return a wave of period 1 between 0 and 1."""
    return np.abs((values - np.floor(values)) * 2 - 1)


def _stretch(values: Field, gain: float) -> Field:
    return np.clip((values - np.float32(0.5)) * np.float32(gain) + np.float32(0.5), 0, 1)


def _turned(field: Field) -> Field:
    """Return the field turned by a quarter, at its own size."""
    height, width = field.shape
    image = Image.fromarray((field * 255).astype(np.uint8)).transpose(Image.Transpose.ROTATE_90)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32) / np.float32(255)
