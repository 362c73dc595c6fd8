"""ImageNet's test sets that are not laid out by WordNet id: ImageNet-V2 by class index, ImageNet-ReaL by a list.

ImageNet-A, -R, -Sketch and each CORRUPTION/SEVERITY of ImageNet-C are folders named by WordNet id: ``imagenet:FOLDER``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.core.text import printable
from bob.data.dataset import DatasetSpec
from bob.data.file_names import is_picture
from bob.data.fingerprint import FileEntry, fingerprint_files, inside, list_files
from bob.data.imagenet import wnids
from bob.data.readers.base import Samples, require_same
from bob.data.readers.imagefolder import FileOpener
from bob.data.splits import SPLIT_VERSION

CLASSES = 1000
REAL_FILE = "real.json"
REAL_COUNT = 50_000
CLASS_INDEX = re.compile(r"\d{1,4}")
# The suffix that some copies add is the picture's WordNet id.
VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?:_n\d{8})?")
HIDDEN = (".", "__MACOSX")


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The test pictures: paths below the root, the classes that are right for each, and the files that count."""

    paths: tuple[str, ...]
    right: tuple[tuple[int, ...], ...]
    files: tuple[FileEntry, ...]
    ignored: tuple[str, ...]

    def samples(self, root: Path, *, sets: bool) -> Samples:
        """Return the pictures, unopened; the label is the first class that is right."""
        return Samples(
            ids=tuple(map(printable, self.paths)),
            labels=np.array([right[0] for right in self.right], dtype=np.int64),
            read=FileOpener(root, self.paths),
            ignored=self.ignored,
            label_sets=self.right if sets else None,
        )


class ImagenetV2Reader:
    """Reads ``imagenet_v2:FOLDER``: folders 0 to 999, named by class index (Recht et al. 2019, arXiv 1902.10811).

    The index is the classifier's, ``int(parent.name)`` in the authors' ImageNetV2_pytorch, not the folder's place in
    the order of their names. The classes are always all 1,000, by WordNet id, whichever folders there are.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder ``target``; no picture is opened."""
        root = _folder(target, "one with the folders 0 to 999 of ImageNet-V2")
        stored = _scan_v2(root)
        return DatasetSpec(
            name=root.name,
            kind="imagenet_v2",
            root=str(root),
            fingerprint=_fingerprint("imagenet_v2", root, stored, cache_dir),
            classes=wnids(),
            sizes=(("test", len(stored.paths)),),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the test pictures; DataError if a file changed since the spec was made."""
        root = Path(str(spec.root))
        stored = _scan_v2(root)
        require_same(spec, _fingerprint("imagenet_v2", root, stored, cache_dir))
        return {"test": stored.samples(root, sets=False)}


class ImagenetRealReader:
    """Reads ``imagenet_real:FOLDER``: ``real.json`` and ImageNet's validation pictures (Beyer et al. 2020).

    The list's place k (from 0) names the classes that are right for ILSVRC2012_val_(k + 1); a picture with none is not
    scored (README of google-research/reassessed-imagenet, arXiv 2006.07159). The pictures lie in FOLDER or FOLDER/val,
    flat or in folders.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder ``target``; real.json is read, no picture is opened."""
        root = _folder(target, f"one with {REAL_FILE} and ImageNet's validation pictures")
        stored = _scan_real(root)
        return DatasetSpec(
            name="imagenet_real",  # the folder's own name is that of the same pictures with their first labels
            kind="imagenet_real",
            root=str(root),
            fingerprint=_fingerprint("imagenet_real", root, stored, cache_dir),
            classes=wnids(),
            sizes=(("test", len(stored.paths)),),
            license="research only",
            annotations=("label_sets",),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: ImageNet is given to those who accept its terms."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the test pictures with their label sets; DataError if a file changed since the spec was made."""
        root = Path(str(spec.root))
        stored = _scan_real(root)
        require_same(spec, _fingerprint("imagenet_real", root, stored, cache_dir))
        return {"test": stored.samples(root, sets=True)}


V2_READER = ImagenetV2Reader()
REAL_READER = ImagenetRealReader()


def _folder(target: str, expected: str) -> Path:
    root = Path(target).expanduser().resolve()
    if not root.is_dir():
        raise DataMissingError(
            f"folder {target!r} is not there; {expected} is expected.", hint=f"Look for it: ls '{root.parent}'"
        )
    return root


def _fingerprint(kind: str, root: Path, stored: _Stored, cache_dir: Path) -> str:
    content = fingerprint_files(root, stored.files, cache_dir=cache_dir, whole=REAL_FILE.__eq__)
    return digest([kind, SPLIT_VERSION, content], length=64)


def _scan_v2(root: Path) -> _Stored:
    entries: list[tuple[FileEntry, int]] = []
    ignored: list[str] = []
    for label, folder in sorted(_class_folders(root).items()):
        inside(root, folder)
        for entry in list_files(root, folder):
            if is_picture(entry.path):
                entries.append((entry, label))
            else:
                ignored.append(entry.path)
    if not entries:
        raise DataError(f"{root}: its class folders hold no picture.", hint=f"Look at the names: ls '{root}'")
    return _Stored(
        paths=tuple(entry.path for entry, _ in entries),
        right=tuple((label,) for _, label in entries),
        files=tuple(entry for entry, _ in entries),
        ignored=tuple(ignored),
    )


def _class_folders(root: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(HIDDEN)):
        if not CLASS_INDEX.fullmatch(folder.name) or int(folder.name) >= CLASSES:
            raise DataError(
                f"{root}: folder {folder.name!r} is no class index; ImageNet-V2 has the folders 0 to 999.",
                hint="Folders named by WordNet id are read as imagenet:FOLDER.",
            )
        label = int(folder.name)
        if label in found:
            raise DataError(
                f"{root}: the folders {found[label].name!r} and {folder.name!r} are both class {label}.",
                hint="Remove or merge one of the two.",
            )
        found[label] = folder
    return found


def _scan_real(root: Path) -> _Stored:
    """Return the pictures with at least one right class, in the order of their numbers.

    One that is not there is kept by its usual name: the check of pictures leaves it out, by name and counted.
    """
    real, right = _real_file(root), _real_labels(root)
    folder = root / "val" if (root / "val").is_dir() else root
    entries = list_files(root, folder)
    found = _validation_pictures(root, [entry for entry in entries if is_picture(entry.path)])
    scored = [number for number, labels in enumerate(right, start=1) if labels]
    prefix = "" if folder == root else "val/"
    return _Stored(
        paths=tuple(
            found[number].path if number in found else f"{prefix}ILSVRC2012_val_{number:08d}.JPEG" for number in scored
        ),
        right=tuple(right[number - 1] for number in scored),
        files=(real, *(found[number] for number in scored if number in found)),
        ignored=tuple(entry.path for entry in entries if not is_picture(entry.path) and entry.path != REAL_FILE),
    )


def _validation_pictures(root: Path, entries: list[FileEntry]) -> dict[int, FileEntry]:
    """Return each validation picture by its number."""
    found: dict[int, FileEntry] = {}
    for entry in entries:
        match = VALIDATION_NAME.fullmatch(PurePosixPath(entry.path).stem)
        number = int(match[1]) if match else 0
        if not 1 <= number <= REAL_COUNT:
            raise DataError(
                f"{root}: {entry.path} is no validation picture of ImageNet, ILSVRC2012_val_00000001.JPEG to "
                f"ILSVRC2012_val_{REAL_COUNT:08d}.JPEG.",
                hint=f"Put the validation pictures alone in '{root}/val', and {REAL_FILE} beside it.",
            )
        if number in found:
            raise DataError(
                f"{root}: {found[number].path} and {entry.path} are the same validation picture.",
                hint="Remove one of the two.",
            )
        found[number] = entry
    if not found:
        raise DataError(
            f"{root} holds no validation picture such as ILSVRC2012_val_00000001.JPEG.",
            hint=f"Put them in '{root}/val', flat or in folders by WordNet id.",
        )
    return found


def _real_file(root: Path) -> FileEntry:
    path = root / REAL_FILE
    if not path.is_file():
        raise DataError(
            f"{root} has no {REAL_FILE}, the list of {REAL_COUNT} lists of classes.",
            hint="It comes from the repository google-research/reassessed-imagenet: copy it there.",
        )
    status = inside(root, path).stat()
    return FileEntry(REAL_FILE, status.st_size, status.st_mtime_ns)


def _real_labels(root: Path) -> tuple[tuple[int, ...], ...]:
    """Return the classes that are right for each validation picture, by number; DataError for what cannot be right."""
    path = root / REAL_FILE
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is no JSON file: {error}.", hint="Copy the file anew.") from error
    if not isinstance(content, list) or len(content) != REAL_COUNT:
        has = f"{len(content)} entries" if isinstance(content, list) else f"a {type(content).__name__}"
        raise DataError(
            f"{path} holds {has}; {REAL_COUNT} lists, one for each validation picture, are expected.",
            hint="Copy the file anew.",
        )
    return tuple(_real_set(path, number, labels) for number, labels in enumerate(content, start=1))


def _real_set(path: Path, number: int, labels: object) -> tuple[int, ...]:
    if not isinstance(labels, list) or any(type(one) is not int or not 0 <= one < CLASSES for one in labels):
        raise DataError(
            f"{path}: the classes of ILSVRC2012_val_{number:08d} are {labels!r}; a list of indices from 0 to "
            f"{CLASSES - 1} is expected.",
            hint="Copy the file anew.",
        )
    return tuple(labels)
