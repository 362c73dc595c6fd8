"""How many bits the grey levels of 16-bit pictures use: microscopes, X-ray and depth cameras write 12 of 16."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import DataError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.decode import BITS, BROKEN_PICTURE, WIDE_BITS, is_wide, refuse_bomb
from bob.data.kept import kept
from bob.data.readers.base import Samples

log = logging.getLogger(__name__)

LOOKED_AT = 128  # pictures, evenly spaced over the stored splits
DEPTHS = (8, 10, 12, 14, WIDE_BITS)  # bits that cameras and scanners have


def with_bits(spec: DatasetSpec, bits: int | None) -> DatasetSpec:
    """Return a data set whose 16-bit pictures are scaled by fewer bits, under another fingerprint: results differ."""
    if bits is None or bits == WIDE_BITS:
        return replace(spec, bits=bits)
    log.warning(
        "Data set %r: the grey levels of its 16-bit pictures use %d bits, so that %d becomes white.",
        *(spec.name, bits, 2**bits - 1),
    )
    marked = digest([spec.fingerprint, "bits", bits], length=64)
    return replace(spec, fingerprint=marked, read_as=spec.fingerprint, bits=bits)


@dataclass(frozen=True)
class OfBits:
    """Opens pictures as another opener does, and notes how many bits their grey levels use."""

    read: Callable[[int], Image.Image]
    bits: int

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``; ``to_rgb`` scales it by the bits noted."""
        image = self.read(index)
        if is_wide(image):
            image.info[BITS] = self.bits
        return image


def bits_of(spec: DatasetSpec, stored: Callable[[], Mapping[str, Samples]], *, cache_dir: Path) -> int | None:
    """Return the bits that the grey levels of 16-bit pictures use, one of ``DEPTHS``; None if no picture has 16.

    The number is one for the whole set, so that pictures stay comparable: that of the highest level in the pictures
    looked at. A picture with a higher level is an error, which names the setting ``picture_bits``. The answer is kept
    by content.

    Args:
        spec: The data set.
        stored: Returns its stored splits.
        cache_dir: Where the answer is kept.
    """

    def find() -> dict[str, int | None]:
        parts = stored()
        highest = [level for one in parts.values() for level in _levels(one, max(1, LOOKED_AT // len(parts)))]
        top = max(highest, default=None)
        return {"bits": None if top is None else next((bits for bits in DEPTHS if top < 2**bits), WIDE_BITS)}

    return kept(cache_dir, ["picture bits", spec.kind, spec.fingerprint], find)["bits"]


def require_alike(source: DatasetSpec, other: DatasetSpec) -> None:
    """Refuse a data set beside another whose 16-bit pictures are scaled by other bits: it would be brighter or darker.

    Raises:
        DataError: It is.
    """
    if None not in (source.bits, other.bits) and source.bits != other.bits:
        raise DataError(
            f"the grey levels of {source.name!r} use {source.bits} bits and those of {other.name!r} {other.bits}: each "
            "would be scaled by its own.",
            hint=f"Say which bits all of them have: --set picture_bits={max(source.bits or 0, other.bits or 0)}",
        )


def _levels(samples: Samples, count: int) -> list[int]:
    """Return the highest grey level of each 16-bit picture looked at; the check of pictures names bad ones."""
    found = []
    for index in _places(len(samples.ids), count):
        try:
            with samples.read(index) as image:
                if is_wide(image):
                    refuse_bomb(image)
                    found.append(int(np.asarray(image).max(initial=0)))
        except BROKEN_PICTURE:
            continue
    return found


def _places(count: int, most: int) -> list[int]:
    """Return at most so many of the indices below ``count``, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()
