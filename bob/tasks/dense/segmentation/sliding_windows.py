"""Segmentation of a picture by windows of the input's size: for pictures that would lose too much when fitted."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from bob.backbones.backbone import InputConfig
from bob.data.placement import Placement, cover
from bob.data.transforms import normalise, resampling
from bob.data.windows import WindowAverage, windows
from bob.training.inference import Forward

WINDOWS_AT_ONCE = 4


def slide(
    forward: Forward, image: Image.Image, input: InputConfig, *, canvas: tuple[int, int], overlap: float
) -> np.ndarray:
    """Return the mean logits of one picture, float32 (classes, h, w), at the size at which it just covers the canvas.

    Args:
        forward: Maps (n, 3, H, W) to logits (n, classes, H, W).
        image: The picture, RGB.
        input: Interpolation and normalisation.
        canvas: Height and width of a window.
        overlap: Share of a window that its neighbour repeats, in [0, 1).
    """
    size = (image.height, image.width)
    scaled = cover(size, canvas)
    placement = Placement(size=size, scaled=scaled, canvas=scaled)
    pixels = placement.place_picture(image, resampling(input.interpolation), fill=(0, 0, 0))
    places = windows(scaled, canvas, overlap)
    average: WindowAverage | None = None
    for first in range(0, len(places), WINDOWS_AT_ONCE):
        chosen = places[first : first + WINDOWS_AT_ONCE]
        parts = [pixels[top : top + canvas[0], left : left + canvas[1]] for top, left in chosen]
        logits = forward(normalise(torch.from_numpy(np.stack(parts)), input)).cpu().numpy()
        average = average or WindowAverage(logits.shape[1], scaled)
        for values, place in zip(logits, chosen, strict=True):
            average.add(values, place)
    assert average is not None  # a picture has at least one window
    return average.result()
