"""The silhouettes: each class is a recipe of polygons whose proportions vary from one object to the next.

Coordinates are in [-1, 1], y downwards. A part's tone picks its texture; tone 0 cuts a hole into what was drawn before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from bob.data.scenes.textures import Rng, uniform

Point = tuple[float, float]
HOLE, BODY, SECOND, DARK = 0, 1, 2, 3


class Part(NamedTuple):
    """A polygon of one tone."""

    tone: int
    points: list[Point]


def rect(tone: int, left: float, top: float, right: float, bottom: float) -> Part:
    """Return an upright rectangle."""
    return Part(tone, [(left, top), (right, top), (right, bottom), (left, bottom)])


def disc(tone: int, x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> Part:
    """Return an ellipse, or its sector between two angles in degrees (0 right, 90 down)."""
    steps = 28
    angles = [math.radians(start + (end - start) * step / steps) for step in range(steps + 1)]
    return Part(tone, [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles])


def _mug(rng: Rng) -> list[Part]:
    width, height, taper = uniform(rng, 0.45, 0.62), uniform(rng, 0.55, 0.85), uniform(rng, 0, 0.12)
    grip = uniform(rng, 0.28, 0.4)
    body = [
        (-width - 0.2, -height),
        (width - 0.2, -height),
        (width - 0.2 - taper, height),
        (-width - 0.2 + taper, height),
    ]
    return [
        disc(BODY, width - 0.2, 0, grip, height * 0.6),
        disc(HOLE, width - 0.2, 0, grip * 0.6, height * 0.38),
        Part(BODY, body),
        disc(BODY, -0.2, height, width - taper, 0.1),
        disc(DARK, -0.2, -height, width, 0.13),
    ]


def _fish(rng: Rng) -> list[Part]:
    long, high, tail = uniform(rng, 0.6, 0.75), uniform(rng, 0.28, 0.48), uniform(rng, 0.3, 0.5)
    back = long - 0.2
    return [
        Part(SECOND, [(back - 0.08, 0), (1, -tail), (0.86, 0), (1, tail)]),
        Part(SECOND, [(-0.3, -high * 0.8), (0.05, -high - 0.25), (0.3, -high * 0.6)]),
        Part(SECOND, [(-0.15, high * 0.7), (0.1, high + 0.2), (0.22, high * 0.6)]),
        disc(BODY, -0.2, 0, long, high),
        disc(DARK, -0.2 - long * 0.62, -high * 0.22, 0.07, 0.07),
        Part(DARK, [(-0.42, -high * 0.5), (-0.36, 0), (-0.42, high * 0.5), (-0.39, 0)]),
    ]


def _bottle(rng: Rng) -> list[Part]:
    wide, neck = uniform(rng, 0.26, 0.4), uniform(rng, 0.09, 0.14)
    shoulder, top = uniform(rng, -0.35, -0.05), -0.85
    outline = [(-neck, top), (neck, top), (neck, shoulder - 0.2), (wide, shoulder + 0.1), (wide, 0.95), (-wide, 0.95)]
    outline += [(-wide, shoulder + 0.1), (-neck, shoulder - 0.2)]
    return [
        Part(BODY, outline),
        rect(DARK, -neck - 0.03, -1, neck + 0.03, top + 0.02),
        rect(SECOND, -wide, shoulder + 0.35, wide, uniform(rng, 0.6, 0.8)),
    ]


def _star(rng: Rng) -> list[Part]:
    count, inner = 5 + int(rng.integers(2)), uniform(rng, 0.36, 0.52)

    def corners(scale: float) -> list[Point]:
        turns = [(place, scale * (1.0 if place % 2 == 0 else inner)) for place in range(2 * count)]
        return [(r * math.sin(math.pi * k / count), -r * math.cos(math.pi * k / count)) for k, r in turns]

    parts = [Part(BODY, corners(1.0))]
    return [*parts, Part(SECOND, corners(0.55))] if rng.random() < 0.5 else parts


def _key(rng: Rng) -> list[Part]:
    ring, thick = uniform(rng, 0.28, 0.38), uniform(rng, 0.07, 0.11)
    centre = -1 + ring
    parts = [disc(BODY, centre, 0, ring, ring), disc(HOLE, centre, 0, ring * 0.52, ring * 0.52)]
    parts.append(rect(BODY, centre + ring * 0.85, -thick, 1, thick))
    for place in range(2 + int(rng.integers(2))):
        left = 0.88 - 0.24 * place
        parts.append(rect(BODY, left - 0.1, thick - 0.02, left + 0.04, thick + uniform(rng, 0.14, 0.3)))
    return parts


def _tree(rng: Rng) -> list[Part]:
    trunk = uniform(rng, 0.08, 0.14)
    parts = [rect(SECOND, -trunk, 0.2, trunk, 1)]
    if rng.random() < 0.5:
        for level, half in enumerate((0.42, 0.54, 0.66)):
            top = -1 + 0.42 * level
            parts.append(Part(BODY, [(0, top), (half, top + 0.7), (-half, top + 0.7)]))
        return parts
    for _ in range(6):
        radius = uniform(rng, 0.26, 0.4)
        parts.append(disc(BODY, uniform(rng, -0.4, 0.4), uniform(rng, -0.62, 0.0), radius, radius))
    return parts


def _house(rng: Rng) -> list[Part]:
    wide, eaves, slope = uniform(rng, 0.6, 0.8), uniform(rng, -0.2, 0.05), uniform(rng, 0.6, 0.85)
    door = uniform(rng, -0.3, 0.1)
    parts = [rect(BODY, -wide, eaves, wide, 0.9)]
    if rng.random() < 0.6:
        parts.append(rect(SECOND, wide * 0.4, eaves - slope, wide * 0.62, eaves))
    parts.append(Part(SECOND, [(-wide - 0.17, eaves + 0.02), (0, eaves - slope), (wide + 0.17, eaves + 0.02)]))
    parts.append(rect(DARK, door - 0.13, 0.35, door + 0.13, 0.9))
    for left in (-wide + 0.12, wide - 0.4):
        parts.append(rect(DARK, left, eaves + 0.16, left + 0.25, eaves + 0.4))
    return parts


def _car(rng: Rng) -> list[Part]:
    roof, front, back = uniform(rng, -0.5, -0.36), uniform(rng, 0.4, 0.62), uniform(rng, -0.85, -0.55)
    wheel = uniform(rng, 0.19, 0.25)
    cabin = [(back, -0.02), (back + 0.22, roof), (front - 0.32, roof), (front, -0.02)]
    glass = [(back + 0.12, -0.04), (back + 0.27, roof + 0.08), (front - 0.37, roof + 0.08), (front - 0.14, -0.04)]
    hull = [(-1, 0.0), (-0.94, -0.06), (0.7, -0.06), (0.96, 0.08), (1, 0.34), (-1, 0.34)]
    parts = [Part(BODY, cabin), Part(SECOND, glass), rect(BODY, -0.13, roof, -0.06, 0), Part(BODY, hull)]
    for x in (-0.55, 0.58):
        parts += [disc(DARK, x, 0.34, wheel, wheel), disc(SECOND, x, 0.34, wheel * 0.45, wheel * 0.45)]
    return parts


def _bird(rng: Rng) -> list[Part]:
    long, high, head = uniform(rng, 0.46, 0.58), uniform(rng, 0.26, 0.36), uniform(rng, 0.18, 0.25)
    x, y = -0.52, -0.38
    wing = [(-0.2, -0.08), (0.5, uniform(rng, -0.25, 0.1)), (0.62, 0.14), (0.05, 0.24)]
    return [
        Part(SECOND, [(0.35, -0.08), (1, uniform(rng, -0.4, 0.0)), (0.95, 0.15), (0.35, 0.16)]),
        rect(DARK, -0.1, 0.2, -0.05, 0.8),
        rect(DARK, 0.1, 0.2, 0.15, 0.8),
        disc(BODY, 0, 0.05, long, high),
        Part(BODY, [(-0.4, 0.1), (x - head * 0.8, y), (x + head * 0.8, y - 0.05), (0, -0.2)]),
        disc(BODY, x, y, head, head),
        Part(DARK, [(x - head * 0.8, y - 0.1), (x - head - 0.28, y + 0.05), (x - head * 0.8, y + 0.1)]),
        Part(SECOND, wing),
        disc(DARK, x - 0.05, y - 0.05, 0.05, 0.05),
    ]


def _umbrella(rng: Rng) -> list[Part]:
    wide, high, ribs = uniform(rng, 0.8, 1.0), uniform(rng, 0.6, 0.85), 4 + int(rng.integers(3))
    edge = -0.05
    parts = [rect(DARK, -0.04, -0.9, 0.04, 0.8), disc(DARK, 0.14, 0.8, 0.18, 0.2, 0, 180)]
    parts += [disc(HOLE, 0.14, 0.79, 0.1, 0.12, 0, 180), disc(BODY, 0, edge, wide, high, 180, 360)]
    half = wide / ribs
    parts += [disc(HOLE, -wide + half * (2 * rib + 1), edge, half, 0.12) for rib in range(ribs)]
    parts += [
        Part(SECOND, [(0, edge - high), (-wide + half * 2 * rib, edge), (-wide + half * (2 * rib + 1.2), edge - 0.13)])
        for rib in range(1, ribs, 2)
    ]
    return [*parts, rect(DARK, -0.04, edge - 0.13, 0.04, 0.5), rect(DARK, -0.03, edge - high - 0.12, 0.03, edge - high)]


def _chair(rng: Rng) -> list[Part]:
    wide, seat = uniform(rng, 0.4, 0.55), uniform(rng, 0.05, 0.2)
    legs = [rect(SECOND, x - 0.06, seat, x + 0.06, 1) for x in (-wide + 0.06, wide - 0.06)]
    back = [rect(SECOND, -wide, -1, -wide + 0.13, seat), rect(SECOND, wide - 0.13, -1, wide, seat)]
    slats = [rect(BODY, -wide, -0.95 + 0.3 * k, wide, -0.8 + 0.3 * k) for k in range(3)]
    return [*legs, *back, *slats, rect(BODY, -wide - 0.12, seat, wide + 0.12, seat + 0.17)]


def _mushroom(rng: Rng) -> list[Part]:
    stem, cap = uniform(rng, 0.14, 0.24), uniform(rng, 0.7, 0.95)
    foot = [(-stem, -0.1), (stem, -0.1), (stem * 1.4, 0.95), (-stem * 1.4, 0.95)]
    spots = [disc(DARK, x * cap, y, 0.1, 0.09) for x, y in ((-0.5, -0.35), (0.05, -0.6), (0.5, -0.3))]
    return [Part(SECOND, foot), disc(BODY, 0, 0, cap, uniform(rng, 0.7, 0.95), 180, 360), *spots]


def _sailboat(rng: Rng) -> list[Part]:
    wide, top = uniform(rng, 0.7, 0.95), uniform(rng, -1.0, -0.8)
    hull = [(-wide, 0.5), (wide, 0.5), (wide - 0.28, 0.9), (-wide + 0.2, 0.9)]
    return [
        Part(BODY, hull),
        rect(DARK, -0.04, top, 0.04, 0.5),
        Part(SECOND, [(0.09, top + 0.05), (wide * 0.9, 0.38), (0.09, 0.38)]),
        Part(SECOND, [(-0.09, top + 0.25), (-wide * 0.7, 0.38), (-0.09, 0.38)]),
    ]


def _cactus(rng: Rng) -> list[Part]:
    thick, left, right = uniform(rng, 0.18, 0.26), uniform(rng, -0.1, 0.3), uniform(rng, -0.3, 0.2)
    parts = [rect(BODY, -thick, -0.75, thick, 0.7), disc(BODY, 0, -0.75, thick, 0.22)]
    for side, y in ((-1, left), (1, right)):
        parts += [rect(BODY, min(0, side * 0.6), y, max(0, side * 0.6), y + 0.22)]
        parts += [rect(BODY, side * 0.6 - 0.12, y - 0.45, side * 0.6 + 0.12, y + 0.22)]
        parts += [disc(BODY, side * 0.6, y - 0.45, 0.12, 0.12)]
    return [*parts, Part(SECOND, [(-0.45, 0.6), (0.45, 0.6), (0.34, 1), (-0.34, 1)])]


RECIPES: dict[str, Callable[[Rng], list[Part]]] = {
    "bird": _bird,
    "bottle": _bottle,
    "car": _car,
    "fish": _fish,
    "house": _house,
    "key": _key,
    "mug": _mug,
    "star": _star,
    "tree": _tree,
    "umbrella": _umbrella,
    "cactus": _cactus,
    "chair": _chair,
    "mushroom": _mushroom,
    "sailboat": _sailboat,
}
ALL_CLASSES: tuple[str, ...] = tuple(RECIPES)
CLASSES: tuple[str, ...] = ALL_CLASSES[:10]
UNSEEN_CLASSES: tuple[str, ...] = ALL_CLASSES[10:]
