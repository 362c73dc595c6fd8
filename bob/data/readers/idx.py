"""IDX files, plain or gzipped, as MNIST and Fashion-MNIST come."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.downloads import bring, find, missing
from bob.data.fingerprint import FileEntry, fingerprint_files, list_files
from bob.data.judge import classes_present, require_trained
from bob.data.known import KNOWN
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.readers.torchvision import ArrayOpener
from bob.data.splits import SPLIT_VERSION

FILE_NAME = re.compile(r"(train|val|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")
SPLIT_OF = {"train": "train", "val": "val", "t10k": "test", "test": "test"}
UNSIGNED_BYTE = 8
FASHION_MNIST = "fashion_mnist"
FASHION_FOLDERS = ("FashionMNIST/raw", "fashion_mnist", "fashion-mnist")
FASHION_CLASSES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


class IdxReader:
    """Reads ``idx:FOLDER`` and ``fashion_mnist``. Class names: ``classes.txt``, one a line, or numbers."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the files; labels are read, pictures only as far as their fingerprint needs."""
        root = _root(target, cache_dir=cache_dir, data_dir=data_dir).resolve()
        files = _files(root)
        labels = {split: read_idx(root / pair["labels"].path, 1) for split, pair in files.items()}
        classes = _classes(root, target, labels)
        present = {split: set(values.tolist()) for split, values in labels.items()}
        hint = "Look whether the files belong together, and whether the training file is whole."
        require_trained(str(root), classes, present, what="picture", hint=hint)
        listing = {split: (_ids(split, len(values)), values) for split, values in labels.items()}
        known = KNOWN.get(target) if target in KNOWN else None
        return DatasetSpec(
            name=root.name if known is None else known.name,
            kind="idx",
            root=str(root),
            fingerprint=_fingerprint(root, files, cache_dir),
            classes=classes,
            sizes=split_sizes(listing),
            classes_present=classes_present(present),
            license="unknown" if known is None else known.license,
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Download Fashion-MNIST with torchvision; a folder is there or it is not."""
        if target != FASHION_MNIST or find(FASHION_FOLDERS, cache_dir=cache_dir, data_dir=data_dir) is not None:
            return

        def download(place: Path) -> None:
            import torchvision.datasets

            torchvision.datasets.FashionMNIST(str(place), download=True)

        bring(target, "FashionMNIST", download, cache_dir=cache_dir, data_dir=data_dir)

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits, their pixels in memory; DataError for a file that is cut short."""
        root = Path(str(spec.root))
        files = _files(root)
        require_same(spec, _fingerprint(root, files, cache_dir))
        return {split: _samples(root, split, pair) for split, pair in files.items()}


READER = IdxReader()


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the uint8 array of an IDX file (format: yann.lecun.com/exdb/mnist), gzipped if its name says so.

    Raises:
        DataError: The file is cut short, damaged, or holds something else; the message names it.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.", hint="Fetch or copy the file anew.") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, UNSIGNED_BYTE, dimensions]):
        raise DataError(
            f"{path} is no IDX file of unsigned bytes with {dimensions} dimensions (it starts with {content[:4]!r}).",
            hint="Fetch or copy the file anew.",
        )
    shape = tuple(int(side) for side in np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) != header + math.prod(shape):
        raise DataError(
            f"{path} holds {len(content)} bytes; its header {shape} promises {header + math.prod(shape)}.",
            hint="Fetch or copy the file anew.",
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _root(target: str, *, cache_dir: Path, data_dir: Path | None) -> Path:
    if target == FASHION_MNIST:
        found = find(FASHION_FOLDERS, cache_dir=cache_dir, data_dir=data_dir)
        if found is None:
            raise missing(target, FASHION_FOLDERS, cache_dir=cache_dir, data_dir=data_dir)
        return found
    root = Path(target).expanduser()
    if not root.is_dir():
        raise DataMissingError(
            f"folder {target!r} is not there; one with train-images-idx3-ubyte(.gz) and its like is expected.",
            hint=f"Look for it: ls '{root.parent}'",
        )
    return root


def _files(root: Path) -> dict[str, dict[str, FileEntry]]:
    """Return the images and labels file of each split; a plain file is preferred to its gzipped twin."""
    found: dict[str, dict[str, FileEntry]] = {}
    for entry in reversed(list_files(root)):
        match = FILE_NAME.fullmatch(entry.path)
        if match:
            found.setdefault(SPLIT_OF[match[1]], {})[match[2]] = entry
    if not found or any(len(pair) != 2 for pair in found.values()):
        has = ", ".join(entry.path for pair in found.values() for entry in pair.values()) or "none"
        raise DataError(
            f"{root}: each split needs an images and a labels file, such as train-images-idx3-ubyte.gz and "
            f"train-labels-idx1-ubyte.gz; found: {has}.",
            hint=f"Look at the names: ls '{root}'",
        )
    return found


def _fingerprint(root: Path, files: Mapping[str, Mapping[str, FileEntry]], cache_dir: Path) -> str:
    entries = [entry for pair in files.values() for entry in pair.values()]
    return digest(["idx", SPLIT_VERSION, fingerprint_files(root, entries, cache_dir=cache_dir)], length=64)


def _classes(root: Path, target: str, labels: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    count = max(int(values.max(initial=0)) for values in labels.values()) + 1
    named = root / "classes.txt"
    if target == FASHION_MNIST:
        names: tuple[str, ...] = FASHION_CLASSES
    elif named.is_file():
        names = tuple(line.strip() for line in named.read_text().splitlines() if line.strip())
    else:
        names = tuple(str(label) for label in range(count))
    if len(names) < count:
        raise DataError(
            f"{root}: a label is {count - 1}, but there are {len(names)} class names.", hint=f"See {named}."
        )
    return names


def _samples(root: Path, split: str, pair: Mapping[str, FileEntry]) -> Samples:
    pixels, labels = read_idx(root / pair["images"].path, 3), read_idx(root / pair["labels"].path, 1)
    if len(pixels) != len(labels):
        raise DataError(
            f"{root}: {len(pixels)} pictures but {len(labels)} labels in split {split!r}.",
            hint="Fetch or copy both files anew.",
        )
    ids = _ids(split, len(labels))
    return Samples(ids=ids, labels=labels.astype(np.int64), read=ArrayOpener(pixels), trusted=True)


def _ids(split: str, count: int) -> tuple[str, ...]:
    return tuple(f"{split}/{index:06d}" for index in range(count))
