"""Where a picture lies on the canvas: one affine map for its pixels, boxes, masks and labels, and the way back.

Pillow and numpy only, so that threads and worker processes make the same views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bob.data.annotations import IGNORE


@dataclass(frozen=True, kw_only=True)
class Placement:
    """A picture scaled, perhaps mirrored, and cropped or padded onto a canvas.

    Attributes:
        size: Height and width of the picture in pixels.
        scaled: Height and width of the scaled picture in canvas pixels.
        crop: Top and left of the visible part within the scaled picture.
        canvas: Height and width of the canvas; what the picture leaves free, at the bottom and the right, is padding.
        flip: Whether the picture is mirrored left to right before all else.
    """

    size: tuple[int, int]
    scaled: tuple[int, int]
    crop: tuple[int, int] = (0, 0)
    canvas: tuple[int, int]
    flip: bool = False

    @property
    def visible(self) -> tuple[int, int]:
        """Height and width of the canvas's part that shows the picture."""
        return (
            min(self.canvas[0], self.scaled[0] - self.crop[0]),
            min(self.canvas[1], self.scaled[1] - self.crop[1]),
        )

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels per picture pixel, (down, across)."""
        return self.scaled[0] / self.size[0], self.scaled[1] / self.size[1]

    def place_picture(
        self,
        image: Image.Image,
        resample: Image.Resampling,
        *,
        fill: tuple[int, ...],
        change: Callable[[Image.Image], Image.Image] = lambda image: image,
    ) -> np.ndarray:
        """Return the canvas, uint8 (H, W, 3), padded with ``fill``; ``change`` recolours the visible part."""
        canvas = np.empty((*self.canvas, 3), dtype=np.uint8)
        canvas[:] = fill
        height, width = self.visible
        canvas[:height, :width] = np.asarray(change(self._shown(image, resample)))
        return canvas

    def place_labels(self, labels: np.ndarray, *, fill: int = IGNORE) -> np.ndarray:
        """Return a uint8 map (h, w) of labels, or a mask, on the canvas, uint8 (H, W), by nearest neighbour."""
        canvas = np.full(self.canvas, fill, dtype=np.uint8)
        height, width = self.visible
        canvas[:height, :width] = np.asarray(self._shown(Image.fromarray(labels), Image.Resampling.NEAREST))
        return canvas

    def place_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes (n, 4) of the picture in canvas pixels, clipped to what is visible: float64."""
        down, across = self.scale
        placed = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        if self.flip:
            placed[:, [0, 2]] = self.size[1] - placed[:, [2, 0]]
        placed *= (across, down, across, down)
        placed -= (self.crop[1], self.crop[0]) * 2
        height, width = self.visible
        return placed.clip(0, (width, height, width, height))

    def restore_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return boxes (n, 4) on the canvas in the picture's pixels, clipped to the picture: float64."""
        down, across = self.scale
        restored = np.array(boxes, dtype=np.float64).reshape(-1, 4)
        restored += (self.crop[1], self.crop[0]) * 2
        restored /= (across, down, across, down)
        if self.flip:
            restored[:, [0, 2]] = self.size[1] - restored[:, [2, 0]]
        height, width = self.size
        return restored.clip(0, (width, height, width, height))

    def _shown(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        if self.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        (top, left), (height, width), (down, across) = self.crop, self.visible, self.scale
        box = (left / across, top / down, (left + width) / across, (top + height) / down)
        # Rounding must not put the box a hair outside the picture, which Pillow refuses.
        box = (box[0], box[1], min(box[2], float(image.width)), min(box[3], float(image.height)))
        return image.resize((width, height), resample, box=box)


def contain(size: tuple[int, int], canvas: tuple[int, int], *, factor: float = 1.0) -> tuple[int, int]:
    """Return height and width of a picture that just fits into the canvas, times ``factor``."""
    return _times(size, factor * min(canvas[0] / size[0], canvas[1] / size[1]))


def cover(size: tuple[int, int], canvas: tuple[int, int], *, factor: float = 1.0) -> tuple[int, int]:
    """Return height and width of a picture that just covers the canvas, times ``factor``."""
    return _times(size, factor * max(canvas[0] / size[0], canvas[1] / size[1]))


def whole(size: tuple[int, int], canvas: tuple[int, int]) -> Placement:
    """Return the placement of evaluation: the whole picture, as large as fits, at the top left."""
    return Placement(size=size, scaled=contain(size, canvas), canvas=canvas)


def _times(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
