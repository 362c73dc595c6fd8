"""From the colours of a mask's pixels to classes, by one look into a table of all colours. Pillow and numpy only."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image

from bob.data.annotations import IGNORE
from bob.data.colour_tables import unpacked
from bob.data.decode import refuse_bomb

COLOUR_MODES = ("RGB", "RGBA", "RGBX", "P", "PA", "L", "LA", "1")
UNKNOWN = 254  # a colour that the table lacks
ALL_COLOURS = 1 << 24
# Drawing tools blend the colours on both sides of an edge: many rare colours. A class that the table lacks is one
# colour of many pixels.
RARE_SHARE = 0.001
MOST_BLENDED = 0.05  # of a mask's pixels


def packed_pixels(image: Image.Image) -> np.ndarray:
    """Return a mask's colours, uint32 (H, W), as ``colour_tables.packed`` makes them. Transparency is passed over.

    Raises:
        ValueError: The pixels have no colours (more than 8 bits, decimal numbers).
    """
    refuse_bomb(image)
    if image.mode not in COLOUR_MODES:
        raise ValueError(f"the mask has mode {image.mode}; 8-bit colours are expected")
    red, green, blue = np.moveaxis(np.asarray(image if image.mode == "RGB" else image.convert("RGB")), -1, 0)
    return red.astype(np.uint32) << 16 | green.astype(np.uint32) << 8 | blue


def colour_counts(colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different values of packed pixels and how many pixels have each, by runs: masks have long ones."""
    flat = colours.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1]) if flat.size else np.zeros(0, np.int64)
    values, place = np.unique(flat[starts], return_inverse=True)
    lengths = np.diff(np.append(starts, flat.size))
    return values, np.bincount(place.ravel(), weights=lengths, minlength=len(values)).astype(np.int64)


@dataclass(frozen=True)
class ColourLookup:
    """Which class each colour means. It can be pickled; each process makes its table of all colours once (16 MB).

    Attributes:
        file: The name of the file that says so.
        colours: Pairs of a packed colour and its class, or IGNORE.
    """

    file: str
    colours: tuple[tuple[int, int], ...]

    def classes_of(self, image: Image.Image) -> np.ndarray:
        """Return the class of each pixel, uint8 (H, W). Rare colours that the table lacks are IGNORE.

        Raises:
            ValueError: The pixels have no colours, or the table lacks too many of them.
        """
        pixels = packed_pixels(image)
        classes = _all_colours(self.colours)[pixels]
        lacking = classes == UNKNOWN
        if lacking.any():
            values, counts = colour_counts(pixels[lacking])
            reason = self.too_many(values, counts, pixels.size)
            if reason:
                raise ValueError(reason)
            classes[lacking] = IGNORE
        return classes

    def too_many(self, values: np.ndarray, counts: np.ndarray, pixels: int) -> str | None:
        """Return what is wrong with a mask whose ``values`` the table lacks: ``counts`` of all its ``pixels``."""
        if counts.size and counts.max() >= RARE_SHARE * pixels:
            return (
                f"{shown(int(values[counts.argmax()]))}, which {self.file} lacks, has {counts.max() / pixels:.1%} of it"
            )
        if counts.sum() > MOST_BLENDED * pixels:
            return f"{len(values)} colours that {self.file} lacks have {counts.sum() / pixels:.1%} of its pixels"
        return None


def shown(value: int) -> str:
    """Return a packed colour in words."""
    return f"the colour {' '.join(map(str, unpacked(value)))}"


@functools.lru_cache(maxsize=2)
def _all_colours(colours: tuple[tuple[int, int], ...]) -> np.ndarray:
    table = np.full(ALL_COLOURS, UNKNOWN, dtype=np.uint8)
    for colour, label in colours:
        table[colour] = label
    table.flags.writeable = False
    return table
