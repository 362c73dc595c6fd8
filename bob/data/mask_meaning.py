"""What is known of a folder of masks once their values are understood. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.data.colour_lookup import ColourLookup
from bob.data.mask_contents import MaskContents
from bob.data.mask_pictures import MAX_CLASSES

GREY = 0x010101  # times a grey value: its colour as one number


@dataclass(frozen=True)
class Labels:
    """What the values of masks mean.

    Attributes:
        classes: The class names in label order.
        table: uint8 (256,): the class of each stored value, as ``mask_pictures.label_table`` makes it.
        colours: The class of each colour, where colours tell it; ``table`` is not used then.
        file: The table of colours that was used, its name and text, or nothing.
        said: What the user should know of this reading.
    """

    classes: tuple[str, ...]
    table: np.ndarray
    colours: ColourLookup | None = None
    file: tuple[str, ...] = ()
    said: tuple[str, ...] = ()

    def present(self, contents: MaskContents) -> set[int]:
        """Return the classes that some masks hold."""
        if self.colours is None:
            found = {int(self.table[value]) for value in contents.values}
        else:
            known = dict(self.colours.colours)
            found = {known.get(colour, IGNORE) for colour in contents.colours}
        return {label for label in found if label < len(self.classes)}


def require_few(root: Path, count: int) -> None:
    """Refuse more classes than an 8-bit map has room for.

    Raises:
        DataError: There are.
    """
    if count > MAX_CLASSES - 1:
        raise DataError(f"{root}: {count} classes; at most {MAX_CLASSES - 1} fit an 8-bit mask.", hint=None)
