"""Where COCO's JSON files lie in a folder, which split each is of, and where their pictures may be."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from bob.core.errors import DataError
from bob.data.coco_look import BOXES, KEYPOINTS, coco_kind
from bob.data.file_names import (
    LABEL_WORDS,
    PICTURE_WORDS,
    SPLIT_ALIASES,
    is_picture,
    split_of,
    split_within,
)
from bob.data.fingerprint import inside
from bob.data.splits import UNDIVIDED

ROBOFLOW = "_annotations.coco.json"
ANNOTATION_FOLDERS = ("annotations", "annotation", "labels")
PICTURE_FOLDERS = ("images/", "data/", "img/")
NO_CLASSES = PICTURE_WORDS | LABEL_WORDS | {"data", "media", "default"}
MOST_FILES = 50  # in one folder: where there are more, each is about one picture
# Beside files of objects these say other things of the same pictures; stuff is no object.
BESIDE_OBJECTS = ("person_keypoints", "captions", "panoptic", "stuff", "image_info")
EXPECTED = (
    "SPLIT.json beside SPLIT/, annotations/instances_SPLIT.json, "
    f"SPLIT/{ROBOFLOW}, or one JSON file with COCO's lists is expected; SPLIT is train, val or test, also with a year"
)


def coco_files(root: Path) -> list[Path]:
    """Return the files that hold COCO annotations of a split, by the names that they usually have."""
    if not root.is_dir():
        return []
    places = [root / "annotations", root]
    for place in places:
        named = sorted(path for path in place.glob("*.json") if split_of(path.stem))
        if named and (place != root or any(_has_pictures(root, path.stem) for path in named)):
            return named
    return sorted(path for path in root.glob(f"*/{ROBOFLOW}") if split_of(path.parent.name))


def _has_pictures(root: Path, stem: str) -> bool:
    return any(folder.is_dir() for folder in _named_folders(root, stem))


def _named_folders(root: Path, stem: str) -> list[Path]:
    name = stem.removeprefix("instances_")
    return [root / folder for folder in (name, f"images/{name}", "images", str(split_of(stem)))]


def is_coco(root: Path) -> bool:
    """Tell whether ``coco_files`` are what this folder is about, not some JSON beside folders of classes."""
    files = coco_files(root)
    if not files or files[0].parent != root:
        return bool(files)
    folders = [folder for path in files for folder in _named_folders(root, path.stem) if folder.is_dir()]
    return any(entry.is_file() and not entry.name.startswith(".") for one in folders for entry in one.iterdir())


def is_coco_by_content(root: Path) -> bool:
    """Tell whether a JSON file of any name holds COCO's lists, and the folder holds no folders of classes.

    Captions and panoptic masks count: the reader says why it does not read them.
    """
    return bool(coco_kinds(root)) and not _has_class_folders(root)


def coco_kinds(root: Path) -> dict[Path, str]:
    """Return what each JSON file in the folder, its folders of annotations and of splits holds, if it is COCO's."""
    kinds = {path: _kind_of(root, path) for place in _places(root) for path in _json_files(place)}
    return {path: kind for path, kind in kinds.items() if kind is not None}


def coco_splits(root: Path) -> dict[str, Path]:
    """Return the JSON file of each stored split: those with the usual names, else those that hold COCO's lists.

    One file whose name means no split is UNDIVIDED.

    Raises:
        DataError: There is none, two are of one split, or nobody can tell which split each is of.
    """
    files = coco_files(root)
    if files:
        return _apart(root, [(_split_by_usual_name(path), path) for path in files])
    kinds = coco_kinds(root)
    files = _with_objects(kinds)
    if not files:
        raise _refusal(root, kinds)
    splits = [(split_by_name(root, path), path) for path in files]
    if len(files) == 1:
        return {splits[0][0] or UNDIVIDED: files[0]}
    unknown = [path for split, path in splits if split is None]
    if unknown:
        raise DataError(
            f"{root}: {len(files)} files hold COCO's lists ({_names(root, files)}), and of {_names(root, unknown)} "
            "the name means no split.",
            hint="Call them train.json, val.json and test.json, or name the one to be read: --data "
            f"'{unknown[0]}', which is divided.",
        )
    return _apart(root, [(str(split), path) for split, path in splits])


def require_boxes(root: Path, path: Path) -> None:
    """Refuse a file that holds something else of COCO's than boxes.

    Raises:
        DataError: It does; the message says what.
    """
    try:
        kind = coco_kind(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}.", hint=f"ls -l '{path}'") from error
    if kind is not None and not _with_objects({path: kind}):
        raise _refusal(root, {path: kind})


def picture_places(root: Path, split: str, path: Path) -> tuple[str, ...]:
    """Return the folders where a file's pictures usually lie, those that are there, best first; "" is the root."""
    own = "" if path.parent == root else path.parent.relative_to(root).as_posix() + "/"
    stem = path.stem.removeprefix("instances_")
    named = [folder.name for folder in _folders(root) if split_of(folder.name) == split]
    places = []
    if split_of(path.parent.name) == split:
        places += [own, *(own + folder for folder in PICTURE_FOLDERS)]
    if own.count("/") > 1:  # SPLIT/annotations
        outer = own.rsplit("/", 2)[0] + "/"
        places += [*(outer + folder for folder in PICTURE_FOLDERS), outer]
    for name in dict.fromkeys((stem, *named, split)):
        places += [f"{name}/", f"images/{name}/", f"{name}/images/", f"data/{name}/", f"{name}/data/"]
    places += [*PICTURE_FOLDERS, own]
    return (*dict.fromkeys(place for place in places if place and (root / place).is_dir()), "")


def split_by_name(root: Path, path: Path) -> str | None:
    """Return the split that a file's folder means, or a word of its name ("lvis_v1_train" is train); else None."""
    for folder in path.relative_to(root).parts[:-1]:
        if split_of(folder):
            return split_of(folder)
    return split_of(path.stem) or split_within(path.stem) or SPLIT_ALIASES.get(path.stem.lower())


def _split_by_usual_name(path: Path) -> str:
    split = split_of(path.parent.name if path.name == ROBOFLOW else path.stem)
    assert split is not None, "files without a split are not listed"
    return split


def _apart(root: Path, pairs: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for split, path in pairs:
        if split in found:
            raise DataError(
                f"{root} holds both {_names(root, [found[split], path])}: one file per split is expected.",
                hint="Keep one of them, or make a folder for each and name that as coco:FOLDER.",
            )
        found[split] = path
    return found


def _with_objects(kinds: dict[Path, str]) -> list[Path]:
    """Return the files with boxes; keypoints have boxes too, which count where no other file has any."""
    boxed = [path for path, kind in kinds.items() if kind in (BOXES, KEYPOINTS)]
    plain = [path for path in boxed if not path.name.lower().startswith(BESIDE_OBJECTS)]
    return sorted(plain or [path for path in boxed if path.name.lower().startswith("person_keypoints")])


def _refusal(root: Path, kinds: dict[Path, str]) -> DataError:
    if not kinds:
        return DataError(f"{root} holds no COCO annotations: {EXPECTED}.", hint=f"Look at the names: ls '{root}'")
    held = ", ".join(sorted({_held(path, kind) for path, kind in kinds.items()}))
    return DataError(
        f"{root}: of COCO's files only {_names(root, sorted(kinds))} are here, with {held}: no boxes of objects.",
        hint="Put the file with boxes beside them, in COCO called instances_SPLIT.json. Pictures in folders of their "
        f"classes are read as folder:{root}.",
    )


def _held(path: Path, kind: str) -> str:
    return "stuff" if path.name.lower().startswith("stuff") else kind


def _names(root: Path, paths: Sequence[Path]) -> str:
    shown = ", ".join(path.relative_to(root).as_posix() for path in paths[:10])
    return shown + (" ..." if len(paths) > 10 else "")


def _places(root: Path) -> Iterator[Path]:
    """Yield the folders whose JSON files may be COCO's: the annotations' own, the folder itself, its splits."""
    folders = list(_folders(root))
    yield from (folder for folder in folders if folder.name.lower() in ANNOTATION_FOLDERS)
    yield root
    for folder in folders:
        if split_of(folder.name):
            yield folder
            yield from (inner for inner in _folders(folder) if inner.name.lower() in ANNOTATION_FOLDERS)


def _json_files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(".json"))
    return [] if len(names) > MOST_FILES else [folder / name for name in names if not name.startswith(".")]


def _kind_of(root: Path, path: Path) -> str | None:
    try:
        file = inside(root, path)
        return coco_kind(file) if file.is_file() else None
    except (OSError, DataError):  # what cannot be read, or leads elsewhere, is none of the data set's files
        return None


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:  # of 200,000 pictures a Path and a stat each would take seconds
            names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except OSError:  # one that cannot be listed holds nothing that could be read
        return []
    return [folder / name for name in names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _has_class_folders(root: Path) -> bool:
    """Tell whether two folders, of the root or of one split, hold pictures and are called as classes may be."""
    splits = [folder for folder in _folders(root) if split_of(folder.name)]
    return any(_count_classes(folder) > 1 for folder in (root, *splits))


def _count_classes(folder: Path) -> int:
    named = (path for path in _folders(folder) if path.name.lower() not in NO_CLASSES and not split_of(path.name))
    return sum(1 for _ in islice(filter(_holds_pictures, named), 2))


def _holds_pictures(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(is_picture(entry.name) for entry in entries)
    except OSError:
        return False
