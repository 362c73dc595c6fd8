"""Hugging Face ``datasets``: from the hub, or folders written by ``save_to_disk``, or Parquet files."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob.core.errors import DataError, DataMissingError
from bob.core.files import digest
from bob.data.dataset import DatasetSpec
from bob.data.decode import open_picture
from bob.data.describe_dataset import description
from bob.data.downloads import bring, find, missing
from bob.data.file_names import SPLIT_ALIASES, SPLIT_NAMES
from bob.data.fingerprint import fingerprint_files, inside, list_files
from bob.data.judge import MAX_BAD_SHARE, classes_present, require_distinct_names, require_trained
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.splits import SPLIT_VERSION, UNDIVIDED

log = logging.getLogger(__name__)

# owner/name, then an optional #configuration and @revision
HUB_NAME = re.compile(r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:#(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?")
IMAGE_NAMES = ("image", "img", "picture")
LABEL_NAMES = ("label", "labels", "fine_label", "class")
NO_SCRIPTS = 4  # the first version of datasets that cannot run a data set's own Python file
DATA_SUFFIXES = (".arrow", ".parquet", ".json")


@dataclass(frozen=True)
class HubOpener:
    """Opens the undecoded pictures of an Arrow table's column."""

    table: Any
    column: str
    root: Path

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index`` from its stored bytes, or from a file below the root."""
        stored = self.table[index][self.column]
        if stored is None:
            raise ValueError("no picture is stored")
        if stored["bytes"] is not None:
            return open_picture(BytesIO(stored["bytes"]))
        try:
            return open_picture(inside(self.root, self.root / stored["path"]))
        except DataError as error:
            raise ValueError(error.message) from error


class HuggingFaceReader:
    """Reads ``hf:OWNER/NAME[#CONFIG][@REVISION]`` and folders of Arrow or Parquet files."""

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the data; the fingerprint covers the Arrow or Parquet files and their description."""
        root = _root(target, cache_dir=cache_dir, data_dir=data_dir).resolve()
        fingerprint = _fingerprint(root, cache_dir)
        said = description("huggingface", "", root, fingerprint, cache_dir=cache_dir)
        # Only where earlier versions read the labels otherwise does the data set count as another.
        fingerprint = fingerprint if said["reading"] == 1 else _read_otherwise(fingerprint)
        return DatasetSpec(
            name=root.name,
            kind="huggingface",
            root=str(root),
            options=(("image", said["image"]), ("label", said["label"])),
            fingerprint=fingerprint,
            classes=tuple(said["classes"]),
            sizes=tuple((name, count) for name, count in said["sizes"]),
            license=said["license"] or "unknown",
            classes_present=said["present"],
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Download from the hub and save as Arrow files; code from the hub is never run."""
        if Path(target).expanduser().is_dir():
            return
        match, folder = _hub_folder(target)
        if find((folder,), cache_dir=cache_dir, data_dir=data_dir) is not None:
            return

        def download(place: Path) -> None:
            data = _library().load_dataset(
                match["name"], match["config"], revision=match["revision"], cache_dir=str(place / "hub")
            )
            data.save_to_disk(str(place / folder))

        bring(f"hf-{target}", folder, download, cache_dir=cache_dir, data_dir=data_dir)

    def describe(self, target: str, root: Path, cache_dir: Path) -> dict[str, Any]:
        """Return classes, sizes, columns and licence as JSON values. Imports datasets."""
        tables, is_aliased = _named_tables(root, cache_dir)
        first = tables.get("train", next(iter(tables.values())))
        image, label = _image_column(root, first), _label_column(root, first)
        classes = _class_names(root, tables, label)
        listing = _listing(root, tables, label, classes)
        present = {name: set(labels.tolist()) for name, (_, labels) in listing.items()}
        require_distinct_names(str(root), [classes[label] for label in sorted(set().union(*present.values()))])
        hint = "Name the classes alike in every split and save again."
        require_trained(str(root), classes, present, what="picture", hint=hint)
        sizes = split_sizes({name: ([str(n) for n in rows], labels) for name, (rows, labels) in listing.items()})
        return {
            **{"classes": classes, "sizes": sizes, "image": image, "label": label, "license": first.info.license},
            **{"present": classes_present(present), "reading": 2 if is_aliased else _reading(tables, listing, label)},
        }

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits. Imports datasets."""
        root, options = Path(str(spec.root)), dict(spec.options)
        fingerprint = _fingerprint(root, cache_dir)
        require_same(spec, fingerprint if fingerprint == spec.fingerprint else _read_otherwise(fingerprint))
        image, label = str(options["image"]), str(options["label"])
        stored: dict[str, Samples] = {}
        tables = _tables(root, cache_dir)
        for name, (rows, labels) in _listing(root, tables, label, list(spec.classes)).items():
            raw = tables[name].select_columns([image]).cast_column(image, _library().Image(decode=False))
            raw = raw if len(rows) == len(raw) else raw.select(rows)
            ids = tuple(f"{name}/{index:07d}" for index in rows)
            stored[name] = Samples(ids=ids, labels=labels, read=HubOpener(raw, image, root))
        return stored


READER = HuggingFaceReader()


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataMissingError(
            "reading Hugging Face data needs the package 'datasets', which is not installed.",
            hint="pip install 'battle-of-the-backbones[hf]'",
        ) from error
    if int(datasets.__version__.partition(".")[0]) < NO_SCRIPTS:
        raise DataMissingError(
            f"the package 'datasets' is {datasets.__version__}, which runs Python files that a data set brings.",
            hint=f"pip install 'datasets>={NO_SCRIPTS}'",
        )
    return datasets


def _hub_folder(target: str) -> tuple[re.Match[str], str]:
    match = HUB_NAME.fullmatch(target)
    if match is None or ".." in target:
        raise DataError(
            f"hf:{target} is neither a folder nor OWNER/NAME[#CONFIG][@REVISION].", hint="bob list datasets"
        )
    return match, "huggingface/" + "--".join(part.replace("/", "--") for part in match.groups() if part)


def _root(target: str, *, cache_dir: Path, data_dir: Path | None) -> Path:
    local = Path(target).expanduser()
    if local.is_dir():
        return local
    folder = _hub_folder(target)[1]
    found = find((folder,), cache_dir=cache_dir, data_dir=data_dir)
    if found is None:
        raise missing(f"hf:{target}", (folder,), cache_dir=cache_dir, data_dir=data_dir)
    return found


def _fingerprint(root: Path, cache_dir: Path) -> str:
    files = [
        entry
        for entry in list_files(root)
        if entry.path.endswith(DATA_SUFFIXES) and not Path(entry.path).name.startswith("cache-")
    ]
    return digest(["huggingface", SPLIT_VERSION, fingerprint_files(root, files, cache_dir=cache_dir)], length=64)


def _read_otherwise(fingerprint: str) -> str:
    return digest([fingerprint, "reading", 2], length=64)


def _tables(root: Path, cache_dir: Path) -> dict[str, Any]:
    """Return the tables by stored split; what other splits there are is not read."""
    return _named_tables(root, cache_dir)[0]


def _named_tables(root: Path, cache_dir: Path) -> tuple[dict[str, Any], bool]:
    """Return the tables by stored split, and whether any is read under an alias."""
    library = _library()
    _require_own_files(root)
    try:
        if (root / "dataset_dict.json").is_file() or (root / "state.json").is_file():
            data = library.load_from_disk(str(root))
        else:
            data = _from_files(library, root, cache_dir)
    except (OSError, ValueError, KeyError, library.exceptions.DatasetsError) as error:
        raise DataError(
            f"{root} cannot be read as a Hugging Face data set: {error}",
            hint="A folder written by save_to_disk, or one with .parquet files named by split, is expected.",
        ) from error
    if not isinstance(data, dict):
        return {UNDIVIDED: data}, False
    named: dict[str, Any] = {}
    for names in (SPLIT_NAMES, SPLIT_ALIASES):
        fitting = {name: names[name.lower()] for name in data if name.lower() in names}
        for name, split in fitting.items():
            if split not in named:
                named[split] = data[name]
            elif names is SPLIT_NAMES:
                raise DataError(
                    f"{root} has two splits that mean {split}, one is {name!r}.", hint="Rename one of them."
                )
    read = [id(table) for table in named.values()]
    others = [name for name, table in data.items() if id(table) not in read]
    if others:
        log.warning("%s: the splits %s are not read.", root, ", ".join(others))
    if not named:
        raise DataError(f"{root} has the splits {', '.join(others)}; train, val or test is expected.", hint=None)
    return named, any(name.lower() in SPLIT_ALIASES and id(table) in read for name, table in data.items())


def _require_own_files(root: Path) -> None:
    """Make sure that save_to_disk's descriptions name Arrow files below the folder alone: the fingerprint covers these.

    Raises:
        DataError: One names something else, or is no link.
    """
    for described in (root / "dataset_dict.json", *root.rglob("state.json")):
        if not described.is_file():
            continue
        try:
            content = json.loads(inside(root, described).read_bytes())
            splits = [described.parent / name for name in content.get("splits", ())]
            entries = [*(content.get("_data_files") or ()), *(content.get("_indices_files") or ())]
            files = [described.parent / entry["filename"] for entry in entries]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise DataError(f"{described} is not as save_to_disk writes it: {error}.", hint="Save it again.") from error
        for place in (*splits, *files):
            inside(root, place)
        for file in files:
            if file.suffix != ".arrow" or not file.is_file():
                raise DataError(f"{described} names {file.name!r}, which is no .arrow file.", hint="Save it again.")


def _from_files(library: Any, root: Path, cache_dir: Path) -> Any:
    files: dict[str, list[str]] = {}
    for path in sorted(root.rglob("*.parquet")):
        files.setdefault(re.split(r"[-_.]", path.name)[0], []).append(str(path))
    if not files:
        raise DataError(f"{root} holds neither save_to_disk's files nor .parquet files.", hint=f"ls '{root}'")
    cache = str(cache_dir / "datasets" / "parquet")
    tables = {name: library.Dataset.from_parquet(paths, cache_dir=cache) for name, paths in files.items()}
    return tables if set(tables) & set(SPLIT_NAMES) else next(iter(tables.values()))


def _image_column(root: Path, table: Any) -> str:
    kind = _library().Image
    found = [name for name, feature in table.features.items() if isinstance(feature, kind)]
    return _preferred(root, table, found, IMAGE_NAMES, "a picture column (feature Image)")


def _label_column(root: Path, table: Any) -> str:
    """Return the column that is called as labels are, of whatever type, else the only one of label type."""
    library = _library()
    found = [name for name, feature in table.features.items() if isinstance(feature, library.ClassLabel)]
    plain = [name for name in LABEL_NAMES if isinstance(table.features.get(name), library.Value)]
    if len(found) > 1 and not {*LABEL_NAMES} & {*found, *plain}:
        raise DataError(
            f"{root} has several label columns: {', '.join(found)}.",
            hint="Nobody can tell which is to be learned: rename that one to 'label' and save again.",
        )
    return _preferred(root, table, [*found, *plain], LABEL_NAMES, "a label column (feature ClassLabel)")


def _preferred(root: Path, table: Any, found: list[str], order: tuple[str, ...], wanted: str) -> str:
    if not found:
        raise DataError(
            f"{root} has no {wanted.removeprefix('a ')}; its columns are {', '.join(table.features)}.",
            hint="Cast the column to datasets.Image() or datasets.ClassLabel() and save again.",
        )
    return next((name for name in order if name in found), found[0])


def _class_names(root: Path, tables: Mapping[str, Any], label: str) -> list[str]:
    """Return the class names of all splits: those of train first, in its order.

    Raises:
        DataError: Some splits have names for their numbers, and others do not.
    """
    having = [table for table in tables.values() if label in table.features]
    ordered = sorted(having, key=lambda table: table is not tables.get("train"))
    are_named = {hasattr(table.features[label], "names") for table in ordered}
    if are_named == {True}:
        return list(dict.fromkeys(name for table in ordered for name in table.features[label].names))
    if True in are_named:
        raise DataError(
            f"{root}: column {label!r} has class names in some splits and plain values in others.",
            hint="Cast it to the same ClassLabel in every split and save again.",
        )
    values = {value for table in ordered for value in table.unique(label) if value is not None}
    return [str(value) for value in sorted(values)]


def _reading(tables: Mapping[str, Any], listing: Mapping[str, tuple[list[int], np.ndarray]], label: str) -> int:
    """Return 2 where an earlier version took other labels from these tables, or none; else 1."""
    first = next(iter(tables.values()))
    classes = [name for name, feature in first.features.items() if hasattr(feature, "num_classes")]
    widest = max(classes, key=lambda name: first.features[name].num_classes, default=label)
    names = {tuple(getattr(table.features.get(label), "names", ())) for table in tables.values()}
    is_whole = all(name in listing and len(listing[name][0]) == len(table) for name, table in tables.items())
    return 1 if label == widest and len(names) == 1 and is_whole else 2


def _listing(
    root: Path, tables: Mapping[str, Any], label: str, classes: list[str]
) -> dict[str, tuple[list[int], np.ndarray]]:
    """Return the rows of each split that have a label, and their labels. A split without any, hidden ones, is left out.

    Raises:
        DataError: Too many rows of a split have no label.
    """
    found: dict[str, tuple[list[int], np.ndarray]] = {}
    for name, table in tables.items():
        labels = _labels(table, label, classes) if label in table.features else np.full(len(table), -1)
        rows = np.flatnonzero(labels >= 0)
        lacking = len(labels) - len(rows)
        if lacking and not len(rows) and name in ("val", "test"):
            log.warning("%s: the labels of split %s are hidden: it is left out.", root, name)
            continue
        if lacking > MAX_BAD_SHARE * len(labels):
            raise DataError(
                f"{root}: {lacking} of {len(labels)} samples of split {name} have no label in column {label!r}.",
                hint="Filter them out and save again.",
            )
        if lacking:
            shown = ", ".join(map(str, np.flatnonzero(labels < 0)[:5].tolist()))
            log.warning("%s: %d rows of split %s have no label and are left out: %s.", root, lacking, name, shown)
        found[name] = (rows.tolist(), labels[rows])
    return found


def _labels(table: Any, label: str, classes: list[str]) -> np.ndarray:
    """Return each row's class, int64, by its name; -1 where it has none."""
    place = {name: number for number, name in enumerate(classes)}
    values = table[label][:]
    feature = table.features[label]
    if hasattr(feature, "names"):
        by_number = np.array([*(place[name] for name in feature.names), -1], dtype=np.int64)
        return by_number[np.array([-1 if value is None else value for value in values], dtype=np.int64)]
    return np.array([-1 if value is None else place[str(value)] for value in values], dtype=np.int64)
