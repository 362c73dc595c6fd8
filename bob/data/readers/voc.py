"""PASCAL VOC: boxes in XML files, and palette masks of the classes for part of the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bob.core.errors import DataError
from bob.core.files import digest
from bob.data.annotations import IGNORE
from bob.data.dataset import SPLITS, DatasetSpec
from bob.data.dense_places import PLACES, known_or_folder
from bob.data.downloads import bring, find
from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.known import KNOWN
from bob.data.layouts import voc_years
from bob.data.mask_pictures import label_table
from bob.data.pairing import Pairing, open_pairs, pair_sizes
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same
from bob.data.splits import SPLIT_VERSION
from bob.data.table_cache import Parsed, Tables, tables
from bob.data.voc_parse import CLASSES, parse_voc

PARSER_VERSION = 1
BACKGROUND = "background"
BOXES, MASKS = "Main", "Segmentation"  # below ImageSets
LABELS = {0: 0, **{label: label for label in range(1, len(CLASSES) + 1)}, IGNORE: IGNORE}


class VocReader:
    """Reads ``voc`` (VOC 2012) and ``voc:FOLDER``: a year's folder, the VOCdevkit, or what holds that.

    ``sizes`` counts the pictures with boxes, ``semantic_sizes`` those with masks, which are fewer.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder. The XML files are read once per content; pictures and masks are not opened."""
        root = _year(known_or_folder("voc", target, cache_dir=cache_dir, data_dir=data_dir))
        files, lists = _files(root), _lists(root)
        fingerprint = _fingerprint(root, files, lists, cache_dir)
        masks = _pairs(root, files, lists)
        read = _tables(root, files, lists, fingerprint, cache_dir) if lists.get(BOXES) else None
        known = KNOWN.get("voc")
        is_voc = read is None or read.classes == CLASSES
        return DatasetSpec(
            name="voc" if target == "voc" else root.name,
            kind="voc",
            root=str(root),
            fingerprint=read.marked(fingerprint) if read else fingerprint,
            classes=read.classes if read else CLASSES,
            sizes=read.sizes if read else pair_sizes(masks),
            semantic_sizes=pair_sizes(masks) if masks and is_voc else (),
            license=known.license if is_voc else "unknown",
            overlaps=known.overlaps if is_voc else (),
            annotations=(("boxes",) if read else ()) + (("semantic",) if masks and is_voc else ()),
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
        files, lists = _files(root), _lists(root)
        fingerprint = _fingerprint(root, files, lists, cache_dir)
        read = _tables(root, files, lists, fingerprint, cache_dir) if lists.get(BOXES) else None
        require_same(spec, read.marked(fingerprint) if read else fingerprint)
        if annotation == "boxes" and read:
            return {split: read.samples(split, root, said_by="its XML file", masks=False) for split in read.stored}
        pairs, classes = _pairs(root, files, lists), (BACKGROUND, *CLASSES)
        return open_pairs(root, pairs, classes, label_table(LABELS), fingerprint=spec.fingerprint, cache_dir=cache_dir)


READER = VocReader()

Lists = dict[str, dict[str, tuple[str, ...]]]


def _year(folder: Path) -> Path:
    years = voc_years(folder)
    if len(years) == 1:
        return years[0].resolve()
    found = ", ".join(path.name for path in years) or "none"
    raise DataError(
        f"{folder} must hold one year of PASCAL VOC, with {PLACES['voc'].layout}; found: {found}.",
        hint="Name one: voc:FOLDER/VOCdevkit/VOC2012",
    )


def _files(root: Path) -> dict[str, FileEntry]:
    """Return the pictures, XML files and class masks, by path."""
    found: dict[str, FileEntry] = {}
    for folder in ("JPEGImages", "Annotations", "SegmentationClass"):
        if (root / folder).is_dir():
            inside(root, root / folder)
            found |= {entry.path: entry for entry in list_files(root, root / folder)}
    return found


def _lists(root: Path) -> Lists:
    """Return the picture names of each split, for boxes and for masks. The lists per class are not read."""
    found: Lists = {}
    for purpose in (BOXES, MASKS):
        for split in SPLITS:
            path = root / "ImageSets" / purpose / f"{split}.txt"
            names = inside(root, path).read_text().split() if path.is_file() else []
            if names:
                found.setdefault(purpose, {})[split] = _checked(path, names)
        _require_apart(root, found.get(purpose, {}))
    if not found:
        raise DataError(
            f"{root} has no list ImageSets/Main/train.txt or ImageSets/Segmentation/train.txt.",
            hint=f"Look at the names: ls '{root}/ImageSets'",
        )
    return found


def _checked(path: Path, names: list[str]) -> tuple[str, ...]:
    for name in names:
        if "/" in name or "\\" in name or name in (".", ".."):
            raise DataError(f"{path}: {name!r} is no plain name of a picture.", hint="One name a line is expected.")
    return tuple(dict.fromkeys(names))


def _require_apart(root: Path, lists: Mapping[str, tuple[str, ...]]) -> None:
    owner: dict[str, str] = {}
    for split, names in lists.items():
        for name in names:
            if owner.setdefault(name, split) != split:
                raise DataError(
                    f"{root}: picture {name} is in both {owner[name]}.txt and {split}.txt.",
                    hint="A picture may train or test, not both: take it out of one list.",
                )


def _pictures(files: Mapping[str, FileEntry]) -> dict[str, str]:
    """Return the path of each picture by its name without suffix."""
    return {Path(path).stem: path for path in files if path.startswith("JPEGImages/") and is_picture(path)}


def _pairs(root: Path, files: Mapping[str, FileEntry], lists: Lists) -> dict[str, Pairing]:
    pictures = _pictures(files)
    masks = {Path(path).stem: path for path in files if path.startswith("SegmentationClass/") and is_picture(path)}
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


def _fingerprint(root: Path, files: Mapping[str, FileEntry], lists: Lists, cache_dir: Path) -> str:
    entries = list(files.values())
    whole = tuple(f"{folder}/" for folder in ("Annotations", "SegmentationClass"))
    content = fingerprint_files(root, entries, cache_dir=cache_dir, whole=lambda path: path.startswith(whole))
    named = {purpose: {split: list(names) for split, names in parts.items()} for purpose, parts in lists.items()}
    return digest(["voc", SPLIT_VERSION, PARSER_VERSION, named, content], length=64)


def _tables(root: Path, files: Mapping[str, FileEntry], lists: Lists, fingerprint: str, cache_dir: Path) -> Tables:
    return tables("voc", fingerprint, partial(_parse, root, files, lists), root=root, cache_dir=cache_dir)


def _parse(root: Path, files: Mapping[str, FileEntry], lists: Lists) -> Parsed:
    pictures = _pictures(files)
    named = {split: [(name, _named(pictures, name)) for name in names] for split, names in lists.get(BOXES, {}).items()}
    return parse_voc(root, named, frozenset(files))
