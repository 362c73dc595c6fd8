"""Where the pictures and label files of each split of a data set in YOLO's format lie. Nothing but lists is opened."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from bob.core.errors import DataError
from bob.data.dataset import SPLITS
from bob.data.file_names import SPLIT_ALIASES, is_picture, split_of
from bob.data.fingerprint import FileEntry, inside, list_files
from bob.data.splits import UNDIVIDED
from bob.data.yolo_description import LAYOUT_HINT, Description, below_root, is_folder, names_in_lists, read_text
from bob.data.yolo_layout import TWINS, is_label_file, label_apart, label_beside, split_meant

log = logging.getLogger(__name__)

TRIED = 50  # lines of a list that tell what its paths refer to
LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class YoloSplit:
    """One stored split.

    Attributes:
        pictures: Paths below the root, sorted; of those that a list names, missing ones too.
        labels: The label file of each picture that has one.
        strays: Label files without a picture.
    """

    pictures: tuple[str, ...]
    labels: Mapping[str, str]
    strays: tuple[str, ...]


@dataclass(frozen=True)
class YoloFound:
    """What lies in the folder: the stored splits, the class names that lists give, and all files that count."""

    splits: Mapping[str, YoloSplit]
    names: Mapping[int, str] | None
    entries: tuple[FileEntry, ...]


@dataclass(frozen=True)
class _Source:
    """Where a split's pictures are: in folders ("" is the root, others end in a slash), and one by one in lists."""

    folders: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    def places(self) -> set[str]:
        """Return the folders to list: those of the pictures, and those that stand for them among the labels."""
        pictured = {*self.folders, *(path.rpartition("/")[0] + "/" for path in self.listed)}
        pictured = {"" if place == "/" else place for place in pictured}
        apart = {label_apart(place + "x.jpg") for place in pictured}
        return pictured | {path.removesuffix("x.txt") for path in apart if path}


def find_splits(root: Path, said: Description) -> YoloFound:
    """Find the pictures of each split, where the description says they are or else where they usually lie.

    Raises:
        DataError: There are none, or none of a split has a label file; one picture is in two splits or two pictures
            have one label file; a path leads out of the root.
    """
    sources = _described(root, said) if said.splits else _usual(root)
    entries = _entries(root, set().union(*(source.places() for source in sources.values())))
    pictures = {path for path in entries if is_picture(path) and not _is_among_labels(path)}
    texts = {path for path in entries if is_label_file(path)}
    splits = {name: _split(root, name, source, pictures, texts) for name, source in sources.items()}
    _require_apart(root, splits)
    strays = _strays(splits, pictures, texts)
    splits = {name: YoloSplit(part.pictures, part.labels, strays[name]) for name, part in splits.items()}
    used = {path for part in splits.values() for path in (*part.pictures, *part.labels.values(), *part.strays)}
    folders = {path.rpartition("/")[0] + "/" for path in used}
    names = None if said.names else names_in_lists(root, ["", "data/", "labels/", "images/", *sorted(folders - {"/"})])
    return YoloFound(splits, names, tuple(sorted(entries[path] for path in used if path in entries)))


def _described(root: Path, said: Description) -> dict[str, _Source]:
    """Return the sources of the splits that the YAML file names."""
    file = Path(str(said.file))
    needed = [split for split in said.splits if split != "test" or len(said.splits) == 1]
    moved = _moved_by(root, [text for split in needed for text in said.splits[split]])
    sources: dict[str, _Source] = {}
    for split in (split for split in SPLITS if split in said.splits):
        places = [_place(root, text, said.base, moved) for text in said.splits[split]]
        lost = [text for text, place in zip(said.splits[split], places, strict=True) if place is None]
        if lost and split == "test" and len(said.splits) > 1:
            log.warning("%s: %s names %s for test, which is not there: it is left out.", root, file.name, lost[0])
            continue
        if lost:
            raise DataError(
                f"{file}: {split} is {lost[0]!r:.200}, and neither a folder nor a list of pictures in {root} is that.",
                hint=f"Write it relative to {root}, below which all pictures must lie; or name the folder that holds "
                "them: yolo:FOLDER.",
            )
        sources[split] = _merged([_source(root, place, said.base) for place in places if place is not None])
    _warn_of_others(root, file, said.splits)
    return sources


def _warn_of_others(root: Path, file: Path, splits: Mapping[str, object]) -> None:
    """Say which folders with a split's name the YAML file does not name."""
    places = [root, *(root / name for name in TWINS if is_folder(root / name))]
    others = [
        path for place in places for path in sorted(place.iterdir()) if split_meant(path.name) and is_folder(path)
    ]
    unread = [path for path in others if split_meant(path.name) not in splits and _holds_pictures(path)]
    for path in unread:
        log.warning("%s: %s names no split for the folder %s: it is not read.", root, file.name, path.name)


def _holds_pictures(folder: Path) -> bool:
    return any(is_picture(name) for _, _, names in os.walk(folder) for name in names)


def _moved_by(root: Path, texts: Sequence[str]) -> int | None:
    """Return how many folders to drop from absolute paths of another machine so that all are there, or None."""
    foreign = [text.strip("/").split("/") for text in texts if text.startswith("/") and below_root(root, text) is None]
    for count in range(1, min(map(len, foreign), default=0)):
        if all(".." not in parts and _is_there(root / "/".join(parts[count:])) for parts in foreign):
            return count
    return None


def _place(root: Path, text: str, base: str, moved: int | None) -> str | None:
    below = below_root(root, text, base)
    if below is None:
        tried = ["/".join(text.strip("/").split("/")[moved:])] if moved is not None else []
    else:
        tried = [below, below_root(root, text) or ""]
    return next((place for place in tried if _is_there(root / place)), None)


def _is_there(path: Path) -> bool:
    try:
        return path.is_dir() or (path.suffix.lower() == LIST_SUFFIX and path.is_file())
    except OSError:
        return False


def _source(root: Path, place: str, base: str) -> _Source:
    path = root / place
    inside(root, path)
    if path.is_dir():
        return _Source(folders=(f"{place}/" if place else "",))
    return _Source(listed=_listed(root, path, base))


def _merged(sources: Iterable[_Source]) -> _Source:
    parts = list(sources)
    return _Source(
        folders=tuple(dict.fromkeys(folder for part in parts for folder in part.folders)),
        listed=tuple(dict.fromkeys(path for part in parts for path in part.listed)),
    )


def _listed(root: Path, path: Path, base: str) -> tuple[str, ...]:
    """Return the pictures that a list names, relative to the root.

    Its paths may refer to the list's own folder, to the described one, or to a folder of another machine, of which as
    many parts are dropped as make most of the first lines' pictures be there: the same for every line.
    """
    lines = [line.strip().replace("\\", "/") for line in read_text(root, path, "list of pictures").splitlines()]
    lines = list(dict.fromkeys(line for line in lines if line))
    for line in lines:
        if not is_picture(line) or len(line) > 4096 or "\0" in line:
            raise DataError(
                f"{path}: {line!r:.80} is no picture's name.", hint="One picture's path a line is expected."
            )
    folder = path.relative_to(root).parent.as_posix()
    bases = ("" if folder == "." else f"{folder}/", base)
    readings: list[Callable[[str], str | None]] = [partial(below_root, root, base=one) for one in bases]
    depth = max((line.count("/") for line in lines[:TRIED]), default=0)
    readings += [partial(_dropped, count) for count in range(1, depth + 1)]
    hits = [sum(_is_file(root, reading(line)) for line in lines[:TRIED]) for reading in readings]
    if not any(hits):
        shown = f" ({lines[0]}, ...)" if lines else ""
        raise DataError(
            f"{path}: none of its {len(lines)} pictures{shown} is in {root}.",
            hint=f"Write their paths relative to {root}.",
        )
    best = readings[hits.index(max(hits))]
    found = [(line, best(line)) for line in lines]
    for line, place in found:
        if place is None:
            raise DataError(f"{path}: {line!r:.200} leads out of {root}.", hint="Only pictures below it are read.")
    return tuple(str(place) for _, place in found)


def _dropped(count: int, line: str) -> str | None:
    """Return a path without its first parts; None if nothing is left or it leads upwards."""
    parts = line.strip("/").split("/")[count:]
    return "/".join(parts) if parts and ".." not in parts else None


def _is_file(root: Path, place: str | None) -> bool:
    try:
        return place is not None and (root / place).is_file()
    except OSError:
        return False


def _usual(root: Path) -> dict[str, _Source]:
    """Return the sources by the usual layouts: split folders, lists called as splits, or an undivided folder."""
    splits = _usual_splits(root)
    if splits:
        return splits
    texts = [path for path in sorted(root.glob(f"*{LIST_SUFFIX}")) if split_meant(path.stem) and path.is_file()]
    lists = _by_split(root, [path for path in texts if not _labels_a_picture(path)])
    if lists:
        return {name: _Source(listed=_listed(root, lists[name], "")) for name in SPLITS if name in lists}
    inner = next((f"{name}/" for name in TWINS if is_folder(root / name)), "")
    return {UNDIVIDED: _Source(folders=(inner,))}


def _labels_a_picture(text: Path) -> bool:
    return any(is_picture(path.name) for path in text.parent.glob(f"{text.stem}.*"))


def _usual_splits(root: Path) -> dict[str, _Source]:
    """Return images/SPLIT, SPLIT/images or SPLIT, whichever there are."""
    inner = [root / name for name in TWINS if is_folder(root / name)]
    found = _by_split(root, [path for folder in inner for path in sorted(folder.iterdir()) if is_folder(path)])
    outer = _by_split(root, [path for path in sorted(root.iterdir()) if is_folder(path) and _may_hold(path)])
    outer = {
        split: next((path / name for name in TWINS if is_folder(path / name)), path) for split, path in outer.items()
    }
    if found and outer:
        raise DataError(
            f"{root} has splits twice: {_shown(root, found)} and {_shown(root, outer)}.",
            hint=f"Say in {root}/data.yaml which are meant (train: images/train), or move the others away.",
        )
    places = found or outer
    return {name: _source(root, places[name].relative_to(root).as_posix(), "") for name in SPLITS if name in places}


def _may_hold(folder: Path) -> bool:
    return split_meant(folder.name) is not None and _holds_pictures(folder)


def _by_split(root: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Return the paths whose names mean a split; an alias counts where no other name stands for its split."""
    exact: dict[str, Path] = {}
    aliases: dict[str, Path] = {}
    for path in paths:
        for split, known in ((split_of(path.stem), exact), (SPLIT_ALIASES.get(path.stem.lower()), aliases)):
            if split in known:
                raise DataError(
                    f"{root} holds both {known[split].name!r} and {path.name!r}: one of each split is expected.",
                    hint="Rename or remove one of the two, or say in a data.yaml which is meant.",
                )
            if split is not None:
                known[split] = path
    return {**aliases, **exact} if exact else {}


def _shown(root: Path, places: Mapping[str, Path]) -> str:
    return ", ".join(path.relative_to(root).as_posix() for path in places.values())


def _entries(root: Path, places: set[str]) -> dict[str, FileEntry]:
    """List the files below some folders, each once."""
    found: dict[str, FileEntry] = {}
    done: list[str] = []
    for place in sorted(places):
        if any(place.startswith(one) for one in done) or not is_folder(root / place):
            continue
        done.append(place)
        inside(root, root / place)
        found |= {entry.path: entry for entry in list_files(root, root / place if place else root)}
    return found


def _is_among_labels(path: str) -> bool:
    return any(part in TWINS.values() for part in path.split("/")[:-1])


def _split(root: Path, name: str, source: _Source, pictures: set[str], texts: set[str]) -> YoloSplit:
    below = tuple(source.folders)
    named = {path for path in pictures if path.startswith(below)} if below else set()
    chosen = tuple(sorted({*source.listed, *named}))
    if not chosen:
        raise DataError(f"{root}: the split {name} has no picture.", hint=f"Look for them: ls '{root}'")
    labels = _labels(root, chosen, texts)
    if not labels:
        wanted = [place for place in (label_apart(chosen[0]), label_beside(chosen[0])) if place]
        raise DataError(
            f"{root}: no picture of the split {name} has a label file; for {chosen[0]} it would be "
            f"{' or '.join(wanted)}.",
            hint=f"A split without labels cannot be scored: take it away. If the folders are classes: folder:{root}. "
            + LAYOUT_HINT,
        )
    owner: dict[str, str] = {}
    for picture, label in labels.items():
        if owner.setdefault(label, picture) != picture:
            raise DataError(
                f"{owner[label]} and {picture} in {root} have the same name but for the suffix.",
                hint=f"Nobody can tell whose {label} is: rename or remove one.",
            )
    return YoloSplit(chosen, labels, ())


def _labels(root: Path, pictures: Sequence[str], texts: set[str]) -> dict[str, str]:
    """Return each picture's label file: all in folders ``labels``, or all beside their pictures."""
    apart = {path: place for path in pictures if (place := label_apart(path)) and place in texts}
    beside = {path: place for path in pictures if (place := label_beside(path)) in texts}
    if apart and beside:
        raise DataError(
            f"{root} has label files in two places: {next(iter(apart.values()))} and {next(iter(beside.values()))}.",
            hint="Nobody can tell which are right: move one kind away.",
        )
    return apart or beside


def _require_apart(root: Path, splits: Mapping[str, YoloSplit]) -> None:
    owner: dict[str, str] = {}
    for split, part in splits.items():
        for path in part.pictures:
            if owner.setdefault(path, split) != split:
                raise DataError(
                    f"{root}: picture {path} is in both {owner[path]} and {split}.",
                    hint="A picture may train or test, not both: give each split pictures of its own.",
                )


def _strays(splits: Mapping[str, YoloSplit], pictures: set[str], texts: set[str]) -> dict[str, tuple[str, ...]]:
    """Return the texts in the splits' label folders that no picture there is has, each with the first such split."""
    owned = {place for path in pictures for place in (label_apart(path), label_beside(path))}
    owned |= {label for part in splits.values() for label in part.labels.values()}
    left = {path for path in texts - owned if split_of(PurePosixPath(path).stem) is None}
    found: dict[str, tuple[str, ...]] = {}
    for name, part in splits.items():
        folders = {label.rpartition("/")[0] for label in part.labels.values()}
        found[name] = tuple(sorted(path for path in left if path.rpartition("/")[0] in folders))
        left -= set(found[name])
    return found
