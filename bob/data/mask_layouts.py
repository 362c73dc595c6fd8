"""Where a folder keeps pictures and maps of classes, told by names alone. A few names of each folder are looked at."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError
from bob.data.file_names import MASK_FOLDERS, PICTURE_FOLDERS, SPLIT_ALIASES, SPLIT_NAMES, is_picture

PLAIN = ("images", "masks")  # read as such whatever they hold
TRUSTED = ("masks", "mask")  # folders that hold nothing but masks, whatever lies beside them
# How a mask's name ends after the name of its picture, and how the name of such a picture ends.
MASK_WORDS = ("mask", "masks", "label", "labels", "l", "gt", "seg", "segmentation", "annotation")
MASK_ENDS = tuple(f"{mark}{word}" for mark in "_-" for word in MASK_WORDS)
_MASK_END = re.compile(rf"(.+)[_-]({'|'.join(MASK_WORDS)})", re.IGNORECASE)
PICTURE_ENDS = ("", "_sat", "_image", "_img", "_rgb")
ANNOTATIONS = (".txt", ".xml", ".json")
TABLES = ("classes", "labels", "labelmap", "label_colors", "class_dict", "readme", "obj", "license")
SEPARATORS = " _-"
LOOKED_AT, DEEPEST, BRANCHES, PAIRED = 64, 3, 4, 16
LEAST_SHARE = 4  # of the files looked at, one in so many is a mask beside its picture


@dataclass(frozen=True)
class MaskPlace:
    """The folders of the pictures and of the masks of one split; one folder may hold both."""

    pictures: Path
    masks: Path

    @property
    def shared(self) -> bool:
        """Whether pictures and masks lie in one folder, told apart by how their names end."""
        return self.pictures == self.masks


def is_masks(root: Path) -> bool:
    """Tell whether a folder holds pictures and maps of classes.

    Raises:
        DataError: It may be that or something else, or two folders may hold the maps.
    """
    if not root.is_dir():
        return False
    places = mask_places(root)
    for place in places.values():
        _require_maps_alone(root, place)
    if "all" in places and (root / "ImageSets").is_dir():
        raise DataError(
            f"{root} holds pictures and masks, and lists of splits in ImageSets, which are read in VOC's layout alone "
            "(Annotations, ImageSets, JPEGImages, SegmentationClass).",
            hint=f"Give it that layout, or have all of it divided 70/10/20 whatever the lists say: masks:{root}",
        )
    return bool(places)


def mask_places(root: Path) -> dict[str, MaskPlace]:
    """Return the places of each split; "all" where the pictures are not divided; nothing where there are no masks.

    Raises:
        DataError: Two folders may hold the pictures, or the masks, of one split.
    """
    inner = _folders(root)
    found = _within_splits(root, inner) or _within_parts(root, inner) or _beside(root, inner)
    if found:
        return found
    found = _by_split(root, ((split, _shared(folder, _folders(folder))) for split, folder in _splits(inner)))
    if found:
        return found
    # Pictures beside folders of pictures are no data set: those folders are, of classes.
    others = [folder for folder in inner if folder.name.casefold() not in PICTURE_FOLDERS]
    alone = None if any(any(map(is_picture, _peek(folder))) for folder in others) else _shared(root, inner)
    return {"all": alone} if alone else {}


def without_masks(root: Path, places: dict[str, MaskPlace]) -> list[Path]:
    """Return the folders of splits that hold pictures and are not among the places, as they have no masks."""
    return [
        folder
        for split, folder in _splits(_folders(root))
        if split not in places and any(map(is_picture, _peek(folder)))
    ]


def mask_end(name: str) -> tuple[str, str] | None:
    """Return a name without suffix in two: its picture's name and the mask's ending (``("a", "_mask")``), or None."""
    match = _MASK_END.fullmatch(name)
    return (match[1], name[len(match[1]) :].lower()) if match else None


def _within_splits(root: Path, inner: list[Path]) -> dict[str, MaskPlace]:
    """Read SPLIT/images with SPLIT/masks."""
    folders = [(split, folder, _folders(folder)) for split, folder in _splits(inner)]
    found = _by_split(root, ((split, _parts(folder, within)) for split, folder, within in folders))
    # What one split is called tells that the others, whose names may fit badly, are meant to be read too.
    rest = ((split, _parts(folder, within, paired=False)) for split, folder, within in folders if split not in found)
    return found and found | _by_split(root, rest)


def _within_parts(root: Path, inner: list[Path]) -> dict[str, MaskPlace]:
    """Read images/SPLIT with masks/SPLIT, or images with masks."""
    place = _parts(root, inner)
    if place is None:
        return {}
    pictures, masks = _splits(_folders(place.pictures)), _splits(_folders(place.masks))
    if not pictures or not masks:
        return {"all": place}
    pairs = ((split, MaskPlace(folder, other)) for split, folder in pictures for same, other in masks if split == same)
    return _by_split(root, pairs)


def _by_split(root: Path, places: Iterable[tuple[str, MaskPlace | None]]) -> dict[str, MaskPlace]:
    found: dict[str, MaskPlace] = {}
    for split, place in places:
        if place is not None and split in found:
            named = " and ".join(str(one.pictures.relative_to(root)) for one in (found[split], place))
            raise DataError(f"{root}: {named} both mean the split {split}.", hint="Rename one, or put them together.")
        if place is not None:
            found[split] = place
    return found


def _beside(root: Path, inner: list[Path]) -> dict[str, MaskPlace]:
    """Read ``train`` with ``trainannot``, ``train_labels`` or ``train_masks``, and so for the other splits."""
    pictures: dict[str, list[Path]] = {}
    masks: dict[str, list[Path]] = {}
    for folder in inner:
        split, word = _split_and_word(folder.name)
        if split and word in ("", *PICTURE_FOLDERS) and any(map(is_picture, _names_in(folder))):
            pictures.setdefault(split, []).append(folder)
        elif split and word in MASK_FOLDERS and any(map(is_picture, _peek(folder))):
            masks.setdefault(split, []).append(folder)
    places = {}
    for split in sorted(pictures.keys() & masks.keys()):
        place = MaskPlace(
            _only(root, pictures[split], f"the pictures of {split}"), _only(root, masks[split], f"the masks of {split}")
        )
        places[split] = place
    return places if any(map(_are_paired, places.values())) else {}


def _split_and_word(name: str) -> tuple[str | None, str]:
    """Return the split and the other part of a folder's name (``train_labels``, ``LabelsTrain``)."""
    text = name.casefold()
    for split in sorted(SPLIT_NAMES, key=len, reverse=True):
        if text.startswith(split):
            return SPLIT_NAMES[split], text.removeprefix(split).strip(SEPARATORS)
        if text.endswith(split):
            return SPLIT_NAMES[split], text.removesuffix(split).strip(SEPARATORS)
    return None, text


def _parts(folder: Path, inner: list[Path], *, paired: bool = True) -> MaskPlace | None:
    """Return the folder of pictures and that of masks in a folder, told by what they are called and hold.

    Args:
        folder: Where they lie.
        inner: The folders in it.
        paired: Whether masks must be named after their pictures; those in ``images`` and ``masks`` never need to.
    """
    plain = [one for word in PLAIN for one in inner if one.name == word]
    named = [one for one in inner if one.name.casefold() in PICTURE_FOLDERS]
    pictures = [one for one in named if any(map(is_picture, _peek(one)))]
    masks = [one for one in inner if one.name.casefold() in MASK_FOLDERS and any(map(is_picture, _peek(one)))]
    if not pictures or not masks:
        return MaskPlace(*plain) if len(plain) == len(PLAIN) else None
    pairs = [MaskPlace(one, other) for one in pictures for other in masks]
    if paired:
        pairs = [place for place in pairs if [place.pictures, place.masks] == plain or _are_paired(place)]
    if not pairs:
        return None
    return MaskPlace(
        _only(folder, sorted({place.pictures for place in pairs}), "the pictures"),
        _only(folder, sorted({place.masks for place in pairs}), "the masks"),
    )


def _only(root: Path, folders: list[Path], what: str) -> Path:
    if len(folders) > 1:
        named = " and ".join(repr(folder.name) for folder in folders)
        raise DataError(
            f"{root}: {named} may each hold {what}, and one of them is read.",
            hint=f"Move the other out of {root}, or rename it (to {folders[-1].name}_other, say).",
        )
    return folders[0]


def _shared(folder: Path, inner: list[Path]) -> MaskPlace | None:
    """Return the folder, or the folder of pictures in it, if pictures and masks with endings lie side by side there."""
    for one in (folder, *(one for one in inner if one.name.casefold() in PICTURE_FOLDERS)):
        names = [name for name in _names_in(one) if is_picture(name)]
        place = MaskPlace(one, one)
        if names and LEAST_SHARE * _paired(place, names, len(names)) >= len(names):
            return place
    return None


def _are_paired(place: MaskPlace) -> bool:
    """Tell by a few masks whether they are named after their pictures."""
    return _paired(place, [name for name in _peek(place.masks) if is_picture(name)], PAIRED) > 0


def _paired(place: MaskPlace, names: list[str], most: int) -> int:
    """Return how many of some masks have a picture."""
    looked_at = names if place.shared else _peek(place.pictures)
    suffixes = sorted({PurePosixPath(name).suffix for name in looked_at if is_picture(name)})
    count = 0
    for name in names[:most]:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        ended = mask_end(stem)
        bases = ([] if place.shared else [stem]) + ([ended[0]] if ended else [])
        paths = (f"{base}{end}{suffix}" for base in bases for end in PICTURE_ENDS for suffix in suffixes)
        count += any((place.pictures / path).is_file() for path in paths)
    return count


def _require_maps_alone(root: Path, place: MaskPlace) -> None:
    """Refuse a folder of labels that holds maps and files of annotations: it may be read by either.

    Raises:
        DataError: It does.
    """
    words = [part.casefold() for part in place.masks.relative_to(root).parts]
    if place.shared or any(word in TRUSTED for word in words):
        return
    names = _peek(place.masks)
    others = [name for name in names if PurePosixPath(name).suffix.lower() in ANNOTATIONS and not _is_table(name)]
    if others:
        shown = next(filter(is_picture, names), "pictures")
        raise DataError(
            f"{place.masks} holds {shown}, as maps of classes are, and {others[0]}, as boxes or polygons are: "
            "nobody can tell which of them is meant.",
            hint=f"Name it masks:{root} to have the maps read, or yolo:{root} for boxes in .txt files; or rename: keep "
            "the maps in a folder 'masks', or take them away to have the other files read.",
        )


def _is_table(name: str) -> bool:
    return PurePosixPath(name).stem.casefold() in TABLES


def _splits(folders: list[Path]) -> list[tuple[str, Path]]:
    """Return the folders that are called as splits, with the split that each means.

    An alias (``eval``) counts where train is there and no other name stands for its split.
    """
    found = [(SPLIT_NAMES[one.name.lower()], one) for one in folders if one.name.lower() in SPLIT_NAMES]
    known = {split for split, _ in found}
    named = [(SPLIT_ALIASES.get(one.name.lower()), one) for one in folders]
    return found + [(split, one) for split, one in named if split and "train" in known and split not in known]


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, hidden ones apart."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not _is_hidden(entry.name) and _is(entry, os.DirEntry.is_dir))
    return [folder / name for name in names]


def _is(entry: os.DirEntry[str], kind: Callable[[os.DirEntry[str]], bool]) -> bool:
    """Tell whether an entry is of a kind; links in a circle are of none, and are refused where files are listed."""
    try:
        return kind(entry)
    except OSError:
        return False


def _names_in(folder: Path, most: int = LOOKED_AT) -> list[str]:
    """Return the names of the first files in a folder."""
    with os.scandir(folder) as entries:
        return list(
            islice((one.name for one in entries if not _is_hidden(one.name) and _is(one, os.DirEntry.is_file)), most)
        )


def _peek(folder: Path) -> list[str]:
    """Return the relative paths of the first files below a folder; folders in it are entered if it holds no file."""
    return list(islice(_first_files(folder, "", DEEPEST), LOOKED_AT))


def _first_files(folder: Path, prefix: str, depth: int) -> Iterator[str]:
    names: Iterable[str] = _names_in(folder)
    yield from (prefix + name for name in names)
    if not names and depth:
        for inner in _folders(folder)[:BRANCHES]:
            yield from _first_files(inner, f"{prefix}{inner.name}/", depth - 1)


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))
