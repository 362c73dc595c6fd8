"""ADE20K as the scene parsing benchmark cuts it (ADEChallengeData2016): 150 classes, label 0 is no class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.data.dataset import DatasetSpec
from bob.data.dense_places import PLACES, known_or_folder
from bob.data.file_names import split_folders
from bob.data.fingerprint import inside
from bob.data.known import KNOWN
from bob.data.layouts import ade20k_root, is_ade20k
from bob.data.mask_pictures import label_table
from bob.data.pairing import Pairing, fingerprint_pairs, open_pairs, pair_files, pair_sizes
from bob.data.readers.base import DenseSamples, Samples, dense_pictures, require_same

CLASSES = 150
NAMES_FILE = "objectInfo150.txt"
# Of the benchmark's SceneParsing: "0 is for other objects, not counted" (Zhou et al. 2017, the toolkit's README).
LABELS = {0: IGNORE, **{label: label - 1 for label in range(1, CLASSES + 1)}}


class Ade20kReader:
    """Reads ``ade20k`` and ``ade20k:FOLDER``, the folder or its parent.

    The test pictures have no public masks: validation serves as test.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the folder; no picture and no mask is opened."""
        root = known_or_folder("ade20k", target, cache_dir=cache_dir, data_dir=data_dir)
        root = ade20k_root(root) or root
        stored, names, known = _scan(root), _names(root), KNOWN.get("ade20k")
        return DatasetSpec(
            name="ade20k",
            kind="ade20k",
            root=str(root),
            fingerprint=fingerprint_pairs("ade20k", root, stored, cache_dir=cache_dir, more=names),
            classes=names,
            sizes=pair_sizes(stored),
            license=known.license,
            overlaps=known.overlaps,
            annotations=("semantic",),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Say how to get it if it is not here: its authors ask everybody to accept their terms."""
        known_or_folder("ade20k", target, cache_dir=cache_dir, data_dir=data_dir)

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the pictures of the stored splits."""
        return dense_pictures(self, spec, cache_dir)

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the stored splits; DataError if a file changed, or a mask is not of its picture's size."""
        root = Path(str(spec.root))
        stored, names = _scan(root), _names(root)
        require_same(spec, fingerprint_pairs("ade20k", root, stored, cache_dir=cache_dir, more=names))
        return open_pairs(root, stored, names, label_table(LABELS), fingerprint=spec.fingerprint, cache_dir=cache_dir)


READER = Ade20kReader()


def _scan(root: Path) -> dict[str, Pairing]:
    if not is_ade20k(root):
        raise DataError(
            f"{root} is not laid out as ADEChallengeData2016: {PLACES['ade20k'].layout} are expected.",
            hint=f"Look at the names: ls '{root}'",
        )
    pictures, masks = split_folders(root / "images"), split_folders(root / "annotations")
    return {split: pair_files(root, pictures[split], masks[split]) for split in pictures if split in masks}


def _names(root: Path) -> tuple[str, ...]:
    """Return the class names of objectInfo150.txt (the first of several synonyms), or numbers where it is missing.

    Raises:
        DataError: The file does not name 150 classes.
    """
    path = root / NAMES_FILE
    if not path.is_file():
        return tuple(f"class {number}" for number in range(1, CLASSES + 1))
    rows = [line.split("\t") for line in inside(root, path).read_text(errors="replace").splitlines() if line.strip()]
    named = {row[0].strip(): row[-1].split(",")[0].split(";")[0].strip() for row in rows}
    missing = [str(number) for number in range(1, CLASSES + 1) if not named.get(str(number))]
    if missing:
        raise DataError(
            f"{path} has no name for the classes {', '.join(missing[:10])}.",
            hint="Copy the file of ADEChallengeData2016 anew, or remove it: classes are then called by number.",
        )
    return tuple(named[str(number)] for number in range(1, CLASSES + 1))
