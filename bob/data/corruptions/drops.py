"""What spatter needs of OpenCV, on 8-bit (H, W) arrays: Canny's edges, a chamfer distance, equalised histograms."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_STEPS = (  # rows, columns, length: the 5 x 5 mask of Borgefors 1986
    *((down, right, 1.0) for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0))),
    *((down, right, 1.4) for down in (-1, 1) for right in (-1, 1)),
    *((down, right, 2.1969) for down in (-1, 1) for right in (-2, 2)),
    *((down, right, 2.1969) for down in (-2, 2) for right in (-1, 1)),
)
_TAN_22 = 13573  # tan(22.5 degrees) times 2 ** 15


def canny(values: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return bool (H, W): edges of uint8 (H, W) after Canny 1986, with Sobel 3 x 3 and the L1 norm, as OpenCV.

    A pixel is an edge where its gradient is a maximum across the edge and above ``high``, or above ``low`` and linked
    to such a one through its eight neighbours.
    """
    wide = np.pad(values.astype(np.int64), 1, mode="edge")
    smooth_down = wide[:-2] + 2 * wide[1:-1] + wide[2:]
    smooth_right = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    right, down = smooth_down[:, 2:] - smooth_down[:, :-2], smooth_right[2:] - smooth_right[:-2]
    ridge = _ridge(right, down) & (abs(right) + abs(down) > low)
    strong = ridge & (abs(right) + abs(down) > high)
    groups, count = ndimage.label(ridge, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, dtype=bool)
    kept[groups[strong]] = True
    return kept[groups]


def _ridge(right: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Return bool (H, W): the gradient is no smaller than at either neighbour in its direction, larger than at one."""
    padded = np.pad(abs(right) + abs(down), 1)
    height, width = right.shape

    def at(rows: int, columns: int) -> np.ndarray:
        return padded[1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    own = at(0, 0)
    level = (own > at(0, -1)) & (own >= at(0, 1))
    upright = (own > at(-1, 0)) & (own >= at(1, 0))
    falling = (own > at(-1, -1)) & (own > at(1, 1))
    rising = (own > at(-1, 1)) & (own > at(1, -1))
    flatness, steepness = abs(right) * _TAN_22, abs(down) * 2**15
    is_level, is_upright = steepness < flatness, steepness > flatness + abs(right) * 2**16
    slanted = np.where((right ^ down) < 0, rising, falling)
    return np.where(is_level, level, np.where(is_upright, upright, slanted))


def capped_distance(edges: np.ndarray, reach: int) -> np.ndarray:
    """Return float32 (H, W): chamfer distance to the nearest edge, in pixels, right up to ``reach``, else larger."""
    far = reach + 4
    height, width = edges.shape
    padded = np.full((height + 4, width + 4), far, dtype=np.float32)
    inner = padded[2:-2, 2:-2]
    inner[edges] = 0
    for _ in range(reach):
        before = padded.copy()
        for down, right, length in _STEPS:
            moved = before[2 + down : 2 + down + height, 2 + right : 2 + right + width]
            np.minimum(inner, moved + np.float32(length), out=inner)
        if np.array_equal(before, padded):
            break
    return inner.copy()


def equalised(values: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W) with its histogram spread evenly; the darkest level that occurs becomes 0 (OpenCV)."""
    counts = np.bincount(values.ravel(), minlength=256)
    darkest = int(np.flatnonzero(counts)[0])
    if counts[darkest] == values.size:
        return values
    scale = np.float32(255) / np.float32(values.size - counts[darkest])
    below = np.cumsum(counts) - counts[darkest]
    below[: darkest + 1] = 0
    return np.rint(below.astype(np.float32) * scale).astype(np.uint8)[values]


def rounded_mean(values: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W): the mean of each 3 x 3 neighbourhood, mirrored about the edge pixel, rounded."""
    total = np.pad(values.astype(np.int64), 1, mode="reflect")
    for axis in (0, 1):
        total = np.take(total, range(total.shape[axis] - 2), axis) + _after(total, axis, 1) + _after(total, axis, 2)
    return ((2 * total + 9) // 18).astype(np.uint8)


def _after(values: np.ndarray, axis: int, step: int) -> np.ndarray:
    return np.take(values, range(step, values.shape[axis] - 2 + step), axis)
