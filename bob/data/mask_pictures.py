"""Pictures with a mask file each, which holds the class of every pixel. Pillow and numpy only."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import DataError
from bob.core.files import write_bytes
from bob.core.text import printable
from bob.data.annotations import IGNORE
from bob.data.colour_lookup import ColourLookup
from bob.data.decode import BROKEN_PICTURE, open_picture, refuse_bomb
from bob.data.orientation import may_fit, oriented
from bob.data.readers.base import DenseSamples, Samples

log = logging.getLogger(__name__)

INVALID = 254  # in a table of labels: no class has this label
MAX_CLASSES = 254
INDEX_MODES = ("L", "P", "1", "I", "I;16", "I;16B", "I;16L")
THREADS = 8
NAMED_AT_MOST = 20
SIZES_VERSION = 1


def label_table(labels: Mapping[int, int]) -> np.ndarray:
    """Return uint8 (256,): for each stored label its class, INVALID if it has none. 255 is IGNORE unless it is given.

    Args:
        labels: Class index (or IGNORE) of each stored label.
    """
    table = np.full(256, INVALID, dtype=np.uint8)
    table[IGNORE] = IGNORE
    for stored, label in labels.items():
        table[stored] = label
    return table


def read_indices(image: Image.Image) -> np.ndarray:
    """Return a mask's stored labels, uint8 (H, W): grey values, or a palette's indices whatever its colours.

    Raises:
        ValueError: It holds colours, or labels above 255.
    """
    refuse_bomb(image)
    if image.mode == "F":
        raise ValueError("the mask holds decimal numbers (mode F); whole numbers of classes are expected")
    if image.mode not in INDEX_MODES:
        raise ValueError(f"the mask has mode {image.mode}; grey or palette pixels that are class numbers are expected")
    values = np.asarray(image)
    if values.dtype != np.uint8:
        if values.size and (values.min() < 0 or values.max() > 255):
            raise ValueError(f"the mask has labels from {values.min()} to {values.max()}; 0 to 255 are expected")
        values = values.astype(np.uint8)
    return values


@dataclass(frozen=True, kw_only=True)
class MaskPairs:
    """Opens pictures and their masks, by index. It can be pickled, and threads may use it at once.

    Attributes:
        root: The folder the paths start from.
        pictures: The pictures' paths; "" where a mask has no picture.
        masks: The masks' paths; "" where a picture has no mask.
        table: uint8 (256,), as ``label_table`` makes it.
        classes: How many classes there are.
        colours: What each colour means, where colours tell the class; ``table`` is not used then.
    """

    root: Path
    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    table: np.ndarray
    classes: int
    colours: ColourLookup | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The pictures' paths, under the name that other openers give them."""
        return self.pictures

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``, lying as its mask does."""
        self._require_both(index)
        with open_picture(self.root / self.masks[index]) as mask:
            size = (mask.height, mask.width)
        return oriented(open_picture(self.root / self.pictures[index]), size, said_by=self.masks[index])

    def semantic(self, index: int) -> np.ndarray:
        """Return the class of each pixel of picture ``index``, uint8 (H, W).

        Raises:
            DataError: The mask cannot be read any more, or a label has no class.
        """
        try:
            return self._classes_of(index)
        except BROKEN_PICTURE as error:
            raise DataError(
                f"mask {self.masks[index]!r} could be read when it was checked, but not now: {error}.",
                hint="Restore the file and run again: only this job is repeated.",
            ) from error

    def check(self, index: int) -> str | None:
        """Return what is wrong with mask ``index``, or None."""
        try:
            self._classes_of(index)
        except BROKEN_PICTURE as error:
            return f"its mask {self.masks[index]}: {error}"
        return None

    def _require_both(self, index: int) -> None:
        if not self.masks[index]:
            raise FileNotFoundError("there is no mask for it")
        if not self.pictures[index]:
            raise FileNotFoundError("there is no picture for this mask")

    def _classes_of(self, index: int) -> np.ndarray:
        with open_picture(self.root / self.masks[index]) as image:
            if self.colours is not None:
                return self.colours.classes_of(image)
            stored = read_indices(image)
        classes = self.table[stored]
        if (classes == INVALID).any():
            label = int(stored[classes == INVALID].max())
            raise ValueError(f"label {label} has no class; there are {self.classes} classes")
        return classes

    def size_or_problem(self, index: int) -> tuple[int, int] | str:
        """Return a mask's height and width, or why it cannot be its picture's. No pixel is decoded.

        A file that cannot be opened has size (0, 0): the check of pictures names it.
        """
        try:
            self._require_both(index)
            with open_picture(self.root / self.masks[index]) as mask:
                size = (mask.height, mask.width)
            with open_picture(self.root / self.pictures[index]) as picture:
                if may_fit(picture, size):
                    return size
                picture_size = f"{picture.width} x {picture.height}"
        except BROKEN_PICTURE:
            return (0, 0)
        mask_size = f"{size[1]} x {size[0]}"
        return f"{self.masks[index]} has {mask_size} pixels, its picture {self.pictures[index]} {picture_size}"


def mask_samples(
    pairs: MaskPairs,
    *,
    classes: tuple[str, ...],
    fingerprint: str,
    stored: str,
    cache_dir: Path,
) -> DenseSamples:
    """Return a stored split of pictures with masks.

    Args:
        pairs: The files.
        classes: Class names in label order.
        fingerprint: The data set's.
        stored: The stored split's name.
        cache_dir: Where sizes are kept by fingerprint.

    Raises:
        DataError: A mask has another size than its picture.
    """
    pictures = Samples(
        ids=tuple(printable(picture or mask) for picture, mask in zip(pairs.pictures, pairs.masks, strict=True)),
        labels=np.zeros(len(pairs.pictures), dtype=np.int64),
        read=pairs,
        check=pairs.check,
    )
    return DenseSamples(
        classes=classes,
        pictures=pictures,
        sizes=_sizes(pairs, cache_dir / "datasets" / f"sizes-{fingerprint[:32]}-{stored}-{SIZES_VERSION}.npy"),
        annotate=pairs.semantic,
    )


def _sizes(pairs: MaskPairs, path: Path) -> np.ndarray:
    known = _stored_sizes(path)
    if known is not None and len(known) == len(pairs.pictures):
        return known
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(pairs.size_or_problem, range(len(pairs.pictures)), chunksize=64))
    problems = [one for one in found if isinstance(one, str)]
    if problems:
        shown = "; ".join(problems[:NAMED_AT_MOST]) + (" ..." if len(problems) > NAMED_AT_MOST else "")
        raise DataError(
            f"{pairs.root}: {len(problems)} masks are of another size than their pictures: {shown}.",
            hint="Make each mask anew at its picture's size, or remove both.",
        )
    sizes = np.array([one for one in found if not isinstance(one, str)], dtype=np.int64).reshape(-1, 2)
    buffer = io.BytesIO()
    np.save(buffer, sizes)
    write_bytes(path, buffer.getvalue())
    return sizes


def _stored_sizes(path: Path) -> np.ndarray | None:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.warning("The cache file %s is damaged (%s): sizes are read anew.", path, error)
        return None
