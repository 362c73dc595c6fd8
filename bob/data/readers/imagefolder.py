"""Folders of pictures: ``SPLIT/CLASS/*.jpg``, or ``CLASS/*.jpg`` without splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bob.core.errors import DataMissingError
from bob.core.files import digest
from bob.core.text import printable
from bob.data.class_scan import StoredSplit, classes_of, listing, scan, suspect, tests_on_training_pictures
from bob.data.dataset import DatasetSpec
from bob.data.decode import open_picture
from bob.data.fingerprint import fingerprint_files
from bob.data.imagenet import are_wnids
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.splits import SPLIT_VERSION

IMAGENETS = ("ImageNet-1k", "ImageNet-21k", "ImageNet-22k")


@dataclass(frozen=True)
class FileOpener:
    """Opens the pictures of a list of paths below a root."""

    root: Path
    paths: tuple[str, ...]

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``, its header read and its pixels not yet."""
        return open_picture(self.root / self.paths[index])


class ImageFolderReader:
    """Reads class folders. Option ``layout``: "auto", "divide" (a flat folder is split 70/10/20) or "test_only".

    "auto" divides a flat folder too, unless its class folders are ImageNet's WordNet ids: then all of it is test. It
    refuses a folder that looks like another layout.
    """

    def resolve(
        self, target: str, *, cache_dir: Path, data_dir: Path | None, layout: str = "auto", suspected: bool = True
    ) -> DatasetSpec:
        """Describe the folder ``target``; the fingerprint covers its picture files and their split names."""
        root = Path(target).expanduser().resolve()
        if not root.is_dir():
            raise DataMissingError(
                f"folder {target!r} is not there; a folder SPLIT/CLASS/*.jpg or CLASS/*.jpg is expected.",
                hint=f"Look for it: ls '{root.parent}'",
            )
        stored = scan(root, layout)
        if layout == "auto" and suspected:
            suspect(root, stored)
        classes = classes_of(root, stored, layout)
        labels = {name: listing(part, classes) for name, part in stored.items()}
        return DatasetSpec(
            name=printable(root.name),
            kind="imagefolder",
            root=str(root),
            options=(("layout", layout),),
            fingerprint=_fingerprint(root, stored, cache_dir),
            classes=classes,
            sizes=split_sizes(labels, classes=classes),
            overlaps=IMAGENETS if are_wnids(classes) and tests_on_training_pictures(stored) else (),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        root = Path(str(spec.root))
        stored = scan(root, str(dict(spec.options).get("layout", "auto")))
        require_same(spec, _fingerprint(root, stored, cache_dir))
        return {name: _samples(root, part, spec.classes) for name, part in stored.items()}


READER = ImageFolderReader()


def _samples(root: Path, part: StoredSplit, classes: tuple[str, ...]) -> Samples:
    ids, labels = listing(part, classes)
    paths = tuple(entry.path for entry in part.files)
    return Samples(ids=ids, labels=labels, read=FileOpener(root, paths), ignored=part.ignored)


def _fingerprint(root: Path, stored: Mapping[str, StoredSplit], cache_dir: Path) -> str:
    files = [entry for part in stored.values() for entry in part.files]
    content = fingerprint_files(root, files, cache_dir=cache_dir)
    # The same files were one class before splits that are nested in themselves were read.
    nested = ["nested"] if any(part.nested for part in stored.values()) else []
    # An undivided folder and one that is all test hold the same files but other splits.
    return digest(["imagefolder", SPLIT_VERSION, sorted(stored), content, *nested], length=64)
