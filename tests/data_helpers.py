"""Small picture folders for the tests of the data layer."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Return a random RGB picture of (width, height)."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def class_folders(root: Path, counts: dict[str, int], *, suffix: str = ".jpg") -> Path:
    """Fill ROOT/CLASS with ``counts[CLASS]`` pictures."""
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(1000 * place + index).save(root / name / f"{index:03d}{suffix}")
    return root


def age(root: Path, seconds: float = 60) -> None:
    """Make every file look written a while ago, so that its fingerprint may be cached."""
    then = time.time() - seconds
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
