"""Which mask belongs to which picture, and what a data set of such pairs is. Nothing is opened."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bob.core.errors import DataError
from bob.core.files import digest
from bob.data.colour_lookup import ColourLookup
from bob.data.file_names import is_readable
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.mask_endings import Key, ended_keys, same_name
from bob.data.mask_layouts import MaskPlace
from bob.data.mask_pictures import MaskPairs, mask_samples
from bob.data.readers.base import DenseSamples, split_sizes
from bob.data.splits import SPLIT_VERSION, Listing


@dataclass(frozen=True)
class Pairing:
    """One stored split: pictures and masks that belong together, "" for what is missing, and all their files."""

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    files: tuple[FileEntry, ...]

    def listing(self) -> Listing:
        """Return sample ids and labels, which are all 0."""
        ids = tuple(picture or mask for picture, mask in zip(self.pictures, self.masks, strict=True))
        return ids, np.zeros(len(ids), dtype=np.int64)


def pair_files(
    root: Path, pictures: Path, masks: Path, *, picture_key: Key = same_name, mask_key: Key = same_name
) -> Pairing:
    """Pair the pictures below one folder with the masks below another.

    Args:
        root: The data set's folder.
        pictures: The folder of pictures.
        masks: The folder of masks.
        picture_key: Returns what a picture's path below its folder has in common with its mask's; None: no picture.
        mask_key: The same for masks.

    Raises:
        DataError: There is not one pair, two files have the same key, or a link leads out of the root.
    """
    return pair_listed(
        root,
        (pictures, _listed(root, pictures)),
        (masks, _listed(root, masks)),
        picture_key=picture_key,
        mask_key=mask_key,
    )


def pair_place(root: Path, place: MaskPlace) -> Pairing:
    """Pair pictures with masks of the same name, or with masks whose names have an ending more (``a_mask.png``).

    Raises:
        DataError: As ``pair_files``; or masks of two endings go with the pictures.
    """
    pictures = _listed(root, place.pictures)
    if place.shared:
        pictures = {name: entry for name, entry in pictures.items() if "/" not in name}
    masks = pictures if place.shared else _listed(root, place.masks)
    picture_key, mask_key = ended_keys(list(pictures), list(masks), where=str(place.masks), shared=place.shared)
    return pair_listed(
        root, (place.pictures, pictures), (place.masks, masks), picture_key=picture_key, mask_key=mask_key
    )


def pair_listed(
    root: Path,
    pictures: tuple[Path, Mapping[str, FileEntry]],
    masks: tuple[Path, Mapping[str, FileEntry]],
    *,
    picture_key: Key,
    mask_key: Key,
) -> Pairing:
    """Pair files that are listed already: each folder comes with its picture files by their paths below it."""
    found, partners = _keyed(root, pictures[1], picture_key), _keyed(root, masks[1], mask_key)
    if not found.keys() & partners.keys():
        raise DataError(
            f"{pictures[0]} and {masks[0]}: no picture has a mask of the same name.",
            hint=f"Look at the names: ls '{pictures[0]}' '{masks[0]}'",
        )
    keys = sorted(found.keys() | partners.keys())
    return Pairing(
        pictures=tuple(found[key].path if key in found else "" for key in keys),
        masks=tuple(partners[key].path if key in partners else "" for key in keys),
        files=tuple(sorted([*found.values(), *partners.values()])),
    )


def pair_sizes(stored: Mapping[str, Pairing]) -> tuple[tuple[str, int], ...]:
    """Return the spec's ``sizes``."""
    return split_sizes({name: part.listing() for name, part in stored.items()})


def fingerprint_pairs(
    kind: str, root: Path, stored: Mapping[str, Pairing], *, cache_dir: Path, more: Sequence[str] | None = None
) -> str:
    """Return the fingerprint: masks count in every byte. ``more`` is what else changes the labels."""
    files = [entry for part in stored.values() for entry in part.files]
    masks = {path for part in stored.values() for path in part.masks}
    content = fingerprint_files(root, files, cache_dir=cache_dir, whole=masks.__contains__)
    return digest([kind, SPLIT_VERSION, sorted(stored), content, json.dumps(more)], length=64)


def open_pairs(
    root: Path,
    stored: Mapping[str, Pairing],
    classes: tuple[str, ...],
    table: np.ndarray,
    *,
    fingerprint: str,
    cache_dir: Path,
    colours: ColourLookup | None = None,
) -> dict[str, DenseSamples]:
    """Return the stored splits; ``table`` maps stored labels to classes, or ``colours`` colours.

    Raises:
        DataError: A mask has another size than its picture.
    """
    return {
        name: mask_samples(
            MaskPairs(
                root=root,
                pictures=part.pictures,
                masks=part.masks,
                table=table,
                classes=len(classes),
                colours=colours,
            ),
            classes=classes,
            fingerprint=fingerprint,
            stored=name,
            cache_dir=cache_dir,
        )
        for name, part in stored.items()
    }


def _listed(root: Path, folder: Path) -> dict[str, FileEntry]:
    """Return the picture files below a folder by their paths below it."""
    inside(root, folder)
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    return {entry.path.removeprefix(prefix): entry for entry in list_files(root, folder) if is_readable(entry.path)}


def _keyed(root: Path, entries: Mapping[str, FileEntry], key: Key) -> dict[str, FileEntry]:
    found: dict[str, FileEntry] = {}
    for path, entry in entries.items():
        name = key(path)
        if name in found:
            raise DataError(
                f"{found[name].path} and {entry.path} in {root} have the same name but for the suffix.",
                hint="Nobody can tell whose the mask is: rename or remove one.",
            )
        if name is not None:
            found[name] = entry
    return found
