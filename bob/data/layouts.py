"""Telling by a folder's files how it stores its pictures. Of JSON files and tables alone a part is looked at."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from bob.core.errors import DataError
from bob.core.registry import resolved
from bob.data.archive_layout import TAR, ZIP, is_webdataset, is_zip
from bob.data.coco_layout import is_coco, is_coco_by_content
from bob.data.mask_layouts import is_masks
from bob.data.table_layout import TABLE_SUFFIXES, is_table

# Single files that hold or describe a data set: the reader of each suffix.
FILE_KINDS: dict[str, str] = {
    ".json": "coco",
    ".yaml": "yolo",
    ".yml": "yolo",
    **dict.fromkeys(TABLE_SUFFIXES, "table"),
    **dict.fromkeys(ZIP, "zip"),
    **dict.fromkeys(TAR, "webdataset"),
}
# Folders of these that look like classes were read as pictures alone where no labels are asked for, and still are.
PICTURES_ALONE = ("yolo", "open_images")
ADE20K_FOLDER = "ADEChallengeData2016"
BOXES_BESIDE = ("voc", "open_images", "yolo")  # boxes in files beside the pictures: people keep several formats
LOOKED_AT = 64  # names in a folder that tell what it is


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


def ade20k_root(root: Path) -> Path | None:
    """Return ADEChallengeData2016 if ``root`` is that or holds it, told by its names, or None.

    A set of one's own may have the folders too; ADE20K's list of classes or its pictures' names tell the two apart.
    """
    for folder in (root, root / ADE20K_FOLDER):
        if is_ade20k(folder) and (
            ADE20K_FOLDER in folder.name or (folder / "objectInfo150.txt").is_file() or _has_ade_names(folder)
        ):
            return folder
    return None


def _has_ade_names(folder: Path) -> bool:
    with os.scandir(folder / "images" / "training") as entries:
        return any(entry.name.startswith("ADE_") for entry in islice(entries, LOOKED_AT))


def is_cityscapes(root: Path) -> bool:
    """Tell whether this holds Cityscapes' pictures and fine annotations."""
    return all((root / name).is_dir() for name in ("leftImg8bit", "gtFine"))


# How a folder's reader is recognised, the most telling layout first; what has a module of its own is named.
LAYOUTS: tuple[tuple[str, Callable[[Path], object] | str], ...] = (
    ("coco", is_coco),
    ("voc", voc_years),
    ("ade20k", ade20k_root),
    ("cityscapes", is_cityscapes),
    ("masks", is_masks),
    ("voc", "bob.data.voc_layout:has_voc_parts"),
    ("open_images", "bob.data.open_images_layout:is_open_images"),
    ("yolo", "bob.data.yolo_layout:is_yolo"),
    ("zip", is_zip),
    ("webdataset", is_webdataset),
)
# What is recognised by what files hold. Where no labels are asked for, folders of pictures need none of it: they are
# read as they were before these were known.
LAYOUTS_BY_CONTENT: tuple[tuple[str, Callable[[Path], object]], ...] = (
    ("coco", is_coco_by_content),
    ("table", is_table),
)

# What a folder is recognised by, in words, for who asks why it is read so.
REASONS = {
    "coco": "a JSON file holds COCO's annotations",
    "voc": "XML files with boxes lie in it, as in PASCAL VOC",
    "open_images": "annotations-bbox.csv files lie in it, as of Open Images",
    "ade20k": "images/training and annotations/training lie in it, as in ADE20K",
    "cityscapes": "leftImg8bit and gtFine lie in it, as in Cityscapes",
    "yolo": "text files of numbers for its pictures, or a data.yaml, lie in it, as of YOLO",
    "masks": "folders of pictures lie beside folders of masks",
    "table": "a table lists its pictures with their labels",
    "zip": "zip files hold its pictures",
    "webdataset": "tar files hold its pictures",
    "huggingface": "it is a data set saved by Hugging Face's library",
    "idx": "IDX files (*-idx3-ubyte) lie in it, as of MNIST",
    "imagefolder": "each folder of pictures is a class",
}


def dense_layout(root: Path, *, by_content: bool = True) -> str | None:
    """Return the reader for a folder that is no folder of classes, or None.

    Args:
        root: The folder.
        by_content: Whether it may be one of ``LAYOUTS_BY_CONTENT``.

    Raises:
        DataError: Boxes of two formats lie in it.
    """
    known = (*LAYOUTS, *LAYOUTS_BY_CONTENT) if by_content else LAYOUTS
    found = next((kind for kind, recognise in known if resolved(recognise)(root)), None)
    if found in BOXES_BESIDE and not is_voc(root) and not voc_years(root):
        others = [kind for kind, recognise in LAYOUTS if kind in BOXES_BESIDE and kind != found]
        _require_alone(root, found, [kind for kind in others if resolved(dict(LAYOUTS)[kind])(root)])
    return found


def _require_alone(root: Path, found: str, others: Sequence[str]) -> None:
    if others:
        named = " or ".join(f"{kind}:{root} ({REASONS[kind]})" for kind in (found, *others))
        raise DataError(
            f"{root} holds annotations of two kinds, and nobody can tell which are meant.", hint=f"Name it {named}."
        )


def file_layout(path: Path) -> str | None:
    """Return the reader for a single file, by its suffix, or None."""
    name = path.name.lower()
    return next((kind for suffix, kind in FILE_KINDS.items() if name.endswith(suffix)), None)


def reason_of(text: str, kind: str) -> str:
    """Return in words why a data set that is named so is read by this reader."""
    prefix = text.partition(":")[0] if ":" in text else ""
    if prefix and "/" not in prefix:
        return f"its name says so ({prefix}:)"
    return REASONS.get(kind, "its name is known")
