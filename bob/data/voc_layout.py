"""Where a data set's VOC XML files and its pictures lie, if no list of ``ImageSets`` says which belong to a split."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bob.core.errors import DataError
from bob.data.dataset import SPLITS
from bob.data.file_names import PICTURE_FOLDERS, SPLIT_ALIASES, SPLIT_NAMES, is_picture
from bob.data.fingerprint import FileEntry, inside, list_files
from bob.data.splits import UNDIVIDED

log = logging.getLogger(__name__)

# Names of folders in lower case, the most usual first.
PAGE_FOLDERS = ("annotations", "annotation", "annots", "xmls", "xml", "labels")
HEADS = 20  # XML files that tell whether a folder holds VOC's
HEAD_BYTES = 4096
EXPECTED = (
    "Annotations/*.xml with JPEGImages/ or images/; SPLIT/Annotations with SPLIT/JPEGImages; or SPLIT/*.xml beside "
    "SPLIT/*.jpg, with or without the splits"
)


class Part(NamedTuple):
    """One stored split: the folder of its XML files and that of its pictures, which may be the same."""

    pages: Path
    pictures: Path


class Page(NamedTuple):
    """One XML file and its picture, as paths relative to the root.

    Where the XML file is missing its path is ""; where the picture is, its path is the one that it should have.
    """

    page: str
    picture: str


class _Look(NamedTuple):
    """What lies directly in a folder: its folders, sorted, and what its files are."""

    folders: list[Path]
    has_pictures: bool
    has_pages: bool


def has_voc_parts(root: Path) -> bool:
    """Tell whether VOC's XML files lie where ``voc_parts`` looks. A few heads of XML files are read, nothing else."""
    return any(part for parts in _Finder(root).layouts() for part in parts.values())


def voc_parts(root: Path) -> dict[str, Part]:
    """Return the folders of each stored split; "all" if there are no splits.

    A test split without XML files is left out with a warning: its annotations are not public.

    Raises:
        DataError: No layout fits, two folders stand for one split, or one of several splits has no XML files.
    """
    for parts in _Finder(root, is_strict=True).layouts():
        if any(parts.values()):
            return _whole(root, parts)
    if _holds_pages_deeper(root):
        return {UNDIVIDED: Part(root, root)}
    raise DataError(
        f"{root} holds no VOC annotations as far as its folders tell: expected is {EXPECTED}.",
        hint=f"Look at the names: ls '{root}'",
    )


def pages_of(root: Path, parts: dict[str, Part]) -> tuple[dict[str, FileEntry], dict[str, list[Page]]]:
    """Return all XML files and pictures by path, and those of each stored split, paired by their names.

    Where several splits share a folder, its files without a partner go to the first split.

    Raises:
        DataError: Two files have the same name but for the suffix, two splits share a file, or a link leads out.
    """
    files: dict[str, FileEntry] = {}
    found: dict[str, list[Page]] = {}
    keyed = {
        split: (_keyed(root, part.pages, files, is_page), _keyed(root, part.pictures, files, is_picture))
        for split, part in parts.items()
    }
    for split, (pages, pictures) in keyed.items():
        found[split] = [Page(pages[key], pictures[key]) for key in sorted(pages.keys() & pictures.keys())]
    taken = _owned(root, found)
    for split, (pages, pictures) in keyed.items():
        start = _start(root, parts[split].pictures)
        found[split] += [Page(path, f"{start}{key}.jpg") for key, path in pages.items() if path not in taken]
        found[split] += [Page("", path) for path in pictures.values() if path not in taken]
        taken |= {*pages.values(), *pictures.values()}
    return files, found


def is_page(path: str) -> bool:
    """Tell by its suffix whether a file is XML."""
    return path.lower().endswith(".xml")


def _owned(root: Path, found: dict[str, list[Page]]) -> set[str]:
    owner: dict[str, str] = {}
    for split, pages in found.items():
        for path in (path for page in pages for path in page):
            if owner.setdefault(path, split) != split:
                raise DataError(
                    f"{root}: {path} belongs to both {owner[path]} and {split}.",
                    hint="A picture may train or test, not both: keep one of its files.",
                )
    return set(owner)


@dataclass
class _Finder:
    """Looks at folders by their names, at each once: one may hold 200,000 pictures."""

    root: Path
    is_strict: bool = False
    seen: dict[Path, _Look] = field(default_factory=dict)

    def layouts(self) -> Iterator[dict[str, Part | None]]:
        """Yield what each layout would have each split be, None for a split whose files are not there."""
        yield {split: self._part(folder) for split, folder in self._splits(self.root).items()}
        yield {UNDIVIDED: self._part(self.root)}
        for pages, pictures in self._candidates(self.root):
            yield self._divided(pages, pictures)

    def _divided(self, pages: Path, pictures: Path) -> dict[str, Part | None]:
        """Return the splits where the folder of XML files, that of pictures, or both hold one folder for each."""
        of_pages, of_pictures = self._splits(pages), self._splits(pictures)
        parts: dict[str, Part | None] = {}
        for split in {**of_pages, **of_pictures}:
            page = of_pages.get(split) if of_pages else pages
            picture = of_pictures.get(split) if of_pictures else pictures
            parts[split] = self._there(page, picture) if page and picture else None
        return parts

    def _part(self, folder: Path) -> Part | None:
        return next(filter(None, (self._there(*pair) for pair in self._candidates(folder))), None)

    def _candidates(self, folder: Path) -> list[tuple[Path, Path]]:
        """Return where a folder's XML files and pictures may lie: in folders of their own, or together."""
        pages, pictures = self._named(folder, PAGE_FOLDERS), self._named(folder, PICTURE_FOLDERS)
        apart = [(one, other) for one in pages for other in (*pictures, folder)]
        return [*apart, (folder, folder), *((both, both) for both in pictures)]

    def _named(self, folder: Path, names: tuple[str, ...]) -> list[Path]:
        folders = self._look(folder).folders
        return [path for name in names for path in folders if path.name.lower() == name]

    def _there(self, pages: Path, pictures: Path) -> Part | None:
        return Part(pages, pictures) if self._look(pictures).has_pictures and self._look(pages).has_pages else None

    def _splits(self, folder: Path) -> dict[str, Path]:
        found: dict[str, Path] = {}
        names = {path.name.lower() for path in self._look(folder).folders}
        for path in self._look(folder).folders:
            split = SPLIT_NAMES.get(path.name.lower())
            if split is None and "train" in names and not any(SPLIT_NAMES.get(name) == "val" for name in names):
                split = SPLIT_ALIASES.get(path.name.lower())
            if split in found and self.is_strict:
                raise DataError(
                    f"{folder} holds both {found[split].name} and {path.name}, which stand for {split}.",
                    hint="Keep one of them.",
                )
            if split is not None:
                found[split] = path
        return found

    def _look(self, folder: Path) -> _Look:
        if folder not in self.seen:
            self.seen[folder] = _look(folder)
        return self.seen[folder]


def _whole(root: Path, parts: dict[str, Part | None]) -> dict[str, Part]:
    lacking = [split for split, part in parts.items() if part is None and split != "test"]
    if lacking:
        raise DataError(
            f"{root}: the split {lacking[0]} has no XML files with pictures, as others have.",
            hint=f"Expected is {EXPECTED}. Add its files, or take its folder away.",
        )
    if "test" in parts and parts["test"] is None:
        log.warning("%s: the split test has no XML files with pictures: it is left out.", root)
    order = (*SPLITS, UNDIVIDED)
    return {split: part for split in order if (part := parts.get(split)) is not None}


def _look(folder: Path) -> _Look:
    folders: list[Path] = []
    pages: list[str] = []
    has_pictures = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith((".", "__MACOSX")):
                continue
            # By their names first: asking for each file's kind takes long among 200,000.
            if is_picture(entry.name):
                has_pictures = True
            elif is_page(entry.name):
                pages.append(entry.path)
            elif _is_folder(entry):
                folders.append(Path(entry.path))
    return _Look(sorted(folders), has_pictures, any(map(_is_annotation, sorted(pages)[:HEADS])))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle: they are named when the files are listed
        return False


def _is_annotation(path: str) -> bool:
    """Tell by an XML file's head whether it is VOC's; in UTF-16 every other byte is zero."""
    try:
        with Path(path).open("rb") as file:
            return b"<annotation" in file.read(HEAD_BYTES).replace(b"\0", b"")
    except OSError:
        return False


def _holds_pages_deeper(root: Path) -> bool:
    """Tell whether XML files lie beside their pictures somewhere below the folder."""
    paths = [entry.path for entry in list_files(root)]
    stems = {os.path.splitext(path)[0] for path in paths if is_picture(path)}  # noqa: PTH122
    return any(path[:-4] in stems for path in paths if is_page(path))


def _keyed(root: Path, folder: Path, files: dict[str, FileEntry], wanted: Callable[[str], bool]) -> dict[str, str]:
    """Return the paths of a folder's wanted files by their paths below it without suffix, and enter them in ``files``.

    Raises:
        DataError: Two have the same.
    """
    inside(root, folder)
    start = _start(root, folder)
    found: dict[str, str] = {}
    for entry in list_files(root, folder):
        if not wanted(entry.path):
            continue
        key = os.path.splitext(entry.path.removeprefix(start))[0]  # noqa: PTH122
        if key in found:
            raise DataError(
                f"{found[key]} and {entry.path} in {root} have the same name but for the suffix.",
                hint="Nobody can tell whose the annotations are: rename or remove one.",
            )
        found[key] = entry.path
        files[entry.path] = entry
    return found


def _start(root: Path, folder: Path) -> str:
    """Return what the paths of a folder's files begin with."""
    return "" if folder == root else folder.relative_to(root).as_posix() + "/"
