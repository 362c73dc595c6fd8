"""Telling by a folder's files how it stores its pictures. Nothing is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from bob.data.archive_layout import TAR, ZIP, is_webdataset, is_zip

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_STEM = re.compile(r"(?:instances_)?([a-z]+)(?:[-_]?\d{4})?")
# Names of folders and Hugging Face splits that count where no other stands for the same split.
SPLIT_ALIASES = {"dev": "val", "eval": "val", "evaluation": "val"}
ROBOFLOW = "_annotations.coco.json"
# Single files that hold or describe a data set: the reader of each suffix.
FILE_KINDS: dict[str, str] = {**dict.fromkeys(ZIP, "zip"), **dict.fromkeys(TAR, "webdataset")}
SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".jpx",
        ".jpf",
        ".j2c",
        ".jpc",
        ".avif",
    )
)
# Pictures that are read with the extra "formats" alone.
EXTRA_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
# Pictures that nothing here reads: bad ones, so that a class of them is not passed over.
UNREAD_SUFFIXES = frozenset(
    (
        *(".jxl", ".jxr", ".wdp", ".jls", ".bpg", ".qoi", ".heics", ".avifs"),
        *(".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".raw"),
        *(".svg", ".psd", ".xcf", ".exr", ".hdr", ".tga", ".ico", ".pcx", ".dds", ".dcm"),
    )
)
_READ = SUFFIXES | EXTRA_SUFFIXES
_PICTURES = _READ | UNREAD_SUFFIXES


def is_picture(name: str) -> bool:
    """Tell by its suffix whether a file should be a picture."""
    return suffix_of(name) in _PICTURES


def is_readable(name: str) -> bool:
    """Tell by its suffix whether a file is a picture of a kind that can be read, with the extra "formats" at most."""
    return suffix_of(name) in _READ


def suffix_of(name: str) -> str:
    """Return a name's suffix in small letters, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 - ten times as fast, for a million files


def split_of(stem: str) -> str | None:
    """Return the split that a file or folder name means ("instances_train2017" is "train"), or None."""
    match = _STEM.fullmatch(stem.lower())
    return SPLIT_NAMES.get(match[1]) if match else None


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
    ("zip", is_zip),
    ("webdataset", is_webdataset),
)


def dense_layout(root: Path) -> str | None:
    """Return the reader for a folder with boxes or masks, or None for another kind of folder."""
    return next((kind for kind, recognise in LAYOUTS if recognise(root)), None)


def file_layout(path: Path) -> str | None:
    """Return the reader for a single file, by its suffix, or None."""
    name = path.name.lower()
    return next((kind for suffix, kind in FILE_KINDS.items() if name.endswith(suffix)), None)
