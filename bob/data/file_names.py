"""What the names of files and folders say: a picture, a split, a part of a data set."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

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
# Folders that are parts of a data set by their names, not classes.
PICTURE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos")
MASK_FOLDERS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation", "gt", "segmentationclass"),
    *("ground_truth", "groundtruth", "segmentation", "annot"),
)
PICTURE_WORDS = frozenset((*PICTURE_FOLDERS, "leftimg8bit"))
LABEL_WORDS = frozenset((*MASK_FOLDERS, "bboxes", "boxes"))
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
    stem, _, suffix = name.rpartition(".")
    if stem[-1:] in ("", ".", "/") or "/" in suffix:  # a hidden file, or no dot in the name: rare
        return os.path.splitext(name)[1].lower()  # noqa: PTH122 - ten times as fast, for a million files
    return f".{suffix.lower()}"


def split_of(stem: str) -> str | None:
    """Return the split that a file or folder name means ("instances_train2017" is "train"), or None."""
    match = _STEM.fullmatch(stem.lower())
    return SPLIT_NAMES.get(match[1]) if match else None


def split_folders(root: Path, inner: str = "") -> dict[str, Path]:
    """Return the folders of ``root`` that are named as splits (and hold a folder ``inner``), by split, sorted."""
    found = sorted(path for path in root.iterdir() if path.is_dir() and path.name.lower() in SPLIT_NAMES)
    return {SPLIT_NAMES[path.name.lower()]: path for path in found if (path / inner).is_dir()}


def split_within(name: str) -> str | None:
    """Return the one split whose word a name holds (``seg_train``, ``training_set``, ``valid2``), or None."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    return splits.pop() if len(splits) == 1 else None


def name_in_other_case(root: Path, path: str) -> str | None:
    """Return the path below ``root`` that a file has which differs from ``path`` in case alone, or None."""
    found: list[str] = []
    for part in path.split("/"):
        name = _by_case(root.joinpath(*found)).get(part.casefold())
        if name is None:
            return None
        found.append(name)
    return None if found == path.split("/") else "/".join(found)


@functools.lru_cache(maxsize=8)
def _by_case(folder: Path) -> dict[str, str]:
    try:
        return {name.casefold(): name for name in os.listdir(folder)}  # noqa: PTH208 - names alone are asked for
    except OSError:
        return {}
