"""What the reference implementation of the corruptions answers, as fingerprints; the maker of the JSON file beside it.

The reference (``imagecorruptions-imaug``) brings OpenCV, numba and scikit-image, some 450 MB, so tests hold its answers
instead. To make them again, in an environment of its own::

    python -m venv reference && reference/bin/pip install imagecorruptions-imaug==1.1.5
    PYTHONPATH=. reference/bin/python tests/corruption_reference.py

The kept file is from imagecorruptions-imaug 1.1.5, numpy 2.4.6, scipy 1.17.1, scikit-image 0.26.0, OpenCV 5.0.0 and
Pillow 13.0.0.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from bob.data.corruptions import CORRUPTIONS, SEVERITIES

STORED = Path(__file__).with_name("corruption_reference.json")
PHOTOGRAPHS = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")
PHOTOGRAPH_SIZES = ((60, 200), (140, 90), (200, 300), (50, 60), (96, 128), (110, 140))  # (height, width)


def picture(seed: int = 0, height: int = 96, width: int = 128) -> np.ndarray:
    """Return uint8 (height, width, 3): a gradient, blocks of colour, some of them black or white, and fine texture."""
    rng = np.random.RandomState(seed)
    down, across = np.mgrid[0:height, 0:width]
    pixels = np.stack((down * 200 // height, across * 220 // width, (down + across) % 256), axis=-1)
    for colour in ((255, 255, 255), (0, 0, 0), (200, 30, 40), (40, 180, 90), (120, 120, 120)):
        top, left = rng.randint(0, height * 3 // 4), rng.randint(0, width * 3 // 4)
        pixels[top : top + height // 4, left : left + width // 5] = colour
    grain = rng.randint(-25, 26, (height, width, 1)) * (across[..., None] > width // 2)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


def write_photographs(folder: Path) -> None:
    """Write six stand-ins for frost's photographs to FOLDER/frost, without loss whatever their names end on."""
    (folder / "frost").mkdir(parents=True)
    for seed, (name, (height, width)) in enumerate(zip(PHOTOGRAPHS, PHOTOGRAPH_SIZES, strict=True)):
        Image.fromarray(picture(100 + seed, height, width)).save(folder / "frost" / name, "PNG")


def seed_of(name: str, severity: int) -> int:
    """Return the seed that one corruption's stored answer was drawn with."""
    return 10 * CORRUPTIONS.index(name) + severity


def fingerprint(pixels: np.ndarray) -> dict[str, list[float]]:
    """Return what is kept of a picture: means, standard deviations, a thumbnail of 4 x 4, 16 pixels in full."""
    values = pixels.astype(np.float64)
    blocks = values.reshape(4, pixels.shape[0] // 4, 4, pixels.shape[1] // 4, 3).mean(axis=(1, 3, 4))
    places = np.random.RandomState(7).choice(pixels.shape[0] * pixels.shape[1], 16, replace=False)
    return {
        "mean": values.mean(axis=(0, 1)).round(3).tolist(),
        "std": values.std(axis=(0, 1)).round(3).tolist(),
        "thumbnail": blocks.round(2).ravel().tolist(),
        "pixels": pixels.reshape(-1, 3)[places].ravel().tolist(),
    }


def reference(pixels: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Return the reference's answer with the draws of ``RandomState(seed)``; glass blur runs without numba's stream."""
    import imagecorruptions
    from imagecorruptions import corruptions

    np.random.seed(seed)
    extra = {"impulse_noise": {"seed": np.random.RandomState(seed)}, "glass_blur": {"seed": seed}}.get(name, {})
    plain = getattr(corruptions._shuffle_pixels_njit_glass_blur, "py_func", None)
    shuffle = plain or corruptions._shuffle_pixels_njit_glass_blur
    with mock.patch.object(corruptions, "_shuffle_pixels_njit_glass_blur", shuffle):
        return imagecorruptions.corrupt(pixels, severity, name, **extra)


def main() -> None:
    """Ask the reference and write the file."""
    answers = {}
    importlib.import_module("imagecorruptions")  # before the place it reads photographs from is replaced
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder))
        with mock.patch("importlib.resources.files", return_value=Path(folder)):
            for name in CORRUPTIONS:
                for severity in SEVERITIES:
                    answer = reference(picture(), name, severity, seed_of(name, severity))
                    answers[f"{name}/{severity}"] = fingerprint(answer)
    lines = (f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in answers.items())
    STORED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
