"""The lists of ``ImageSets``: which pictures of a VOC folder belong to which split, for boxes and for masks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError
from bob.data.dataset import SPLITS
from bob.data.file_names import is_picture
from bob.data.fingerprint import inside
from bob.data.splits import UNDIVIDED

log = logging.getLogger(__name__)

BOXES, MASKS = "Main", "Segmentation"  # below ImageSets
BOTH = "trainval"
WHOLE = "default"  # CVAT's one list
FLAGS = ("-1", "0", "1")

Names = dict[str, tuple[str, ...]]
Lists = dict[str, Names]


def read_lists(root: Path, known: Collection[str]) -> Lists:
    """Return the picture names of each stored split, for boxes and for masks. The lists per class are not read.

    Where there is no ``train.txt``, train is what ``trainval.txt`` has and ``val.txt`` has not; where there is none of
    train, val, test and trainval, ``default.txt`` is an undivided list ("all").

    Args:
        root: The year's folder.
        known: Names, without suffix, of the pictures and XML files there are.

    Raises:
        DataError: There is no list, or one holds what is no name; the message names the line.
    """
    found: Lists = {}
    for purpose in (BOXES, MASKS):
        lists = _of_purpose(root, purpose, known)
        if lists:
            found[purpose] = lists
        _require_apart(root, lists)
    if not found:
        raise DataError(
            f"{root} has no list ImageSets/Main/train.txt or ImageSets/Segmentation/train.txt (or trainval.txt, "
            "val.txt, test.txt, default.txt).",
            hint=f"Look at the names: ls '{root}/ImageSets'",
        )
    return found


def _of_purpose(root: Path, purpose: str, known: Collection[str]) -> Names:
    folder = root / "ImageSets" / purpose
    read = {name: _names(root, folder / f"{name}.txt", known) for name in (*SPLITS, BOTH, WHOLE)}
    if not read["train"] and read[BOTH]:
        held_out = frozenset(read["val"])
        read["train"] = tuple(name for name in read[BOTH] if name not in held_out)
        log.info("%s has no train.txt: what trainval.txt lists is train.", folder)
    splits = {split: read[split] for split in SPLITS if read[split]}
    return splits or ({UNDIVIDED: read[WHOLE]} if read[WHOLE] else {})


def _names(root: Path, path: Path, known: Collection[str]) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        text = inside(root, path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}.",
            hint="Save the list as UTF-8, one name a line.",
        ) from error
    lines = enumerate(text.splitlines(), start=1)
    return tuple(dict.fromkeys(_name(path, number, line.strip(), known) for number, line in lines if line.strip()))


def _name(path: Path, number: int, line: str, known: Collection[str]) -> str:
    """Return the name of a line: with a flag behind it, with a suffix, or below JPEGImages; the bare name is best."""
    if line in known:
        return line
    name, *flags = line.split()
    if len(flags) > 1 or any(flag not in FLAGS for flag in flags):
        raise DataError(
            f"{path}, line {number}: {line!r:.80} has {' '.join(flags)!r:.40} where a flag -1, 0 or 1 is expected.",
            hint="One name a line is expected, or a name and a flag.",
        )
    place = PurePosixPath(name)
    if len(place.parts) > 1 and place.parent.name == "JPEGImages" and not {"..", "/"} & set(place.parts):
        name = place.name
    if "/" in name or "\\" in name or name in (".", ".."):
        raise DataError(
            f"{path}, line {number}: {name!r:.80} is no plain name of a picture.", hint="One name a line is expected."
        )
    stem = PurePosixPath(name).stem
    return stem if name not in known and is_picture(name) and stem in known else name


def _require_apart(root: Path, lists: Mapping[str, tuple[str, ...]]) -> None:
    owner: dict[str, str] = {}
    for split, names in lists.items():
        for name in names:
            if owner.setdefault(name, split) != split:
                raise DataError(
                    f"{root}: picture {name} is in both {owner[name]}.txt and {split}.txt.",
                    hint="A picture may train or test, not both: take it out of one list.",
                )
