"""Folders of classes inside archives, by the rules for those on disk."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from bob.core.errors import DataError
from bob.core.files import digest
from bob.core.text import printable
from bob.data.archive_layout import ARCHIVES
from bob.data.archive_members import MemberOpener, Members
from bob.data.archive_sets import ArchiveSet, require_all_or_none, stem_of
from bob.data.class_scan import StoredSplit, classes_of, listing, scan, suspect, tests_on_training_pictures
from bob.data.dataset import DatasetSpec
from bob.data.file_names import PICTURE_WORDS, SPLIT_ALIASES, SPLIT_NAMES, is_picture
from bob.data.folder_splits import DIVIDE
from bob.data.imagenet import are_wnids
from bob.data.member_paths import MemberPath, MemberTree
from bob.data.readers.base import Samples, split_sizes
from bob.data.readers.imagefolder import IMAGENETS
from bob.data.splits import SPLIT_VERSION

log = logging.getLogger(__name__)

# What archives hold besides folders of classes, by the names of files.
OTHER_KINDS = (
    (
        r"_annotations\.coco\.json$|(^|/)annotations/[^/\n]+\.json$|(^|/)instances_[^/\n]*\.json$",
        "annotations like COCO's",
    ),
    (r"(^|/)Annotations/[^/\n]+\.xml$", "boxes like VOC's"),
    (r"(^|/)data\.ya?ml$|(^|/)labels/([^\n]*/)?[^/\n]+\.txt$", "boxes like YOLO's"),
    (r"(^|/)(gtFine|leftImg8bit)/", "masks like Cityscapes'"),
    (r"\.(parquet|arrow)$", "tables"),
    (r"-idx[13]-ubyte(\.gz)?$", "IDX files"),
)
MOST_OUTER = 8


@dataclass(frozen=True)
class ArchiveClasses:
    """What archives hold, as folders of classes.

    Attributes:
        root: The outermost folder of splits or classes.
        rows: The member that each file of its tree is, int64 (n,).
        stored: The stored splits.
    """

    root: MemberPath
    rows: np.ndarray
    stored: Mapping[str, StoredSplit]


def read_classes(
    found: ArchiveSet, members: Members, *, kind: str, layout: str, suspected: bool = True
) -> ArchiveClasses:
    """Return the splits and classes that archives hold.

    Args:
        found: The archives.
        members: Their members.
        kind: The reader, whose prefix has them read as classes whatever they look like.
        layout: "auto", or "divide" as for folders.
        suspected: Whether what looks like something else is refused.

    Raises:
        DataError: They hold no folders of classes, or something else.
    """
    names, archives = members.names(), members.column("archive")
    if layout != DIVIDE and suspected:
        _refuse_others(found, names, kind)
    _require_pictures(found, names)
    placed = _placed(found, names, archives)
    rows = np.array(sorted(placed), dtype=np.int64)
    tree = MemberTree(found.target, kind, [placed[row] for row in rows.tolist()], lambda i: members.read(int(rows[i])))
    root = MemberPath(tree)
    stored = scan(root, layout)
    if layout == "auto" and suspected:
        suspect(root, stored)
    return ArchiveClasses(root, rows, stored)


def spec_of(found: ArchiveSet, read: ArchiveClasses, *, kind: str, layout: str, content: str) -> DatasetSpec:
    """Describe a data set; ``content`` is the digest of the archives."""
    classes = classes_of(read.root, read.stored, layout)
    labels = {name: listing(part, classes) for name, part in read.stored.items()}
    return DatasetSpec(
        name=printable(stem_of(found.target.name) if found.is_file else found.target.name),
        kind=kind,
        root=str(found.target),
        options=(("layout", layout),),
        fingerprint=class_fingerprint(kind, read, content),
        classes=classes,
        sizes=split_sizes(labels, classes=classes),
        overlaps=IMAGENETS if are_wnids(classes) and tests_on_training_pictures(read.stored) else (),
    )


def class_fingerprint(kind: str, read: ArchiveClasses, content: str) -> str:
    """Return the fingerprint of archives with this content, read as these splits."""
    return digest([kind, SPLIT_VERSION, sorted(read.stored), content], length=64)


def samples_of(read: ArchiveClasses, members: Members, classes: tuple[str, ...]) -> dict[str, Samples]:
    """Return the stored splits, unopened."""
    row_of = dict(zip(read.root.tree.names, read.rows.tolist(), strict=True))
    stored: dict[str, Samples] = {}
    for name, part in read.stored.items():
        ids, labels = listing(part, classes)
        rows = np.array([row_of[entry.path] for entry in part.files], dtype=np.int64)
        stored[name] = Samples(ids=ids, labels=labels, read=MemberOpener(members, rows, ids), ignored=part.ignored)
    return stored


def _mounts(found: ArchiveSet, names: Sequence[Sequence[str]]) -> dict[str, str]:
    """Return the split of each archive that is one; none where the archives hold the splits, or have none."""
    if found.is_file:
        return {}
    splits = found.splits()
    require_all_or_none(found, splits)
    if len(found.archives) == 1 and splits and _holds_splits(names[0]):
        return {}
    if not splits and len(found.archives) > 1:
        raise DataError(
            f"{found.target} holds the archives {', '.join(map(repr, found.archives[:3]))}, of which none is named as "
            "a split.",
            hint="Call them train, val and test, name the one that is meant, or unpack them into one folder.",
        )
    return splits


def _holds_splits(names: Sequence[str]) -> bool:
    return bool(_split_names([name for name in _without_outer(names, None, "") if is_picture(name)]))


def _split_names(pictures: Sequence[str]) -> set[str]:
    """Return the splits that the outermost folders of folders of pictures are called as."""
    known = {**SPLIT_ALIASES, **SPLIT_NAMES}
    outermost = {name.partition("/")[0].lower() for name in pictures if name.count("/") > 1}
    return {known[name] for name in outermost if name in known}


def _without_outer(names: Sequence[str], split: str | None, where: str) -> list[str]:
    """Return the names below the folders that only hold the folder of splits or classes.

    Raises:
        DataError: An archive that is one split by its name holds others.
    """
    inner, pictures = list(names), [name for name in names if is_picture(name)]
    for _ in range(MOST_OUTER):
        held = _split_names(pictures)
        if split is not None and held - {split}:
            raise DataError(
                f"{where} is the split {split} by its name, and holds folders of {', '.join(sorted(held))}.",
                hint="Rename the archive, name it alone, or unpack it and name the folder.",
            )
        outer = _outer(inner, pictures, split)
        if outer is None:
            break
        # What lies beside the folder, such as a readme or a table of labels, lies beside the classes then.
        inner, pictures = ([name.removeprefix(f"{outer}/") for name in each] for each in (inner, pictures))
    return inner


def _outer(names: Sequence[str], pictures: Sequence[str], split: str | None) -> str | None:
    """Return the one folder around the folders of classes, or None."""
    outermost = {name.partition("/")[0] for name in pictures}
    if len(outermost) != 1 or min(name.count("/") for name in pictures) < 2:
        return None
    (outer,) = outermost
    word = outer.lower()
    if word in SPLIT_NAMES or (split is not None and word in SPLIT_ALIASES):
        return outer if split is not None else None
    is_alone = all(name.startswith(f"{outer}/") for name in names)
    return None if word in PICTURE_WORDS and not is_alone else outer


def _placed(found: ArchiveSet, names: Sequence[str], archives: np.ndarray) -> dict[int, str]:
    """Return the path of each member in the data set's tree, by the member's number."""
    inner = [np.flatnonzero(archives == number).tolist() for number in range(len(found.archives))]
    splits = _mounts(found, [[names[row] for row in rows] for rows in inner])
    placed: dict[int, str] = {}
    first: dict[str, int] = {}
    for path, rows in zip(found.archives, inner, strict=True):
        split = splits.get(path)
        stripped = _without_outer([names[row] for row in rows], split, f"{found.root / path}")
        for row, below in zip(rows, stripped, strict=True):
            name = f"{split}/{below}" if split else below
            if name in first and is_picture(name):
                raise _twins(found, name, sorted({found.archives[archives[each]] for each in (first[name], row)}))
            if name not in first:  # each archive may have a readme of its own
                first[name], placed[row] = row, name
    return placed


def _twins(found: ArchiveSet, name: str, places: Sequence[str]) -> DataError:
    return DataError(
        f"{found.target}: {name!r} is held twice, in {' and '.join(map(repr, places))}.",
        hint="Nobody can tell which one counts: make the archive anew with one of them.",
    )


def _refuse_others(found: ArchiveSet, names: Sequence[str], kind: str) -> None:
    listed = "\n".join(names)  # a million names are searched at once
    for pattern, what in OTHER_KINDS:
        held = re.search(pattern, listed, re.MULTILINE)
        if held is not None:
            start, end = listed.rfind("\n", 0, held.end() - 1) + 1, listed.find("\n", held.end() - 1)
            name = listed[start : end if end >= 0 else None]
            raise DataError(
                f"{found.target} holds {what} ({name!r}): of archives only folders of classes are read.",
                hint=f"Unpack it and name the folder. If its folders are classes: --data {kind}:{found.target}",
            )


def _require_pictures(found: ArchiveSet, names: Sequence[str]) -> None:
    if any(map(is_picture, names)):
        nested = [name for name in names if name.lower().endswith(ARCHIVES)]
        if nested:
            log.warning("%s: the archives in it are not read: %s.", found.target, ", ".join(nested[:5]))
        return
    nested = [name for name in names if name.lower().endswith(ARCHIVES)]
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names).most_common(5)
    held = ", ".join(f"{count} {kind}" for kind, count in kinds) or "nothing"
    inside = f" Archives in it: {', '.join(map(repr, nested[:5]))}." if nested else ""
    raise DataError(
        f"{found.target} holds no picture in a folder SPLIT/CLASS or CLASS; its files are: {held}.{inside}",
        hint="Unpack it and name the folder that holds the data set." if nested else f"Look into {found.target}.",
    )
