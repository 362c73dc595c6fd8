"""Which function makes which corruption."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bob.data.corruptions import blur, colour, digital, frost, noise, spatter, weather

# (pixels, level 0-4, random state) to values in [0, 255], same shape, of any number type; the caller cuts to uint8.
Corruption = Callable[[np.ndarray, int, np.random.RandomState], np.ndarray]

FUNCTIONS: dict[str, Corruption] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": frost.frost,
    "fog": weather.fog,
    "brightness": colour.brightness,
    "contrast": colour.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter.spatter,
    "saturate": colour.saturate,
}
