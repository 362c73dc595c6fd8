"""Cityscapes with fine annotations: 19 classes of its 34 labels; the others are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.data.dataset import DatasetSpec
from bob.data.dense_places import PLACES, known_or_folder
from bob.data.file_names import split_folders
from bob.data.known import KNOWN
from bob.data.layouts import is_cityscapes
from bob.data.mask_pictures import label_table
from bob.data.pairing import Pairing, fingerprint_pairs, open_pairs, pair_files, pair_sizes
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same

# Label ids of the evaluated classes, in train id order: cityscapesScripts, helpers/labels.py.
CLASS_IDS = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
CLASSES = tuple(CLASS_IDS)
LABEL_IDS = 34
PICTURE_END, IDS_END, TRAIN_IDS_END = "_leftImg8bit", "_gtFine_labelIds", "_gtFine_labelTrainIds"
SPLITS_WITH_MASKS = ("train", "val")  # those of test are withheld: the files there hold no class


class CityscapesReader:
    """Reads ``cityscapes`` and ``cityscapes:FOLDER``; val serves as test, and a new val is split off train."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder; no picture and no mask is opened."""
        root = known_or_folder("cityscapes", target, cache_dir=cache_dir, data_dir=data_dir)
        end, stored = _scan(root)
        known = KNOWN.get("cityscapes")
        return DatasetSpec(
            name="cityscapes",
            kind="cityscapes",
            root=str(root),
            fingerprint=fingerprint_pairs("cityscapes", root, stored, cache_dir=cache_dir, more=[end]),
            classes=CLASSES,
            sizes=pair_sizes(stored),
            license=known.license,
            overlaps=known.overlaps,
            annotations=("semantic",),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Say how to get it if it is not here: it is given to registered users only."""
        known_or_folder("cityscapes", target, cache_dir=cache_dir, data_dir=data_dir)

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed, or a mask is not of its picture's size."""
        root = Path(str(spec.root))
        end, stored = _scan(root)
        require_same(spec, fingerprint_pairs("cityscapes", root, stored, cache_dir=cache_dir, more=[end]))
        table = label_table(_labels(end))
        return open_pairs(root, stored, CLASSES, table, fingerprint=spec.fingerprint, cache_dir=cache_dir)


READER = CityscapesReader()


def _labels(end: str) -> dict[int, int]:
    """Return the class of each stored label; the licence plate's -1 is 255 in an 8-bit file."""
    if end == TRAIN_IDS_END:
        return {label: label for label in range(len(CLASSES))}
    return dict.fromkeys(range(LABEL_IDS), IGNORE) | {label: n for n, label in enumerate(CLASS_IDS.values())}


def _scan(root: Path) -> tuple[str, dict[str, Pairing]]:
    """Return how the names of the masks end, and the stored splits."""
    if not is_cityscapes(root):
        raise DataError(
            f"{root} is not laid out as Cityscapes: {PLACES['cityscapes'].layout} are expected.",
            hint=f"Look at the names: ls '{root}'",
        )
    # Train ids are made by a script and may be of a part only; label ids come with the data.
    end = IDS_END if any((root / "gtFine").rglob(f"*{IDS_END}.png")) else TRAIN_IDS_END
    pictures, masks = split_folders(root / "leftImg8bit"), split_folders(root / "gtFine")
    stored = {
        split: pair_files(
            root,
            pictures[split],
            masks[split],
            picture_key=partial(_before, PICTURE_END),
            mask_key=partial(_before, end),
        )
        for split in SPLITS_WITH_MASKS
        if split in pictures and split in masks
    }
    if not stored:
        raise DataError(f"{root}: neither train nor val is in both leftImg8bit and gtFine.", hint=f"ls '{root}/gtFine'")
    return end, stored


def _before(end: str, path: str) -> str | None:
    """Return what stands before a name's ending; None for another file, such as the coloured masks."""
    stem = path.rpartition(".")[0]
    return stem.removesuffix(end) if stem.endswith(end) else None
