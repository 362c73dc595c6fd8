"""ROxford5k and RParis6k: pictures of buildings to be found by queries (Radenovic et al. 2018, arXiv 1803.11285).

The layout is the authors' (filipradenovic/revisitop, python/dataset.py): ``gnd_roxford5k.pkl`` or ``gnd_rparis6k.pkl``
beside ``jpg/``, where each picture lies under the name that the file gives it, and ``.jpg``; ``gnd.json`` may hold the
same keys.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.boxes import fitted
from bob.data.dataset import DatasetSpec
from bob.data.decode import BROKEN_PICTURE, open_picture, refuse_bomb
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.readers.base import Samples, require_same
from bob.data.retrieval_truth import RetrievalTruth, parse_truth, wrong
from bob.data.splits import SPLIT_VERSION

log = logging.getLogger(__name__)

ROLES = ("gallery", "query")  # the classes, so that labels tell which picture is what
GALLERY, QUERY = 0, 1
PICTURES, SUFFIX = "jpg", ".jpg"
JSON_FILE = "gnd.json"
PICKLES = {"gnd_roxford5k.pkl": "roxford5k", "gnd_rparis6k.pkl": "rparis6k"}
NAMED_AT_MOST = 5

PixelBox = tuple[int, int, int, int]


@dataclass(frozen=True)
class CroppingOpener:
    """Opens the pictures of a list of paths below a root; a query's is cut out by its box."""

    root: Path
    paths: tuple[str, ...]
    boxes: tuple[PixelBox | None, ...]

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``. The box counts the pixels as stored, as the authors' code does."""
        image, box = open_picture(self.root / self.paths[index]), self.boxes[index]
        if box is None:
            return image
        with image:
            refuse_bomb(image)
            return image.crop(box)


class RevisitedReader:
    """Reads ``revisited:FOLDER``. The test split is the gallery in the order of its list, followed by the queries."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder ``target``: the ground truth is read, no picture is opened."""
        root = Path(target).expanduser().resolve()
        if not root.is_dir():
            raise DataMissingError(
                f"folder {target!r} is not there; one with {', '.join(PICKLES)} or {JSON_FILE} beside {PICTURES}/ "
                "is expected.",
                hint=f"Look for it: ls '{root.parent}'",
            )
        source = _read(root)
        official = PICKLES.get(source.file.path)
        return DatasetSpec(
            name=official or root.name,
            kind="revisited",
            root=str(root),
            fingerprint=_fingerprint(root, source, cache_dir),
            classes=ROLES,
            sizes=(("test", len(source.pictures)),),
            license="Flickr terms" if official else "unknown",
            annotations=("retrieval",),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return gallery and queries as "test"; labels tell which is which (see ``ROLES``).

        A box partly outside its picture is clipped, with a warning, as the authors' MATLAB code clips it (Pillow would
        add black pixels); one that has no pixel in it is an error.

        Raises:
            DataError: A file changed since the spec was made; a box lies outside its query's picture, or is clipped
                and the policy is "error".
        """
        root = Path(str(spec.root))
        source = _same(spec, root, cache_dir)
        gallery, queries = len(source.truth.gallery), len(source.truth.queries)
        boxes = _pixel_boxes(root, source, strict=dict(spec.options).get("policy") == "error")
        return {
            "test": Samples(
                ids=(*source.truth.gallery, *source.truth.queries),
                labels=np.repeat(np.array([GALLERY, QUERY], dtype=np.int64), [gallery, queries]),
                read=CroppingOpener(root, tuple(entry.path for entry in source.pictures), (None,) * gallery + boxes),
            )
        }


READER = RevisitedReader()


def open_truth(spec: DatasetSpec, *, cache_dir: Path) -> RetrievalTruth:
    """Return what the queries of a data set should find.

    Raises:
        DataError: The data set has no such truth, or a file changed since the spec was made.
    """
    if spec.kind != "revisited":
        raise DataError(
            f"data set {spec.name!r} does not say what each query should find; it has {', '.join(spec.annotations)}.",
            hint="revisited:FOLDER reads ROxford5k and RParis6k.",
        )
    return _same(spec, Path(str(spec.root)), cache_dir).truth


@dataclass(frozen=True)
class _Source:
    """The ground truth, the file it stands in, and the picture of each gallery entry and then of each query."""

    truth: RetrievalTruth
    file: FileEntry
    pictures: tuple[FileEntry, ...]


def _same(spec: DatasetSpec, root: Path, cache_dir: Path) -> _Source:
    source = _read(root)
    require_same(spec, _fingerprint(root, source, cache_dir))
    return source


def _fingerprint(root: Path, source: _Source, cache_dir: Path) -> str:
    files = [source.file, *dict.fromkeys(source.pictures)]
    content = fingerprint_files(root, files, cache_dir=cache_dir, whole=source.file.path.__eq__)
    return digest(["revisited", SPLIT_VERSION, content], length=64)


def _read(root: Path) -> _Source:
    path = _truth_file(root)
    named = parse_truth(path)
    pictures = _pictures(root, path, (*named.gallery, *named.queries))
    status = path.stat()
    # A picture may serve two queries, each with a box of its own: the place tells them apart.
    truth = replace(
        named,
        queries=tuple(f"query/{place:03d}/{name}" for place, name in enumerate(named.queries)),
        gallery=tuple(entry.path for entry in pictures[: len(named.gallery)]),
    )
    return _Source(truth, FileEntry(path.name, status.st_size, status.st_mtime_ns), pictures)


def _truth_file(root: Path) -> Path:
    found = [root / name for name in (*PICKLES, JSON_FILE) if (root / name).is_file()]
    if len(found) != 1:
        has = ", ".join(path.name for path in found) or "none"
        raise DataError(
            f"{root} must hold one of {', '.join(PICKLES)} and {JSON_FILE}, beside {PICTURES}/; found: {has}.",
            hint="The authors' page is cmp.felk.cvut.cz/revisitop; each data set has a folder of its own.",
        )
    inside(root, found[0])
    return found[0]


def _pictures(root: Path, path: Path, names: Sequence[str]) -> tuple[FileEntry, ...]:
    """Return the file of each picture; DataError for those that are not there."""
    folder = root / PICTURES
    if not folder.is_dir():
        raise DataError(f"{root} has no folder {PICTURES} with the pictures.", hint=f"Look at the names: ls '{root}'")
    inside(root, folder)
    found = {entry.path: entry for entry in list_files(root, folder)}
    files = [found.get(f"{PICTURES}/{name}{SUFFIX}") for name in names]
    missing = [name for name, entry in zip(names, files, strict=True) if entry is None]
    if missing:
        shown = ", ".join(missing[:NAMED_AT_MOST]) + (" ..." if len(missing) > NAMED_AT_MOST else "")
        raise DataError(
            f"{folder} lacks {len(missing)} of the {len(names)} pictures that {path.name} names: {shown}.",
            hint="Fetch them: a score without them would be another benchmark's.",
        )
    return tuple(entry for entry in files if entry is not None)


def _pixel_boxes(root: Path, source: _Source, *, strict: bool) -> tuple[PixelBox, ...]:
    """Return what is cut out of each query's picture, in whole pixels within it."""
    entries = source.pictures[len(source.truth.gallery) :]
    cut: list[PixelBox] = []
    clipped: list[str] = []
    for query, entry, box in zip(source.truth.queries, entries, source.truth.boxes.tolist(), strict=True):
        size = _size(root / entry.path)
        fit, fault = fitted(box, size) if size else (tuple(box), None)
        pixels = _rounded(fit, size) if fit else None
        if pixels is None:
            height, width = size or (0, 0)
            raise wrong(root / source.file.path, f"bbx {box} of {query} ({width} x {height}): no pixel lies in it")
        if fault:
            clipped.append(f"{query}: bbx {box} is {fault}")
        cut.append(pixels)
    if clipped and strict:
        raise wrong(root / source.file.path, "; ".join(clipped))
    if clipped:
        log.warning("%s: %d boxes put right: %s.", root / source.file.path, len(clipped), "; ".join(clipped))
    return tuple(cut)


def _size(path: Path) -> tuple[int, int] | None:
    """Return a picture's height and width as stored; None if it cannot be read: the check of pictures will say so."""
    try:
        with open_picture(path) as image:
            return image.height, image.width
    except BROKEN_PICTURE:
        return None


def _rounded(box: Sequence[float], size: tuple[int, int] | None) -> PixelBox | None:
    """Return a box in whole pixels, rounded as Pillow's crop rounds; None if nothing is left."""
    left, top, right, bottom = (round(edge) for edge in box)
    if size is not None:
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, size[1]), min(bottom, size[0])
    return (left, top, right, bottom) if left < right and top < bottom else None
