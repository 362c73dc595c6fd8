"""The data sets that torchvision downloads. Resolving one that was described before imports no torchvision."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob.core.errors import DataError, unknown_name
from bob.core.files import digest
from bob.core.text import printable
from bob.data.dataset import DatasetSpec
from bob.data.describe_dataset import description
from bob.data.downloads import bring, find, missing
from bob.data.fingerprint import fingerprint_files, list_files
from bob.data.judge import require_trained
from bob.data.known import KNOWN
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.readers.imagefolder import FileOpener
from bob.data.splits import SPLIT_VERSION, UNDIVIDED

ARCHIVES = (".gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True, kw_only=True)
class TorchvisionSet:
    """How torchvision names a data set.

    Attributes:
        cls: The class in ``torchvision.datasets``.
        folder: The folder it unpacks to, below the root.
        parts: Constructor arguments of each stored split.
    """

    cls: str
    folder: str
    parts: Mapping[str, Mapping[str, Any]]


_TRAIN_FLAG = {"train": {"train": True}, "test": {"train": False}}
_THREE = {name: {"split": name} for name in ("train", "val", "test")}

SETS: dict[str, TorchvisionSet] = {
    "cifar10": TorchvisionSet(cls="CIFAR10", folder="cifar-10-batches-py", parts=_TRAIN_FLAG),
    "cifar100": TorchvisionSet(cls="CIFAR100", folder="cifar-100-python", parts=_TRAIN_FLAG),
    "flowers102": TorchvisionSet(cls="Flowers102", folder="flowers-102", parts=_THREE),
    "pets": TorchvisionSet(
        cls="OxfordIIITPet",
        folder="oxford-iiit-pet",
        parts={"train": {"split": "trainval"}, "test": {"split": "test"}},
    ),
    "dtd": TorchvisionSet(cls="DTD", folder="dtd", parts=_THREE),
    "eurosat": TorchvisionSet(cls="EuroSAT", folder="eurosat", parts={UNDIVIDED: {}}),
    "aircraft": TorchvisionSet(cls="FGVCAircraft", folder="fgvc-aircraft-2013b", parts=_THREE),
    "food101": TorchvisionSet(
        cls="Food101", folder="food-101", parts={"train": {"split": "train"}, "test": {"split": "test"}}
    ),
}


@dataclass(frozen=True)
class ArrayOpener:
    """Hands out pictures of an array, uint8 (n, h, w) or (n, h, w, 3)."""

    pixels: np.ndarray

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``."""
        return Image.fromarray(self.pixels[index])


class TorchvisionReader:
    """Reads ``torchvision:NAME``, with the names of ``SETS``; splits are torchvision's own."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the set; the fingerprint covers every file in its folder except downloaded archives."""
        entry = _entry(target)
        folder = find((entry.folder,), cache_dir=cache_dir, data_dir=data_dir)
        if folder is None:
            raise missing(target, (entry.folder,), cache_dir=cache_dir, data_dir=data_dir)
        fingerprint = _fingerprint(target, folder, cache_dir)
        said = description("torchvision", target, folder.parent, fingerprint, cache_dir=cache_dir)
        known = KNOWN.get(target)
        return DatasetSpec(
            name=target,
            kind="torchvision",
            root=str(folder.parent.resolve()),
            fingerprint=fingerprint,
            classes=tuple(said["classes"]),
            sizes=tuple((name, count) for name, count in said["sizes"]),
            license=known.license,
            overlaps=known.overlaps,
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Download the set with torchvision, which checks the archive's MD5."""
        entry = _entry(target)
        if find((entry.folder,), cache_dir=cache_dir, data_dir=data_dir) is not None:
            return

        def download(place: Path) -> None:
            for arguments in entry.parts.values():
                _build(entry, place, arguments, download=True)

        bring(target, entry.folder, download, cache_dir=cache_dir, data_dir=data_dir)

    def describe(self, target: str, root: Path, cache_dir: Path) -> dict[str, Any]:
        """Return classes and sizes as JSON values. Imports torchvision."""
        stored, classes = _open(target, root)
        present = {name: set(samples.labels.tolist()) for name, samples in stored.items()}
        hint = f"Fetch the data set anew: rm -r '{root / _entry(target).folder}'"
        require_trained(str(root), classes, present, what="picture", hint=hint)
        sizes = split_sizes({name: (samples.ids, samples.labels) for name, samples in stored.items()})
        return {"classes": classes, "sizes": sizes}

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits. Imports torchvision."""
        root = Path(str(spec.root))
        require_same(spec, _fingerprint(spec.name, root / _entry(spec.name).folder, cache_dir))
        return _open(spec.name, root)[0]


READER = TorchvisionReader()


def _entry(name: str) -> TorchvisionSet:
    if name not in SETS:
        raise unknown_name("torchvision data set", name, SETS, hint=f"Known: {', '.join(SETS)}.")
    return SETS[name]


def _fingerprint(name: str, folder: Path, cache_dir: Path) -> str:
    files = [entry for entry in list_files(folder) if not entry.path.endswith(ARCHIVES)]
    content = fingerprint_files(folder, files, cache_dir=cache_dir)
    return digest(["torchvision", name, SPLIT_VERSION, content], length=64)


def _build(entry: TorchvisionSet, root: Path, arguments: Mapping[str, Any], *, download: bool) -> Any:
    import torchvision.datasets

    return getattr(torchvision.datasets, entry.cls)(str(root), **arguments, download=download)


def _open(name: str, root: Path) -> tuple[dict[str, Samples], list[str]]:
    entry = _entry(name)
    stored: dict[str, Samples] = {}
    classes: list[str] = []
    for part, arguments in entry.parts.items():
        try:
            data = _build(entry, root, arguments, download=False)
        except (RuntimeError, OSError, ValueError, KeyError) as error:
            raise DataError(
                f"{root / entry.folder} is not {name} as torchvision unpacks it: {error}",
                hint=f"Remove the folder and fetch it anew: rm -r '{root / entry.folder}'",
            ) from error
        stored[part] = _samples(data, part, root / entry.folder)
        classes = classes or [str(one) for one in getattr(data, "classes", range(int(stored[part].labels.max()) + 1))]
    return stored, classes


def _samples(data: Any, part: str, folder: Path) -> Samples:
    """Read labels and files off a torchvision data set; it has no public way to list them without decoding."""
    labels = np.asarray(data.targets if hasattr(data, "targets") else data._labels, dtype=np.int64)
    if isinstance(getattr(data, "data", None), np.ndarray):
        ids = tuple(f"{part}/{index:06d}" for index in range(len(labels)))
        return Samples(ids=ids, labels=labels, read=ArrayOpener(data.data), trusted=True)
    if hasattr(data, "samples"):
        files = [path for path, _ in data.samples]
    else:
        files = data._image_files if hasattr(data, "_image_files") else data._images
    paths = tuple(_below(Path(os.path.normpath(file)), folder) for file in files)
    return Samples(ids=tuple(map(printable, paths)), labels=labels, read=FileOpener(folder, paths))


def _below(path: Path, folder: Path) -> str:
    # Symbolic links were refused when the files were listed; what is left is a list file that names '..'.
    if not path.is_relative_to(folder):
        raise DataError(f"a list in {folder} names {path}, which lies outside.", hint="Fetch the data set anew.")
    return path.relative_to(folder).as_posix()
