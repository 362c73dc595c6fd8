"""The canvas of a dense job: one input size for every picture of a data set. Numpy only."""

from __future__ import annotations

import math

import numpy as np

STEP = 32  # the coarsest stride of a pyramid
SHARED_ORIENTATION = 0.9


def canvas_size(sizes: np.ndarray, side: int, *, aspect: float = 0.0) -> tuple[int, int]:
    """Return (height, width) of the input, multiples of 32.

    Its short side is ``side``, rounded to the nearest multiple. Where nine tenths of the pictures are at least as wide
    as high (or the reverse), the long side follows their median ratio, rounded up; pictures of both orientations get
    a square, which favours neither.

    Args:
        sizes: int (n, 2): height and width of each training picture.
        side: Short side in pixels.
        aspect: Width over height; 0 takes it from ``sizes``.
    """
    short = max(STEP, round(side / STEP) * STEP)
    ratio = aspect or _shared_ratio(np.asarray(sizes, dtype=np.float64))
    if ratio >= 1:
        return short, _round_up(short * ratio)
    return _round_up(short / ratio), short


def _shared_ratio(sizes: np.ndarray) -> float:
    ratios = sizes[:, 1] / sizes[:, 0]
    if np.mean(ratios >= 1) >= SHARED_ORIENTATION or np.mean(ratios <= 1) >= SHARED_ORIENTATION:
        return float(np.median(ratios))
    return 1.0


def _round_up(length: float) -> int:
    # A pixel of rounding in the pictures' sizes must not cost 32 columns of padding.
    return max(STEP, math.ceil((length - 1) / STEP) * STEP)
