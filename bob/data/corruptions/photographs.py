"""The six photographs of frost, read from the reference package where that is installed. They are not shipped here."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import ConfigError

PACKAGE = "imagecorruptions"
FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


def frost_available() -> bool:
    """Return whether all six photographs are installed. The package that holds them is found, not imported."""
    folder = _folder()
    return folder is not None and all((folder / name).is_file() for name in FILES)


def frost_photograph(index: int) -> np.ndarray:
    """Return the photograph ``index`` (0-5): uint8 (H, W, 3) RGB, not writable, its transparency dropped.

    Raises:
        ConfigError: The package that holds the photographs is not installed, or lacks one.
    """
    folder = _folder()
    if folder is None or not (folder / FILES[index]).is_file():
        where = "which is not installed." if folder is None else f"which is not in {folder}."
        raise ConfigError(
            f"the corruption 'frost' needs the photograph {FILES[index]} of the package {PACKAGE!r}, {where}",
            hint="Run: pip install 'battle-of-the-backbones[corruptions]'  (or leave 'frost' out).",
        )
    return _decoded(folder / FILES[index])


def _folder() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    places = list(found.submodule_search_locations or []) if found else []
    return Path(places[0]) / "frost" if places else None


@lru_cache(maxsize=len(FILES))
def _decoded(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        pixels = np.array(image.convert("RGB"))
    pixels.setflags(write=False)
    return pixels
