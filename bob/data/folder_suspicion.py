"""Whether a folder that could be read as folders of classes is something else: boxes, masks, or a table of labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError
from bob.data.coco_layout import coco_kinds
from bob.data.coco_look import coco_kind, mentions_boxes
from bob.data.decode import BROKEN_PICTURE, open_picture
from bob.data.file_names import LABEL_WORDS, PICTURE_WORDS, SPLIT_NAMES, split_of
from bob.data.folder_splits import P, forced, require_inside
from bob.data.mask_layouts import LEAST_SHARE, MASK_ENDS, mask_end
from bob.data.mask_pictures import INDEX_MODES
from bob.data.member_paths import MemberPath
from bob.data.table_layout import TABLE_SUFFIXES

ANNOTATION_SUFFIXES = (".txt", ".xml", ".json")
MOST_LABELS = 64
LOOKED_AT = 3  # pictures that tell whether a folder holds masks
HEAD_BYTES = 1 << 16


def require_classes(root: P, stored: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[str]]]) -> None:
    """Refuse a folder whose class folders are no classes, as far as its names and files tell.

    Args:
        root: The folder.
        stored: Of each stored split: its pictures' paths, the class folder of each, and the files that are none.

    Raises:
        DataError: It looks like something else; the message says what, and how to have it read as classes all the same.
    """
    names = sorted({name for _, classes, _ in stored.values() for name in classes})
    readings = (_by_pictures(root, *part) for part in stored.values())
    reading = next(filter(None, readings), None) or _by_files_beside(root, names)
    if not reading:
        return
    shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
    inner = root / names[0]
    is_outer = len(names) == 1 and inner.is_dir() and any(map(_may_be_class, inner.iterdir()))
    raise DataError(
        f"{root} could be read as folders of the classes {shown}, but {reading}.",
        hint=_hint(root, inner if is_outer else None),
    )


def _hint(root: P, inner: P | None) -> str:
    if isinstance(root, MemberPath):
        return (
            "In an archive only folders of classes are read: unpack it and name the folder. "
            f"If they are classes, name it {forced(root)}."
        )
    if inner is not None:
        return f"If {inner} holds the folders of the classes, name that."
    return f"If they are classes, name it {forced(root)}. docs/data.md shows the layouts that are read."


def _by_pictures(root: P, paths: Sequence[str], classes: Sequence[str], ignored: Sequence[str]) -> str | None:
    """Return what one stored split looks like by its pictures, their folders, and the files among them."""
    return (
        _by_annotation_files(paths, ignored)
        or _by_names(root, paths, classes)
        or _by_mask_endings(paths)
        or _by_inner_folders(paths, classes)
        or _by_stems(root, paths, classes)
    )


def _may_be_class(path: P) -> bool:
    return path.is_dir() and path.name.lower() not in SPLIT_NAMES


def _by_annotation_files(paths: Sequence[str], ignored: Sequence[str]) -> str | None:
    if not ignored:
        return None
    stems = {PurePosixPath(path).stem for path in paths}
    kinds = Counter(PurePosixPath(path).suffix.lower() for path in ignored if PurePosixPath(path).stem in stems)
    for suffix in ANNOTATION_SUFFIXES:
        if 2 * kinds[suffix] >= len(stems):
            what = {".txt": "boxes in YOLO's format (yolo:FOLDER reads them)", ".xml": "boxes in VOC's format"}.get(
                suffix, "annotations"
            )
            return f"its pictures have files {suffix} of the same names: these look like {what}"
    return None


def _by_names(root: P, paths: Sequence[str], classes: Sequence[str]) -> str | None:
    """Tell by folders that are called as parts of a data set are: ``images`` beside ``labels``, or alone."""
    words = {name: name.lower() for name in set(classes)}
    pictures = [name for name, word in words.items() if word in PICTURE_WORDS]
    labels = [name for name, word in words.items() if word in LABEL_WORDS]
    if labels and pictures:
        return (
            f"{pictures[0]!r} and {labels[0]!r} look like pictures and their masks: as such they are read "
            "(masks:FOLDER) if each mask is called as its picture, or so with an ending (NAME_mask.png)"
        )
    if pictures and len(words) == 1:
        beside = _labels_beside(root, root / PurePosixPath(paths[0]).parent)
        return f"the only class folder is called {pictures[0]!r}" + (f", with {beside} beside it" if beside else "")
    return None


def _labels_beside(root: P, folder: P) -> str | None:
    """Return what lies beside a folder of pictures, or beside its parents up to the root, and looks like labels."""
    while folder != root:
        folder = folder.parent
        for path in sorted(folder.iterdir()):
            if path.is_dir() and path.name.lower() in LABEL_WORDS:
                return f"a folder {path.name!r}"
            if path.suffix.lower() in (*TABLE_SUFFIXES, ".json", ".yaml", ".yml"):
                return f"the file {path.name!r}"
    return None


def _by_inner_folders(paths: Sequence[str], classes: Sequence[str]) -> str | None:
    """Tell domains, folds, or splits within classes: folders that hold the same folders, and no picture themselves."""
    if not paths or paths[0].count("/") < 2:  # of 200,000 pictures of plain classes nothing more is looked at
        return None
    inner: dict[str, set[str]] = {}
    for path, name in zip(paths, classes, strict=True):
        parts = path.split("/")
        below = parts[parts.index(name) + 1 : -1] if name in parts else []
        if not below:
            return None
        inner.setdefault(name, set()).add(below[0])
    first, *others = inner.values()
    if not others or len(first) < 2 or any(names != first for names in others):
        return None
    shown = ", ".join(sorted(first)[:5]) + (" ..." if len(first) > 5 else "")
    if all(split_of(name) for name in first):
        return f"each of them holds the splits {shown}: these are read from SPLIT/CLASS alone"
    return f"each of them holds the folders {shown}: these look like the classes of several domains or folds; name one"


def _by_mask_endings(paths: Sequence[str]) -> str | None:
    """Tell masks among the pictures of the classes: ``CLASS/NAME_mask.png`` beside ``CLASS/NAME.png``."""
    # Of 200,000 pictures of plain classes nothing more is looked at.
    if not any(path.rpartition(".")[0].lower().endswith(MASK_ENDS) for path in paths):
        return None
    stems = {os.path.splitext(path)[0] for path in paths}  # noqa: PTH122 - ten times as fast, for a million files
    masks = sorted(stem for stem in stems if (parts := mask_end(stem)) and parts[0] in stems)
    if LEAST_SHARE * len(masks) < len(stems):
        return None
    return f"{len(masks)} of its pictures are called as masks of others ({masks[0]})"


def _by_stems(root: P, paths: Sequence[str], classes: Sequence[str]) -> str | None:
    """Tell two folders of equal names, the pictures of one of which hold class numbers."""
    if len(set(classes)) != 2:
        return None
    stems: dict[str, dict[str, str]] = {}
    for path, name in zip(paths, classes, strict=True):
        stems.setdefault(name, {})[PurePosixPath(path).stem] = path
    (first, one), (second, other) = stems.items()
    if one.keys() != other.keys():
        return None
    for masks, pictures, name in ((one, other, first), (other, one, second)):
        if _are_masks(root, masks) and not _are_masks(root, pictures):
            return (
                f"each picture in {name!r} holds few grey levels or a palette and has its like: these look like masks"
            )
    return None


def _are_masks(root: P, found: Mapping[str, str]) -> bool:
    return all(_is_mask(root / path) for path in sorted(found.values())[:LOOKED_AT])


def _is_mask(path: P) -> bool:
    if path.suffix.lower() != ".png":
        return False
    try:
        with open_picture(path if isinstance(path, Path) else path.open()) as image:
            colours = image.getcolors(MOST_LABELS) if image.mode in INDEX_MODES else None
            return colours is not None
    except BROKEN_PICTURE:
        return False


def _by_files_beside(root: P, names: Sequence[str]) -> str | None:
    """Tell by files in the folder itself that list the pictures: COCO's, YOLO's ``data.yaml``."""
    for path in sorted(root.iterdir()):
        try:
            said = _file_says(root, path)
        except (OSError, DataError):  # what cannot be read, or leads elsewhere, says nothing
            continue
        if said:
            return said
    if isinstance(root, Path) and (root / names[0]).is_dir():  # without splits nothing else says that these are classes
        return next((_holds_coco(path.relative_to(root).as_posix()) for path in coco_kinds(root)), None)
    return None


def _holds_coco(name: str) -> str:
    return f"{name!r} holds annotations in COCO's format (coco:FOLDER reads its boxes)"


def _file_says(root: P, path: P) -> str | None:
    suffix = path.suffix.lower()
    if suffix not in (".json", ".yaml", ".yml") or not _is_file(root, path):
        return None
    if suffix == ".json" and (coco_kind(path) or mentions_boxes(path)):
        return _holds_coco(path.name)
    if suffix in (".yaml", ".yml") and b"names:" in _head(path) and b"train:" in _head(path):
        return f"{path.name!r} describes boxes in YOLO's format"
    return None


def _is_file(root: P, path: P) -> bool:
    require_inside(root, path)
    return path.is_file()


def _head(path: P) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
