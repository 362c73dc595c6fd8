"""PASCAL VOC: boxes in XML files, and palette masks of the classes for part of the pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.core.files import digest
from bob.data.annotations import IGNORE
from bob.data.dataset import DatasetSpec
from bob.data.dense_places import PLACES, known_or_folder
from bob.data.downloads import bring, find
from bob.data.file_names import is_readable
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.known import KNOWN
from bob.data.layouts import is_voc, voc_years
from bob.data.mask_pictures import label_table
from bob.data.pairing import Pairing, open_pairs, pair_sizes
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same
from bob.data.splits import SPLIT_VERSION
from bob.data.table_cache import Parsed, Tables, tables
from bob.data.voc_layout import Page, is_page, pages_of, voc_parts
from bob.data.voc_lists import BOXES, MASKS, Lists, read_lists
from bob.data.voc_parse import CLASSES, parse_voc

log = logging.getLogger(__name__)

PARSER_VERSION = 1
BACKGROUND = "background"
LABELS = {0: 0, **{label: label for label in range(1, len(CLASSES) + 1)}, IGNORE: IGNORE}


@dataclass(frozen=True)
class _Found:
    """What lies in a folder.

    Attributes:
        files: XML files, pictures and class masks, by path.
        pages: The XML files of each stored split with their pictures.
        spare: Pictures without an XML file of their own name, of each stored split.
        masks: The pictures of each stored split that have masks.
        split_by: What parts the splits: the names in the lists, or the folders.
        is_devkit: Whether it is a year's folder of the VOCdevkit, with its lists.
    """

    files: dict[str, FileEntry]
    pages: dict[str, list[Page]]
    spare: dict[str, list[str]]
    masks: dict[str, Pairing]
    split_by: Any
    is_devkit: bool


class VocReader:
    """Reads ``voc`` (VOC 2012) and ``voc:FOLDER``: a year's folder, the VOCdevkit, what holds that, or XML files alone.

    ``sizes`` counts the pictures with boxes, ``semantic_sizes`` those with masks, which are fewer.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The XML files are read once per content; pictures and masks are not opened."""
        root = _root(known_or_folder("voc", target, cache_dir=cache_dir, data_dir=data_dir))
        found = _found(root)
        fingerprint = _fingerprint(root, found, cache_dir)
        read = _tables(root, found, fingerprint, cache_dir) if found.pages else None
        known = KNOWN.get("voc")
        is_known = found.is_devkit and (read is None or read.classes == CLASSES)
        has_masks = bool(found.masks) and is_known
        return DatasetSpec(
            name="voc" if target == "voc" else root.name,
            kind="voc",
            root=str(root),
            fingerprint=read.marked(fingerprint) if read else fingerprint,
            classes=read.classes if read else CLASSES,
            sizes=read.sizes if read else pair_sizes(found.masks),
            semantic_sizes=pair_sizes(found.masks) if has_masks else (),
            license=known.license if is_known else "unknown",
            overlaps=known.overlaps if is_known else (),
            annotations=(read.annotations if read else ()) + (("semantic",) if has_masks else ()),
            contrasted=read.contrasted if read else (),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Download VOC 2012 with torchvision, which checks the archive's MD5; a folder is there or it is not."""
        if target != "voc" or find(PLACES["voc"].folders, cache_dir=cache_dir, data_dir=data_dir) is not None:
            return

        def download(place: Path) -> None:
            import torchvision.datasets

            torchvision.datasets.VOCDetection(str(place), year="2012", image_set="trainval", download=True)

        bring("voc", "VOCdevkit", download, cache_dir=cache_dir, data_dir=data_dir)

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed, or a mask is not of its picture's size."""
        root = Path(str(spec.root))
        found = _found(root)
        fingerprint = _fingerprint(root, found, cache_dir)
        read = _tables(root, found, fingerprint, cache_dir) if found.pages else None
        require_same(spec, read.marked(fingerprint) if read else fingerprint)
        if annotation == "boxes" and read:
            return {split: read.samples(split, root, said_by="its XML file", masks=False) for split in read.stored}
        pairs, classes = found.masks, (BACKGROUND, *CLASSES)
        return open_pairs(root, pairs, classes, label_table(LABELS), fingerprint=spec.fingerprint, cache_dir=cache_dir)


READER = VocReader()


def _root(folder: Path) -> Path:
    """Return the one year's folder that ``folder`` is or holds, or itself where no list says what the splits are."""
    years = voc_years(folder)
    if len(years) > 1:
        raise DataError(
            f"{folder} must hold one year of PASCAL VOC, with {PLACES['voc'].layout}; found: "
            f"{', '.join(path.name for path in years)}.",
            hint="Name one: voc:FOLDER/VOCdevkit/VOC2012",
        )
    if not years and (folder / "ImageSets").is_dir():
        raise DataError(
            f"{folder} has lists in ImageSets, but not both Annotations and JPEGImages.",
            hint="Call the folder of the XML files Annotations and that of the pictures JPEGImages.",
        )
    return years[0].resolve() if years else folder


def _found(root: Path) -> _Found:
    return _by_lists(root) if is_voc(root) else _by_folders(root)


def _by_folders(root: Path) -> _Found:
    """Return what lies in a folder without lists: every XML file counts."""
    parts = voc_parts(root)
    files, pages = pages_of(root, parts)
    spare = {split: [one.picture for one in entries if not one.page] for split, entries in pages.items()}
    folders = {split: [path.relative_to(root).as_posix() for path in part] for split, part in parts.items()}
    return _Found(files, pages, spare, {}, {"folders": folders}, is_devkit=False)


def _by_lists(root: Path) -> _Found:
    """Return what lies in a year's folder, as far as its lists name it."""
    files: dict[str, FileEntry] = {}
    for folder in ("JPEGImages", "Annotations", "SegmentationClass"):
        if (root / folder).is_dir():
            inside(root, root / folder)
            files |= {entry.path: entry for entry in list_files(root, root / folder)}
    pictures = _by_stem(files, "JPEGImages/")
    annotated = {Path(path).stem for path in files if path.startswith("Annotations/") and is_page(path)}
    lists = read_lists(root, pictures.keys() | annotated)
    boxes = _without_hidden(root, lists.get(BOXES, {}), annotated)
    pages = {split: [_page(files, pictures, name) for name in names] for split, names in boxes.items()}
    taken = annotated.union(*boxes.values())
    spare = [path for name, path in pictures.items() if name not in taken]
    masks = _pairs(files, pictures, lists)
    return _Found(files, pages, dict.fromkeys(pages, spare), masks, lists, is_devkit=True)


def _without_hidden(
    root: Path, boxes: Mapping[str, tuple[str, ...]], annotated: set[str]
) -> dict[str, tuple[str, ...]]:
    """Return the lists without a test split that has no XML file at all, as VOC's own since 2008."""
    if "test" in boxes and len(boxes) > 1 and not annotated.intersection(boxes["test"]):
        log.warning("%s: no picture of ImageSets/Main/test.txt has an XML file: the split test is left out.", root)
        return {split: names for split, names in boxes.items() if split != "test"}
    return dict(boxes)


def _page(files: Mapping[str, FileEntry], pictures: Mapping[str, str], name: str) -> Page:
    page = f"Annotations/{name}.xml"
    return Page(page if page in files else "", _named(pictures, name))


def _by_stem(files: Mapping[str, FileEntry], folder: str) -> dict[str, str]:
    """Return the paths of a folder's pictures by their names without suffix."""
    return {Path(path).stem: path for path in files if path.startswith(folder) and is_readable(path)}


def _pairs(files: Mapping[str, FileEntry], pictures: Mapping[str, str], lists: Lists) -> dict[str, Pairing]:
    masks = _by_stem(files, "SegmentationClass/")
    if not masks:
        return {}
    return {
        split: Pairing(
            pictures=tuple(pictures.get(name, "") if name in masks else _named(pictures, name) for name in names),
            masks=tuple(masks.get(name, "") for name in names),
            files=(),
        )
        for split, names in lists.get(MASKS, {}).items()
    }


def _named(pictures: Mapping[str, str], name: str) -> str:
    return pictures.get(name, f"JPEGImages/{name}.jpg")


def _fingerprint(root: Path, found: _Found, cache_dir: Path) -> str:
    def is_whole(path: str) -> bool:
        return path.startswith(("Annotations/", "SegmentationClass/")) if found.is_devkit else is_page(path)

    content = fingerprint_files(root, list(found.files.values()), cache_dir=cache_dir, whole=is_whole)
    return digest(["voc", SPLIT_VERSION, PARSER_VERSION, found.split_by, content], length=64)


def _tables(root: Path, found: _Found, fingerprint: str, cache_dir: Path) -> Tables:
    return tables("voc", fingerprint, partial(_parse, root, found), root=root, cache_dir=cache_dir)


def _parse(root: Path, found: _Found) -> Parsed:
    log.info("Reading the XML files of %s (once).", root)
    return parse_voc(root, found.pages, found.spare, frozenset(found.files), is_devkit=found.is_devkit)
