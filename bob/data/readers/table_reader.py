"""Tables that list pictures with their classes: CSV, TSV, JSON lines and Parquet, also with the pictures inside."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from bob.core.errors import DataError, DataMissingError, did_you_mean
from bob.core.files import digest
from bob.core.text import printable
from bob.data.class_presence import contrast_of
from bob.data.dataset import DatasetSpec
from bob.data.decode import open_picture
from bob.data.describe_dataset import description
from bob.data.file_names import split_of
from bob.data.fingerprint import FileEntry, fingerprint_files, list_files
from bob.data.judge import classes_present
from bob.data.kept import kept
from bob.data.parquet_rows import stored_opener
from bob.data.readers.base import Samples, require_same, split_sizes
from bob.data.splits import SPLIT_VERSION
from bob.data.table_columns import Asked
from bob.data.table_files import TABLE_SUFFIXES, TableFile, candidate_tables, listing_tables, names_below, table_of_file
from bob.data.table_listing import Listing, read_listing

log = logging.getLogger(__name__)

TABLE_VERSION = 1  # raised when tables are read otherwise
OPTIONS = ("path", "label", "split", "pictures")
PLAIN_NAMES = ("labels", "label", "metadata", "annotations", "data", "index", "list")


@dataclass(frozen=True)
class ListedOpener:
    """Opens the pictures of a list of paths below a root; of those that are missing it says why."""

    root: Path
    paths: tuple[str, ...]
    missing: Mapping[int, str]

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``; FileNotFoundError if it is listed and not there."""
        if index in self.missing:
            raise FileNotFoundError(self.missing[index])
        return open_picture(self.root / self.paths[index])


class TableReader:
    """Reads ``table:FOLDER`` and ``table:FILE``, also with ``?path=COLUMN&label=COLUMN&split=COLUMN&pictures=FOLDER``.

    ``split=none`` divides the pictures anew; ``pictures`` is the folder that paths count from, below the data set's.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the tables' pictures; none is opened, and Parquet files are read in a child process."""
        root, file, asked = _source(target, data_dir)
        files = _files(root, file)
        options = {**({"file": file} if file else {}), **{name: one for name, one in asdict(asked).items() if one}}
        said = _said(root, files, asked, options, cache_dir)
        for note in said["notes"]:
            log.warning("%s: %s", root, note)
        name = PurePosixPath(file).stem if file else ""
        return DatasetSpec(
            name=root.name if not name or name.lower() in PLAIN_NAMES or split_of(name) else name,
            kind="table",
            root=str(root),
            options=tuple(sorted(options.items())),
            fingerprint=_fingerprint(root, said["read"], said["listed"], cache_dir),
            classes=tuple(said["classes"]),
            sizes=tuple((split, count) for split, count in said["sizes"]),
            annotations=("multilabel",) if said["is_multilabel"] else ("label",),
            classes_present=said["present"],
            contrasted=tuple((split, count) for split, count in said["contrasted"]),
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: a folder is on this machine or it is not."""

    def describe(self, target: str, root: Path, cache_dir: Path) -> dict[str, Any]:
        """Return what the tables say as JSON values; ``target`` holds the options as JSON. May import pyarrow."""
        return _summary(_listing(root, json.loads(target)))

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the stored splits; DataError if a file changed since the spec was made."""
        root = Path(str(spec.root))
        listing = _listing(root, {name: value for name, value in spec.options if name in ("file", *OPTIONS)})
        require_same(spec, _fingerprint(root, _read_as(listing), listing.listed(), cache_dir))
        return {name: _samples(root, listing, name) for name in listing.parts}


READER = TableReader()


def _source(target: str, data_dir: Path | None) -> tuple[Path, str | None, Asked]:
    """Return the data set's folder, the table's name where a single file is named, and the options."""
    text, mark, options = target, "", ""
    if not Path(target).expanduser().exists():
        text, mark, options = target.partition("?")
    place = Path(text).expanduser()
    if not place.exists() and data_dir is not None and (data_dir / text).exists():
        place = data_dir / text
    place = place.resolve()
    asked = _asked(target, options) if mark else Asked()
    if place.is_dir():
        return place, None, asked
    if not place.is_file():
        raise DataMissingError(
            f"{text!r} is not there; a folder with a table of its pictures, or a table, is expected.",
            hint=f"Look for it: ls '{place.parent}'",
        )
    if not place.name.lower().endswith(TABLE_SUFFIXES):
        raise DataError(f"{place} is no table: {', '.join(TABLE_SUFFIXES)} are read.", hint=f"ls '{place.parent}'")
    return place.parent, place.name, asked


def _asked(target: str, options: str) -> Asked:
    found: dict[str, str] = {}
    for part in filter(None, options.split("&")):
        name, equals, value = part.partition("=")
        if name not in OPTIONS or not equals or not value or name in found:
            raise DataError(
                f"table:{target}: option {part!r} is none of {', '.join(OPTIONS)} with a value."
                f"{did_you_mean(name, OPTIONS)}",
                hint="table:FOLDER?path=COLUMN&label=COLUMN&split=COLUMN&pictures=FOLDER",
            )
        found[name] = value
    if "pictures" in found:
        found["pictures"] = found["pictures"].strip("/") or "."
        if ".." in PurePosixPath(found["pictures"]).parts:
            raise DataError(f"table:{target}: pictures={found['pictures']} leads out of the folder.", hint=None)
    return Asked(**found)


def _files(root: Path, file: str | None) -> list[TableFile]:
    if file is not None:
        return [table_of_file(root / file)]
    files = listing_tables(root, names_below(root))
    if not files:
        seen = [one.name for place in candidate_tables(root) for one in place]
        what = f"none of {', '.join(seen[:5])} names pictures of it" if seen else "there is none"
        raise DataError(
            f"{root}: a table that lists its pictures ({', '.join(TABLE_SUFFIXES)}) is expected; {what}.",
            hint="A header and a column of paths are expected, such as file_name,label. A file can be named itself: "
            "--data table:FILE",
        )
    return files


def _listing(root: Path, options: Mapping[str, Any]) -> Listing:
    file = options.get("file")
    asked = Asked(**{name: str(options[name]) for name in OPTIONS if name in options})
    return read_listing(root, _files(root, None if file is None else str(file)), asked)


def _said(
    root: Path, files: list[TableFile], asked: Asked, options: Mapping[str, str], cache_dir: Path
) -> dict[str, Any]:
    """Return what the tables say, kept by their content and the names of all files; Parquet is read by a child."""
    names = {one.name for one in files}
    entries = list_files(root)
    # Apart, as the cache knows one state of a folder: that of the tables and the listed pictures.
    apart = cache_dir / "tables"
    tables = fingerprint_files(root, [one for one in entries if one.path in names], cache_dir=apart, whole=_always)
    # A path that counts from the file system's root is good for one place alone.
    key = digest([TABLE_VERSION, tables, str(root), [one.path for one in entries]], length=64)
    if any(one.is_parquet for one in files):
        return description("table", json.dumps(options, sort_keys=True), root, key, cache_dir=cache_dir)
    return kept(cache_dir, ["table", key, options], lambda: _summary(read_listing(root, files, asked)))


def _always(path: str) -> bool:
    return True


def _summary(listing: Listing) -> dict[str, Any]:
    """Return what a plan needs to know, as JSON values."""
    place = {name: number for number, name in enumerate(listing.classes)}
    present = {
        split: {place[name] for said in part.labels for name in said.present} for split, part in listing.parts.items()
    }
    stored = {name: (part.ids, listing.labels(name)) for name, part in listing.parts.items()}
    values = {name: listing.values(name) for name in stored if listing.is_multilabel}
    return {
        "classes": listing.classes,
        "sizes": split_sizes(stored),
        "contrasted": contrast_of(stored, values) if values else [],
        "present": classes_present(present),
        "is_multilabel": listing.is_multilabel,
        "read": _read_as(listing),
        "notes": listing.notes,
        "listed": sorted(listing.listed()),
    }


def _read_as(listing: Listing) -> list[Any]:
    """Return what the fingerprint needs to know beside the files' content, the tables' paths first, as JSON values."""
    ways = [list(listing.columns), sorted(listing.parts), listing.stored, listing.is_multilabel]
    return [list(listing.files), *ways]


def _fingerprint(root: Path, read: Sequence[Any], listed: Collection[str], cache_dir: Path) -> str:
    """Return the fingerprint: the tables count in every byte, and so does which columns were read."""
    tables, pictures = set(read[0]), set(listed)
    entries: list[FileEntry] = [one for one in list_files(root) if one.path in tables or one.path in pictures]
    content = fingerprint_files(root, entries, cache_dir=cache_dir, whole=tables.__contains__)
    return digest(["table", TABLE_VERSION, SPLIT_VERSION, list(read[1:]), content], length=64)


def _samples(root: Path, listing: Listing, name: str) -> Samples:
    part, ids = listing.parts[name], tuple(listing.parts[name].ids)
    opener: Any = ListedOpener(root, ids, dict(part.missing))
    if listing.stored is not None:
        opener = stored_opener(root, listing.files, listing.stored, part.places)
    values = listing.values(name) if listing.is_multilabel else None
    return Samples(ids=tuple(map(printable, ids)), labels=listing.labels(name), read=opener, values=values)
