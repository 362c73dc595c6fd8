"""What all masks of a data set hold: labels, colours, palettes. Each is opened once per content of the data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob.data.check import MACHINE_FAULTS
from bob.data.colour_lookup import COLOUR_MODES, RARE_SHARE, colour_counts, packed_pixels
from bob.data.decode import BROKEN_PICTURE, open_picture
from bob.data.kept import kept
from bob.data.mask_pictures import INDEX_MODES, THREADS, read_indices

VERSION = 1
MOST_COLOURS = 4096  # different ones of a split; photographs have more, and no table lists them
BATCH = 256  # masks whose contents are held at once


@dataclass(frozen=True)
class MaskContents:
    """What the masks of one stored split, or of several, hold.

    Attributes:
        kinds: How many masks are "grey", "palette", "bit" (one bit a pixel), "coloured" or "unread".
        labels: The values of grey masks and the indices of palettes.
        bits: The values of masks of one bit.
        colours: The pixels of each colour; without a table, of coloured masks alone. Rare ones that the table lacks and
            those beyond ``MOST_COLOURS`` are not among them.
        frequent: For each colour that the table lacks (of all colours where there is none) and that is not rare: the
            mask with its largest share, and that share.
        pixels: All pixels of the masks whose colours count.
        palettes: Each palette met: the colour of each label that its mask holds, with the first such mask.
        unread: The first mask that could not be read, and why.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    labels: set[int] = field(default_factory=set)
    bits: set[int] = field(default_factory=set)
    colours: Counter[int] = field(default_factory=Counter)
    frequent: dict[int, tuple[str, float]] = field(default_factory=dict)
    pixels: int = 0
    palettes: dict[tuple[tuple[int, int], ...], str] = field(default_factory=dict)
    unread: tuple[str, str] | None = None

    @property
    def values(self) -> set[int]:
        """The labels of all masks that are not coloured."""
        return self.labels | self.bits

    @property
    def masks(self) -> int:
        """How many masks there are, unread ones too."""
        return sum(self.kinds.values())


def mask_contents(
    root: Path, masks: Mapping[str, Iterable[str]], known: frozenset[int] | None, *, key: str, cache_dir: Path
) -> dict[str, MaskContents]:
    """Return what the masks of each stored split hold.

    Args:
        root: The data set's folder.
        masks: The masks of each split.
        known: The packed colours that a table has; None without a table: only coloured masks' colours are counted.
        key: The data set's fingerprint, under which the answer is kept.
        cache_dir: Where it is kept.
    """

    def find() -> dict[str, Any]:
        return {split: _as_json(_merged(_each(root, list(names), known))) for split, names in masks.items()}

    return {split: _from_json(found) for split, found in kept(cache_dir, ["mask contents", VERSION, key], find).items()}


def together(parts: Iterable[MaskContents]) -> MaskContents:
    """Return what several splits hold."""
    return _merged(parts)


def _each(root: Path, names: list[str], known: frozenset[int] | None) -> Iterable[MaskContents]:
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(names), BATCH):
            yield from pool.map(lambda name: _of_mask(root, name, known), names[start : start + BATCH])


def _of_mask(root: Path, name: str, known: frozenset[int] | None) -> MaskContents:
    try:
        with open_picture(root / name) as image:
            return _of_image(image, name, known)
    except BROKEN_PICTURE as error:
        if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
            raise  # the answer is kept: a mask must not count as unread for a fault of the machine
        return MaskContents(kinds=Counter(unread=1), unread=(name, str(error)))


def _of_image(image: Image.Image, name: str, known: frozenset[int] | None) -> MaskContents:
    if image.mode not in INDEX_MODES and image.mode not in COLOUR_MODES:
        read_indices(image)  # raises, and says why
    is_index = image.mode in INDEX_MODES
    kind = {"P": "palette", "1": "bit"}.get(image.mode, "grey") if is_index else "coloured"
    stored = read_indices(image).ravel() if is_index else np.zeros(0, dtype=np.uint8)
    held = set(np.flatnonzero(np.bincount(stored, minlength=256)).tolist())
    labels, bits = (set(), held) if kind == "bit" else (held, set())
    palettes = {_palette(image, labels): name} if kind == "palette" else {}
    if kind == "coloured" or (known is not None and image.mode in COLOUR_MODES):
        values, counts = colour_counts(packed_pixels(image))
        pixels = int(counts.sum())
        lacking = ~np.isin(values, sorted(known)) if known is not None else np.ones(len(values), dtype=bool)
        often = counts >= RARE_SHARE * pixels
        colours: Counter[int] = Counter(
            dict(zip(*(one[often | ~lacking].tolist() for one in (values, counts)), strict=True))
        )
        frequent = {value: (name, colours[value] / pixels) for value in values[often & lacking].tolist()}
        return MaskContents(Counter({kind: 1}), labels, bits, colours, frequent, pixels, palettes)
    return MaskContents(Counter({kind: 1}), labels, bits, palettes=palettes)


def _palette(image: Image.Image, labels: set[int]) -> tuple[tuple[int, int], ...]:
    """Return the labels that a mask holds with their packed colours."""
    stored = (image.getpalette("RGB") or [])[: 3 * 256]
    return tuple(
        (label, stored[3 * label] << 16 | stored[3 * label + 1] << 8 | stored[3 * label + 2])
        for label in sorted(labels)
        if 3 * label + 2 < len(stored)
    )


def _merged(parts: Iterable[MaskContents]) -> MaskContents:
    kinds: Counter[str] = Counter()
    labels: set[int] = set()
    bits: set[int] = set()
    colours: Counter[int] = Counter()
    frequent: dict[int, tuple[str, float]] = {}
    palettes: dict[tuple[tuple[int, int], ...], str] = {}
    pixels, unread = 0, None
    for part in parts:
        kinds += part.kinds
        labels |= part.labels
        bits |= part.bits
        for colour, count in part.colours.items():
            if colour in colours or len(colours) < MOST_COLOURS:
                colours[colour] += count
        for colour, where in part.frequent.items():
            if (colour in frequent and where[1] > frequent[colour][1]) or len(frequent) < MOST_COLOURS:
                frequent[colour] = max(where, frequent.get(colour, where), key=lambda one: one[1])
        for palette, name in part.palettes.items():
            if len(palettes) < MOST_COLOURS:
                palettes.setdefault(palette, name)
        pixels += part.pixels
        unread = unread or part.unread
    return MaskContents(kinds, labels, bits, colours, frequent, pixels, palettes, unread)


def _as_json(contents: MaskContents) -> dict[str, Any]:
    return {
        "kinds": dict(contents.kinds),
        "labels": sorted(contents.labels),
        "bits": sorted(contents.bits),
        "colours": sorted(contents.colours.items()),
        "frequent": [[colour, *where] for colour, where in sorted(contents.frequent.items())],
        "pixels": contents.pixels,
        "palettes": [[list(palette), name] for palette, name in contents.palettes.items()],
        "unread": contents.unread,
    }


def _from_json(found: Mapping[str, Any]) -> MaskContents:
    return MaskContents(
        kinds=Counter(found["kinds"]),
        labels=set(found["labels"]),
        bits=set(found["bits"]),
        colours=Counter(dict(map(tuple, found["colours"]))),
        frequent={colour: (name, share) for colour, name, share in found["frequent"]},
        pixels=found["pixels"],
        palettes={tuple(map(tuple, palette)): name for palette, name in found["palettes"]},
        unread=tuple(found["unread"]) if found["unread"] else None,
    )
