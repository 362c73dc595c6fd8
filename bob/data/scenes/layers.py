"""Layers: what one object or piece of clutter covers, and how it is painted onto the canvas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bob.data.scenes.shapes import ALL_CLASSES, DARK, RECIPES, SECOND, Part
from bob.data.scenes.textures import Rng, octaves, random_colour, random_texture, uniform

SUPERSAMPLING = 2  # the blocks of four below count on it
MAIN_SCALE = (0.28, 0.48)  # half the object's longer side, in picture sides
SMALL_SCALE = (0.3, 0.55)  # in main scales
CLUTTER = (5, 15)
MIN_CONTRAST = 140.0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One thing in the scene.

    Attributes:
        category: Its class, or None for clutter.
        is_main: Whether it gives the picture its label.
        centre: Its middle in pixels.
        radius: Half its longer side in pixels.
        tones: uint8 (H, W): 0 where it is not, else the part's tone.
        cover: float32 (H, W) in [0, 1]: how much of a pixel it covers.
    """

    category: int | None
    is_main: bool
    centre: tuple[float, float]
    radius: float
    tones: np.ndarray
    cover: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Pixels covered at least by half, bool (H, W)."""
        return self.cover >= 0.5


def main_layer(rng: Rng, category: int, size: int) -> Layer:
    """Place the main object: somewhere near the middle, at any of several scales."""
    radius = uniform(rng, *MAIN_SCALE) * size
    slack = max(0.0, size / 2 - radius) * 0.8
    centre = tuple(size / 2 + uniform(rng, -slack, slack) for _ in range(2))
    return _draw(rng, category, (centre[0], centre[1]), radius, size, is_main=True)


def small_layer(rng: Rng, category: int, size: int, main: Layer) -> Layer:
    """Place another object, clearly smaller than the main one, anywhere."""
    radius = uniform(rng, *SMALL_SCALE) * main.radius
    centre = (uniform(rng, 0.06, 0.94) * size, uniform(rng, 0.06, 0.94) * size)
    return _draw(rng, category, centre, radius, size, is_main=False)


def occluder(rng: Rng, size: int, main: Layer) -> Layer:
    """Place a bar or a blob in front of part of the main object."""
    angle = uniform(rng, 0, 2 * math.pi)
    away = uniform(rng, 0.3, 1.0) * main.radius
    centre = (main.centre[0] + away * math.cos(angle), main.centre[1] + away * math.sin(angle))
    if rng.random() < 0.5:
        half = uniform(rng, 0.04, 0.12)
        outline = [(-3.0, -half), (3.0, -half), (3.0, half), (-3.0, half)]
    else:
        outline = _blob(rng, uniform(rng, 0.2, 0.45))
    parts = [Part(1, outline)]
    return _rasterise(rng, parts, None, centre, main.radius, size, turn=math.pi, is_main=False)


def _draw(rng: Rng, category: int, centre: tuple[float, float], radius: float, size: int, *, is_main: bool) -> Layer:
    parts = RECIPES[ALL_CLASSES[category]](rng)
    return _rasterise(rng, parts, category, centre, radius, size, turn=math.radians(25), is_main=is_main)


def _rasterise(
    rng: Rng,
    parts: list[Part],
    category: int | None,
    centre: tuple[float, float],
    radius: float,
    size: int,
    *,
    turn: float,
    is_main: bool,
) -> Layer:
    angle, mirror = uniform(rng, -turn, turn), -1.0 if rng.random() < 0.5 else 1.0
    squeeze, shear = uniform(rng, 0.75, 1.0), uniform(rng, -0.2, 0.2)
    cosine, sine = math.cos(angle), math.sin(angle)

    def place(x: float, y: float) -> tuple[float, float]:
        x = mirror * x * squeeze + shear * y
        across, down = x * cosine - y * sine, x * sine + y * cosine
        # Rounded, so that the last bit of a maths library cannot move an edge.
        return tuple(round((c + v * radius) * SUPERSAMPLING, 3) for c, v in zip(centre, (across, down), strict=True))  # type: ignore[return-value]

    image = Image.new("L", (size * SUPERSAMPLING,) * 2, 0)
    draw = ImageDraw.Draw(image)
    for part in parts:
        draw.polygon([place(*point) for point in part.points], fill=part.tone)
    fine = np.asarray(image)
    corners = [fine[row::2, column::2] for row in range(2) for column in range(2)]
    inked = [(corner > 0).astype(np.uint8) for corner in corners]
    cover = (inked[0] + inked[1] + inked[2] + inked[3]).astype(np.float32) / np.float32(4)
    tones = np.maximum(np.maximum(corners[0], corners[1]), np.maximum(corners[2], corners[3]))
    return Layer(category=category, is_main=is_main, centre=centre, radius=radius, tones=tones, cover=cover)


def paint(canvas: np.ndarray, layer: Layer, rng: Rng) -> None:
    """Paint the layer onto the float32 (H, W, 3) canvas, in place: cast shadow, textures, light on its edges."""
    rows, columns = np.flatnonzero(layer.cover.any(axis=1)), np.flatnonzero(layer.cover.any(axis=0))
    if not rows.size:
        return
    size = canvas.shape[0]
    unit = size / 160
    margin = math.ceil(10 * unit)
    window = (
        slice(max(0, int(rows[0]) - margin), min(size, int(rows[-1]) + 1 + margin)),
        slice(max(0, int(columns[0]) - margin), min(size, int(columns[-1]) + 1 + margin)),
    )
    under, cover, tones = canvas[window], layer.cover[window], layer.tones[window]
    relief = _blurred(cover, 3.5 * unit)
    dx, dy = (int(rng.integers(-5, 6)) * max(1, round(unit)) for _ in range(2))
    cast = np.roll(relief, (dy, dx), axis=(0, 1))
    under = under * (1 - cast * np.float32(uniform(rng, 0.15, 0.6)))[..., None]
    surface = _surface(rng, tones, unit, behind=np.rint(np.mean(under[cover > 0][::7], axis=0, dtype=np.float64)))
    edge = (np.roll(relief, (1, 1), axis=(0, 1)) - np.roll(relief, (-1, -1), axis=(0, 1))) * np.float32(1.6)
    surface = surface * (1 + edge)[..., None]
    canvas[window] = under + (surface - under) * cover[..., None]


def _surface(rng: Rng, tones: np.ndarray, unit: float, behind: np.ndarray) -> np.ndarray:
    """Return the textured colours (h, w, 3) of the parts; the body differs from what lies behind it."""
    body = random_colour(rng)
    for _ in range(8):
        if float(np.abs(body - behind).sum()) >= MIN_CONTRAST:
            break
        body = random_colour(rng)
    height, width = tones.shape
    other = body + (random_colour(rng) - body) * np.float32(uniform(rng, 0.1, 0.6))
    surface = random_texture(rng, height, width, unit, np.stack([body, other]))
    accents = np.stack([random_colour(rng), random_colour(rng)])
    dark = random_colour(rng) * np.float32(uniform(rng, 0.15, 0.6))
    accented = tones == SECOND
    if accented.any():
        surface[accented] = random_texture(rng, height, width, unit, accents)[accented]
    surface[tones == DARK] = dark
    return surface


def _blurred(cover: np.ndarray, radius: float) -> np.ndarray:
    image = Image.fromarray((cover * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(radius))
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _blob(rng: Rng, radius: float) -> list[tuple[float, float]]:
    corners = 9
    reach = [radius * uniform(rng, 0.6, 1.2) for _ in range(corners)]
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    return [(r * math.cos(turn), r * math.sin(turn)) for r, turn in zip(reach, turns, strict=True)]


def background(layout: Rng, rng: Rng, size: int) -> np.ndarray:
    """Return float32 (H, W, 3): a wall, mostly a floor, and clutter in front of them."""
    unit = size / 160
    canvas = random_texture(rng, size, size, unit, np.stack([random_colour(rng), random_colour(rng)]))
    if layout.random() < 0.75:
        horizon = int(uniform(layout, 0.35, 0.8) * size)
        floor = np.stack([random_colour(rng), random_colour(rng)])
        canvas[horizon:] = random_texture(rng, size - horizon, size, unit, floor)
    image = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(layout.integers(*CLUTTER))):
        _clutter(layout, rng, draw, size)
    rough = octaves(rng, size, size, 10 * unit, 2) - np.float32(0.5)
    return np.asarray(image, dtype=np.float32) + (rough * np.float32(40))[..., None]


def _clutter(layout: Rng, rng: Rng, draw: ImageDraw.ImageDraw, size: int) -> None:
    """Draw one meaningless thing: a blob, a slab or a stick."""
    x, y = uniform(layout, 0, size), uniform(layout, 0, size)
    colour = tuple(int(part) for part in random_colour(rng))
    kind = int(layout.integers(3))
    radius = uniform(layout, 0.03, 0.16) * size
    if kind == 0:
        points = [(round(x + dx, 3), round(y + dy, 3)) for dx, dy in _blob(layout, radius)]
        draw.polygon(points, fill=colour)
        return
    angle = uniform(layout, 0, math.pi)
    along = (math.cos(angle) * radius * 1.6, math.sin(angle) * radius * 1.6)
    share = uniform(layout, 0.04, 0.15) if kind == 1 else uniform(layout, 0.3, 0.8)
    across = (-along[1] * share, along[0] * share)
    corners = ((1, 1), (1, -1), (-1, -1), (-1, 1))
    points = [(x + a * along[0] + b * across[0], y + a * along[1] + b * across[1]) for a, b in corners]
    draw.polygon([(round(px, 3), round(py, 3)) for px, py in points], fill=colour)
