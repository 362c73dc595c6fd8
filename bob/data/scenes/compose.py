"""Putting a scene together: background, clutter, objects, light, camera; and the labels that follow from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bob.core.errors import ConfigError, did_you_mean
from bob.data.dataset import SPLITS
from bob.data.scenes.camera import expose
from bob.data.scenes.domains import DOMAINS, shift
from bob.data.scenes.layers import Layer, background, main_layer, occluder, paint, small_layer
from bob.data.scenes.shapes import CLASSES, UNSEEN_CLASSES

VERSION = "scenes-1"
SEED = 20231030
SIZE = 160
MIN_VISIBLE_MAIN = 0.7
MIN_VISIBLE_SMALL = 0.4


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One rendered picture and everything known about it; n objects, the main one first.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        label: The main object's category.
        boxes: float32 (n, 4): left, top, right, bottom in pixels, right and bottom exclusive, of the visible part.
        categories: int64 (n,): indices into ``CLASSES + UNSEEN_CLASSES``.
        masks: bool (n, H, W): the visible part of each object; no pixel belongs to two.
        semantic: uint8 (H, W): 0 is background, else category + 1.
    """

    image: np.ndarray
    label: int
    boxes: np.ndarray
    categories: np.ndarray
    masks: np.ndarray
    semantic: np.ndarray


def label_of(split: str, index: int, *, unseen: bool = False) -> int:
    """Return the main object's category without rendering: classes take turns, so every prefix is balanced."""
    if unseen:
        return len(CLASSES) + index % len(UNSEEN_CLASSES)
    return index % len(CLASSES)


def render(split: str, index: int, *, size: int = SIZE, domain: str = "clean", unseen: bool = False) -> Scene:
    """Render one scene. The same arguments give the same bytes.

    Args:
        split: "train", "val" or "test".
        index: Which scene of the split, from 0; there is no last one.
        size: Side of the square picture in pixels, at least 32.
        domain: One of ``DOMAINS``; the scene's labels are the same in all of them.
        unseen: Take the objects from ``UNSEEN_CLASSES``, which no other scene shows.

    Raises:
        ConfigError: An argument outside what it may be.
    """
    _check(split, index, size, domain)
    streams = np.random.SeedSequence([SEED, SPLITS.index(split), index, int(unseen)]).spawn(4)
    layout, texture, light, last = (np.random.Generator(np.random.PCG64(stream)) for stream in streams)
    objects = _layout(layout, label_of(split, index, unseen=unseen), size, unseen=unseen)
    canvas = background(layout, texture, size)
    for layer in objects:
        paint(canvas, layer, texture)
    image = shift(expose(canvas, light), domain, last)
    return _annotate(image, objects)


def _check(split: str, index: int, size: int, domain: str) -> None:
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is not one of {', '.join(SPLITS)}.{did_you_mean(split, SPLITS)}")
    if domain not in DOMAINS:
        raise ConfigError(f"domain {domain!r} is not one of {', '.join(DOMAINS)}.{did_you_mean(domain, DOMAINS)}")
    if index < 0 or size < 32:
        raise ConfigError(f"index {index} and size {size}: at least 0 and 32 are expected.")


def _layout(rng: np.random.Generator, label: int, size: int, *, unseen: bool) -> list[Layer]:
    """Return what is painted, back to front. Whatever hides too much of another is left out."""
    pool = range(len(CLASSES), len(CLASSES) + len(UNSEEN_CLASSES)) if unseen else range(len(CLASSES))
    others = [category for category in pool if category != label]
    main = main_layer(rng, label, size)
    behind: list[Layer] = []
    before: list[Layer] = []
    for _ in range(int(rng.integers(0, 3))):
        layer = small_layer(rng, others[int(rng.integers(len(others)))], size, main)
        (behind if rng.random() < 0.6 else before).append(layer)
    if rng.random() < 0.4:
        before.append(occluder(rng, size, main))
    front: list[Layer] = []
    for layer in before:
        if _visible_share(main, [*front, layer]) >= MIN_VISIBLE_MAIN:
            front.append(layer)
    kept: list[Layer] = []
    for place, layer in enumerate(stack := [*behind, main, *front]):
        if layer is main or layer.category is None or _visible_share(layer, stack[place + 1 :]) >= MIN_VISIBLE_SMALL:
            kept.append(layer)
    return kept


def _visible_share(layer: Layer, in_front: list[Layer]) -> float:
    visible = layer.mask.copy()
    for other in in_front:
        visible &= ~other.mask
    return float(np.count_nonzero(visible)) / max(1, int(np.count_nonzero(layer.mask)))


def _annotate(image: np.ndarray, layers: list[Layer]) -> Scene:
    taken = np.zeros(image.shape[:2], dtype=bool)
    found: list[tuple[bool, int, np.ndarray]] = []
    for layer in reversed(layers):
        if layer.category is not None:
            found.append((layer.is_main, layer.category, layer.mask & ~taken))
        taken |= layer.mask
    found.sort(key=lambda entry: not entry[0])
    masks = [mask for _, _, mask in found]
    semantic = np.zeros(image.shape[:2], dtype=np.uint8)
    for _, category, mask in found:
        semantic[mask] = category + 1
    return Scene(
        image=image,
        label=found[0][1],
        boxes=np.array([_box(mask) for mask in masks], dtype=np.float32),
        categories=np.array([category for _, category, _ in found], dtype=np.int64),
        masks=np.stack(masks),
        semantic=semantic,
    )


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
