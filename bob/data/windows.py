"""Sliding windows over a picture that is larger than a model's canvas, and the average of what they say. Numpy only."""

from __future__ import annotations

import numpy as np

from bob.core.errors import ConfigError

Size = tuple[int, int]


def windows(size: Size, window: Size, overlap: float) -> list[tuple[int, int]]:
    """Return where windows lie that cover a picture: (top, left) in pixels, row by row.

    Neighbours share at least ``overlap`` of a side. The last window of a row or column is flush with the picture's
    edge, so none reaches beyond it; where a picture is smaller than the window there is one, at 0, and the caller pads.

    Args:
        size: Height and width of the picture, pixels.
        window: Height and width of the window, pixels.
        overlap: Share of the window's side, in [0, 1).

    Raises:
        ConfigError: A side below 1 pixel, or an overlap outside [0, 1).
    """
    if min(*size, *window) < 1 or not 0 <= overlap < 1:
        raise ConfigError(
            f"windows of {window} on a picture of {size} with overlap {overlap}: expected sides of at least 1 pixel "
            "and an overlap from 0 to below 1."
        )
    tops, lefts = (_starts(*sides, overlap) for sides in zip(size, window, strict=True))
    return [(top, left) for top in tops for left in lefts]


def _starts(side: int, window: int, overlap: float) -> list[int]:
    # Rounded down, so that neighbours share no less than asked; but 100 * (1 - 0.9) is 9.99... and means 10.
    step = max(1, int(window * (1 - overlap) + 1e-6))
    last = max(0, side - window)
    return [*range(0, last, step), last]


class WindowAverage:
    """The mean over all windows of what they say about each pixel.

    Memory: one float32 array (classes, height, width) and one (height, width), whatever the number of windows: 4 bytes
    x (classes + 1) x pixels, which is 168 MB for Cityscapes' 19 classes at 1024 x 2048, and 158 MB for ADE20K's 150
    at 512 x 512. Add up at the scale that the model works at, not at that of a camera's 24 million pixels. ``result``
    divides in place and gives that same array.

    Args:
        classes: How many values each pixel has.
        size: Height and width of the picture, pixels.
    """

    def __init__(self, classes: int, size: Size) -> None:
        self._sum = np.zeros((classes, *size), dtype=np.float32)
        self._count = np.zeros(size, dtype=np.float32)
        self._done = False

    def add(self, values: np.ndarray, place: tuple[int, int]) -> None:
        """Add what a window says, probabilities or logits (classes, h, w), at (top, left).

        What reaches beyond the picture (the padding of a window larger than it) is left out.
        """
        assert not self._done, "the average was taken already"
        top, left = place
        height, width = (
            min(side, limit - at) for side, limit, at in zip(values.shape[1:], self._count.shape, place, strict=True)
        )
        here = (slice(top, top + height), slice(left, left + width))
        self._sum[:, here[0], here[1]] += values[:, :height, :width]
        self._count[here] += 1

    def result(self) -> np.ndarray:
        """Return the mean, float32 (classes, height, width); nothing can be added afterwards.

        Raises:
            ConfigError: A pixel lies in no window.
        """
        if not self._done:
            missed = int((self._count == 0).sum())
            if missed:
                raise ConfigError(f"{missed} of {self._count.size} pixels lie in no window: expected none.")
            self._sum /= self._count
            self._done = True
        return self._sum
