"""One corruption on one picture. What computes is imported at first use: planning needs names, not scipy."""

from __future__ import annotations

import numpy as np

from bob.core.errors import DataError
from bob.data.corruptions.names import check_corruptions

MIN_SIDE = 32  # pixels; the reference package refuses smaller pictures as well


def corrupt(pixels: np.ndarray, name: str, severity: int, *, rng: np.random.RandomState) -> np.ndarray:
    """Return a corrupted copy of a picture.

    Args:
        pixels: uint8 (H, W, 3), RGB, H and W at least ``MIN_SIDE``. It is not written to.
        name: One of ``CORRUPTIONS``.
        severity: 1 (mild) to 5 (strong).
        rng: Where its draws come from, ``corruption_rng``; the result is a function of these four alone.

    Returns:
        uint8 (H, W, 3), contiguous.

    Raises:
        UnknownNameError: ``name`` is not known.
        ConfigError: ``severity`` is not one of ``SEVERITIES``, or frost's photographs are not installed.
        DataError: ``pixels`` is of another type or shape, or too small.
    """
    from bob.data.corruptions.functions import FUNCTIONS

    check_corruptions([name], [severity])
    _check_pixels(pixels)
    values = FUNCTIONS[name](pixels, int(severity) - 1, rng)
    return np.ascontiguousarray(values.astype(np.uint8))


def _check_pixels(pixels: np.ndarray) -> None:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        found = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(
            f"a picture to corrupt is {found}; uint8 (height, width, 3) is expected.",
            hint="Decode it with bob.data.decode.to_rgb and give numpy.asarray of that.",
        )
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise DataError(
            f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels is too small to corrupt; "
            f"at least {MIN_SIDE} a side are expected, as in the reference.",
            hint="Resize it to the model's input first.",
        )
