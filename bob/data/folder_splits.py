"""Which folders of a folder of pictures are splits, and which are classes. Names tell; no picture is opened."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from bob.core.errors import DataError
from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES, is_picture, split_within
from bob.data.fingerprint import inside

log = logging.getLogger(__name__)

DIVIDE = "divide"


def class_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without hidden ones and what archives leave behind."""
    hidden = (".", "__MACOSX")
    with os.scandir(folder) as entries:  # of 200,000 pictures a Path and a stat each would take seconds
        names = sorted(entry.name for entry in entries if not entry.name.startswith(hidden) and entry.is_dir())
    return [folder / name for name in names]


def split_folders_of(root: Path, layout: str) -> dict[str, Path]:
    """Return the folder of each split; none if the folders are classes.

    Args:
        root: The folder of pictures.
        layout: The reader's; "divide" takes what may be a split or a class for a class, and passes over what lies
            beside splits.

    Raises:
        DataError: Two folders mean one split, or nobody can tell splits from classes.
    """
    folders = class_folders(root)
    exact = _exact(root, folders)
    for folder in exact.values():
        inside(root, folder)
    others = [folder for folder in folders if folder not in exact.values()]
    if len(exact) == 1 and _lone_is_class(root, next(iter(exact.values())), others, layout):
        return {}
    if exact:
        _judge_others(root, exact, others, layout)
        return _innermost_of(root, exact)
    named = [(split, folder) for folder in folders if (split := split_within(folder.name)) is not None]
    splits = {split for split, _ in named}
    if "train" not in splits or len(splits) < 2:
        return {}
    if len(named) < len(folders):
        if layout == DIVIDE:
            return {}
        raise DataError(
            f"{root}: the folders {_names([folder for _, folder in named])} look like splits, and "
            f"{_names([folder for folder in folders if split_within(folder.name) is None])} do not.",
            hint=f"Call splits train, val and test. If all are classes: --data folder:{root}",
        )
    return _innermost_of(root, _by_split(root, named))


def _exact(root: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """Return the folders that are called as splits are; an alias counts where no other name stands for its split."""
    found = _by_split(root, [(SPLIT_NAMES.get(folder.name.lower()), folder) for folder in folders])
    aliases = _by_split(root, [(SPLIT_ALIASES.get(folder.name.lower()), folder) for folder in folders])
    return {**aliases, **found} if found else {}


def _by_split(root: Path, pairs: Sequence[tuple[str | None, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for split, folder in pairs:
        if split in found:
            raise DataError(
                f"{root} holds both {found[split].name!r} and {folder.name!r}: one folder per split is expected.",
                hint="Rename or remove one of the two.",
            )
        if split is not None:
            found[split] = folder
    return found


def _lone_is_class(root: Path, lone: Path, others: Sequence[Path], layout: str) -> bool:
    """Tell whether the only folder with a split's name is a class, such as trains among vehicles.

    Raises:
        DataError: It may be either.
    """
    has_classes = any(map(_holds_any, class_folders(lone)))
    pictured = [folder for folder in others if _is_inside(root, folder) and _holds_any(folder)]
    if not pictured or (has_classes and len(pictured) < 2):
        return False  # a folder of figures beside a split is no class
    is_flat = not has_classes and all(map(_holds_pictures, pictured))
    if layout == DIVIDE or (
        is_flat and len(pictured) > 1 and not any(split_within(folder.name) for folder in pictured)
    ):
        return True
    raise DataError(
        f"{root}: the folder {lone.name!r} may be a split or a class: {_names(pictured)} beside it hold pictures too.",
        hint=f"For a class: --data folder:{root}. For a split, call the others val or test, or move them away.",
    )


def _judge_others(root: Path, splits: dict[str, Path], others: Sequence[Path], layout: str) -> None:
    """Warn of folders beside the splits; refuse one that has their classes, as it would be passed over.

    Raises:
        DataError: A folder has the class folders of a split.
    """
    known = {path.name for folder in splits.values() for path in class_folders(_innermost(folder))}
    for folder in others if layout != DIVIDE else ():
        inner = _class_names(folder)
        if inner and inner <= known:
            raise DataError(
                f"{root}: the folder {folder.name!r} beside {_names(list(splits.values()))} has their classes, and "
                "would not be read.",
                hint=f"Call it train, val or test. To leave it out: --data folder:{root}",
            )
    if others:
        log.warning("%s: the folders %s beside the splits are not read.", root, ", ".join(one.name for one in others))


def _class_names(folder: Path) -> set[str]:
    """Return the names of a folder's folders; none of one that cannot be listed, which is not read anyway."""
    try:
        return {path.name for path in class_folders(folder)}
    except OSError:
        return set()


def _innermost_of(root: Path, splits: dict[str, Path]) -> dict[str, Path]:
    found = {split: _innermost(folder) for split, folder in splits.items()}
    for folder in found.values():
        inside(root, folder)
    return found


def _innermost(folder: Path) -> Path:
    """Return a split's own folder where archives nest it in one of the same name (``seg_train/seg_train``)."""
    inner = class_folders(folder)
    return inner[0] if len(inner) == 1 and inner[0].name == folder.name and class_folders(inner[0]) else folder


def _holds_pictures(folder: Path) -> bool:
    return any(is_picture(path.name) for path in folder.iterdir())


def _is_inside(root: Path, folder: Path) -> bool:
    try:
        inside(root, folder)
    except DataError:  # nothing of it is read, unless it is a class, which is when it is refused
        return False
    return True


def _holds_any(folder: Path) -> bool:
    """Tell whether there are pictures anywhere below a folder."""
    return any(is_picture(name) for _, _, names in os.walk(folder) for name in names)


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(repr(folder.name) for folder in folders[:5]) + (" ..." if len(folders) > 5 else "")
