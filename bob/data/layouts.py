"""Telling by a folder's files how it stores its pictures. Of JSON files alone a few blocks are looked at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bob.data.coco_layout import is_coco, is_coco_by_content
from bob.data.file_names import SPLIT_NAMES

# Single files that hold or describe a data set: the reader of each suffix.
FILE_KINDS: dict[str, str] = {".json": "coco"}


def split_folders(root: Path, inner: str = "") -> dict[str, Path]:
    """Return the folders of ``root`` that are named as splits (and hold a folder ``inner``), by split, sorted."""
    found = sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in SPLIT_NAMES)
    return {SPLIT_NAMES[path.name.lower()]: path for path in found if (path / inner).is_dir()}


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
)
# What is recognised by what files hold, and only where labels are asked for: pictures alone are read as they were
# before these were known.
LAYOUTS_BY_CONTENT: tuple[tuple[str, Callable[[Path], object]], ...] = (("coco", is_coco_by_content),)


def dense_layout(root: Path, *, labelled: bool = True) -> str | None:
    """Return the reader for a folder with boxes or masks, or None for another kind of folder.

    Args:
        root: The folder.
        labelled: Whether its labels are asked for.
    """
    known = (*LAYOUTS, *LAYOUTS_BY_CONTENT) if labelled else LAYOUTS
    return next((kind for kind, recognise in known if recognise(root)), None)


def file_layout(path: Path) -> str | None:
    """Return the reader for a single file, by its suffix, or None."""
    name = path.name.lower()
    return next((kind for suffix, kind in FILE_KINDS.items() if name.endswith(suffix)), None)
