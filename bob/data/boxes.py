"""Which boxes can be right. Pure Python: it runs a million times."""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]

# Files round: a box that ends up to a pixel outside its picture is taken as it is, as COCO's own metric takes it.
ROUNDING_PX = 1.0


def fitted(box: Sequence[float], size: tuple[int, int]) -> tuple[Box | None, str | None]:
    """Return a box that lies in its picture, and what was wrong with it (None: nothing).

    A box partly outside is clipped; the first part is None if nothing is left.

    Args:
        box: Left, top, right, bottom.
        size: The picture's height and width.
    """
    left, top, right, bottom = box
    if not all(map(math.isfinite, box)):
        return None, "a box that is not finite"
    if right <= left or bottom <= top:
        return None, "a box with no area"
    height, width = size
    within = min(left, top) >= -ROUNDING_PX and right <= width + ROUNDING_PX and bottom <= height + ROUNDING_PX
    if within and left < width and top < height and right > 0 and bottom > 0:
        return (left, top, right, bottom), None
    clipped = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        return None, "a box outside its picture"
    return clipped, "a box partly outside its picture (clipped)"
