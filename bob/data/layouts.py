"""Telling by a folder's files how it stores its pictures. Of files only the heads of tables are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES, SUFFIXES, is_picture, split_of
from bob.data.table_layout import TABLE_SUFFIXES, is_table

__all__ = ["SPLIT_ALIASES", "SPLIT_NAMES", "SUFFIXES", "is_picture", "split_of"]

ROBOFLOW = "_annotations.coco.json"
# Single files that hold or describe a data set: the reader of each suffix.
FILE_KINDS: dict[str, str] = dict.fromkeys(TABLE_SUFFIXES, "table")


def split_folders(root: Path, inner: str = "") -> dict[str, Path]:
    """Return the folders of ``root`` that are named as splits (and hold a folder ``inner``), by split, sorted."""
    found = sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in SPLIT_NAMES)
    return {SPLIT_NAMES[path.name.lower()]: path for path in found if (path / inner).is_dir()}


def coco_files(root: Path) -> list[Path]:
    """Return the files that hold COCO annotations of a split, by the places where they usually lie."""
    if not root.is_dir():
        return []
    places = [root / "annotations", root]
    for place in places:
        named = sorted(path for path in place.glob("*.json") if split_of(path.stem))
        if named and (place != root or any(_has_pictures(root, path.stem) for path in named)):
            return named
    return sorted(path for path in root.glob(f"*/{ROBOFLOW}") if split_of(path.parent.name))


def _has_pictures(root: Path, stem: str) -> bool:
    return any(folder.is_dir() for folder in _picture_folders(root, stem))


def _picture_folders(root: Path, stem: str) -> list[Path]:
    name = stem.removeprefix("instances_")
    return [root / folder for folder in (name, f"images/{name}", "images", str(split_of(stem)))]


def is_coco(root: Path) -> bool:
    """Tell whether ``coco_files`` are what this folder is about, not some JSON beside folders of classes."""
    files = coco_files(root)
    if not files or files[0].parent != root:
        return bool(files)
    folders = [folder for path in files for folder in _picture_folders(root, path.stem) if folder.is_dir()]
    return any(entry.is_file() and not entry.name.startswith(".") for one in folders for entry in one.iterdir())


def is_voc(root: Path) -> bool:
    """Tell whether this is one year's folder of a VOCdevkit."""
    return all((root / name).is_dir() for name in ("Annotations", "ImageSets", "JPEGImages"))


def voc_years(root: Path) -> list[Path]:
    """Return the VOC folders that ``root`` is, or holds, or holds in its VOCdevkit."""
    if is_voc(root):
        return [root]
    return sorted(path for path in (*root.glob("VOC[0-9]*"), *root.glob("VOCdevkit/VOC[0-9]*")) if is_voc(path))


def is_ade20k(root: Path) -> bool:
    """Tell whether this is ADEChallengeData2016 by its folders."""
    return all((root / name / "training").is_dir() for name in ("images", "annotations"))


def is_cityscapes(root: Path) -> bool:
    """Tell whether this holds Cityscapes' pictures and fine annotations."""
    return all((root / name).is_dir() for name in ("leftImg8bit", "gtFine"))


def mask_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Return the folders of pictures and of masks of each split: SPLIT/images and SPLIT/masks, or the other way round.

    Folders ``images`` and ``masks`` without splits are "all".
    """
    inside = {split: (path / "images", path / "masks") for split, path in split_folders(root, "masks").items()}
    inside = {split: pair for split, pair in inside.items() if pair[0].is_dir()}
    if inside or not ((root / "images").is_dir() and (root / "masks").is_dir()):
        return inside
    pictures, masks = split_folders(root / "images"), split_folders(root / "masks")
    if pictures and masks:
        return {split: (pictures[split], masks[split]) for split in pictures if split in masks}
    return {"all": (root / "images", root / "masks")}


# How a folder's reader is recognised, the most telling layout first.
LAYOUTS: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("coco", is_coco),
    ("voc", voc_years),
    ("ade20k", is_ade20k),
    ("cityscapes", is_cityscapes),
    ("masks", mask_folders),
    ("table", is_table),
)


def dense_layout(root: Path, *, tables: bool = True) -> str | None:
    """Return the reader for a folder with boxes, masks or (if ``tables``) a table of labels, or None for another."""
    return next((kind for kind, recognise in LAYOUTS if (tables or kind != "table") and recognise(root)), None)


def file_layout(path: Path) -> str | None:
    """Return the reader for a single file, by its suffix, or None."""
    name = path.name.lower()
    return next((kind for suffix, kind in FILE_KINDS.items() if name.endswith(suffix)), None)
