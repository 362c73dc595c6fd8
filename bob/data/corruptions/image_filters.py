"""Filters that several corruptions share, with OpenCV's and scipy's conventions at the border."""

from __future__ import annotations

import math

import numpy as np
from scipy import fft, ndimage


def gaussian(values: np.ndarray, sigma: float) -> np.ndarray:
    """Blur float (H, W) or (H, W, C) over its first two axes; the edge is repeated, cut at 4 sigma (scikit-image)."""
    return ndimage.gaussian_filter(values, (sigma, sigma, 0)[: values.ndim], mode="nearest", truncate=4.0)


def disk(radius: int, sigma: float) -> np.ndarray:
    """Return a filled circle with its rim softened by ``sigma`` pixels: float32 (2 r + 1, 2 r + 1), r at least 8."""
    reach = max(radius, 8)
    axis = np.arange(-reach, reach + 1)
    inside = (axis[:, None] ** 2 + axis[None, :] ** 2 <= radius**2).astype(np.float32)
    inside /= inside.sum()
    taps = gaussian_taps(3 if radius <= 8 else 5, sigma)
    return _softened(_softened(inside.T, taps, outer_first=True).T, taps, outer_first=False)


def _softened(values: np.ndarray, taps: np.ndarray, *, outer_first: bool) -> np.ndarray:
    """Correlate float32 (H, W) with symmetric taps along its first axis, mirrored about the edge pixel.

    Terms are added in OpenCV's order, each fused with its product (rounded once): whether a disk sums to just above or
    just below one decides if a flat area keeps its level or loses one.
    """
    reach = len(taps) // 2
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="reflect")
    ahead = [padded[reach + step : reach + step + len(values)] for step in range(reach + 1)]
    behind = [padded[reach - step : reach - step + len(values)] for step in range(reach + 1)]
    terms = [values, *(ahead[step] + behind[step] for step in range(1, reach + 1))]
    total = np.zeros_like(values)
    for step in reversed(range(reach + 1)) if outer_first else range(reach + 1):
        total = fused(terms[step], taps[reach + step], total)
    return total


def fused(values: np.ndarray, weight: np.float32, total: np.ndarray) -> np.ndarray:
    """Return ``values * weight + total``, all float32, rounded once, as a fused multiply-add does."""
    return (values.astype(np.float64) * float(weight) + total).astype(np.float32)


def gaussian_taps(count: int, sigma: float) -> np.ndarray:
    """Return ``count`` float32 weights of a normal curve about their middle, summing to one (getGaussianKernel)."""
    place = np.arange(count) - (count - 1) / 2
    weights = np.exp(-(place**2) / (2 * sigma**2))
    return (weights / weights.sum()).astype(np.float32)


def correlate(values: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate float64 (H, W, C) with an odd square kernel, mirrored about the edge pixel (BORDER_REFLECT_101)."""
    reach = kernel.shape[0] // 2
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    shape = [fft.next_fast_len(side, real=True) for side in padded.shape[:2]]
    spectrum = fft.rfft2(padded, shape, axes=(0, 1)) * np.conj(fft.rfft2(kernel.astype(np.float64), shape))[..., None]
    return fft.irfft2(spectrum, shape, axes=(0, 1))[: values.shape[0], : values.shape[1]]


def enlarge(values: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the middle of (H, W) linearly by ``factor`` >= 1; the result is at least (H, W)."""
    kept = [math.ceil(side / float(factor)) for side in values.shape]
    top, left = ((side - keep) // 2 for side, keep in zip(values.shape, kept, strict=True))
    return ndimage.zoom(values[top : top + kept[0], left : left + kept[1]], factor, order=1)


def motion(values: np.ndarray, radius: int, sigma: float, angle_deg: float) -> np.ndarray:
    """Return float64 (H, W) or (H, W, C) smeared along a line, one-sided, its trace fading with ``sigma`` pixels.

    The trace has ``2 radius + 1`` steps of one pixel, whose offsets are rounded; the edge pixel is repeated. It ends
    where a step leaves the picture, and its weights are then not scaled up.
    """
    steps = 2 * radius + 1
    fade = np.exp(-(np.arange(steps) ** 2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    fade /= fade.sum()
    offsets = _trace(steps, angle_deg, values.shape[0], values.shape[1])
    padded = np.pad(values, [(steps, steps), (steps, steps), (0, 0)][: values.ndim], mode="edge")
    smeared = np.zeros(values.shape)
    for weight, (down, right) in zip(fade, offsets, strict=False):
        top, left = steps - down, steps - right
        smeared += weight * padded[top : top + values.shape[0], left : left + values.shape[1]]
    return smeared


def _trace(steps: int, angle_deg: float, height: int, width: int) -> list[tuple[int, int]]:
    rise, run = steps * np.sin(np.deg2rad(angle_deg)), steps * np.cos(np.deg2rad(angle_deg))
    length = math.hypot(rise, run)
    offsets = []
    for step in range(steps):
        down, right = (-math.ceil(step * part / length - 0.5) for part in (rise, run))
        if abs(down) >= height or abs(right) >= width:
            break
        offsets.append((down, right))
    return offsets
