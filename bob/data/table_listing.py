"""From the tables of a folder to its pictures with their classes and splits, judged. No picture is opened."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bob.core.errors import DataError
from bob.data.fingerprint import list_files
from bob.data.judge import MAX_BAD_SHARE, require_distinct_names, require_trained
from bob.data.parquet_rows import read_parquet_rows
from bob.data.splits import UNDIVIDED
from bob.data.table_columns import Asked, LabelColumns, label_columns, path_column, refuse_boxes, split_columns
from bob.data.table_files import TableFile, require_one_each
from bob.data.table_labels import RowLabels, class_order, is_signed, row_labels
from bob.data.table_pictures import Found, PictureIndex
from bob.data.table_rows import Rows, read_text_rows
from bob.data.table_splits import folder_splits, said_splits

log = logging.getLogger(__name__)

NAMED_AT_MOST = 5
_FRACTION = re.compile(r"-?\d*\.\d+(?:e-?\d+)?", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d+|" + _FRACTION.pattern, re.IGNORECASE)


@dataclass
class Part:
    """One stored split.

    Attributes:
        ids: A path for each picture, or a name of its row where it is stored in the table.
        labels: Its classes.
        missing: Why some of them, by number, are not there.
        places: Of pictures in tables: the number of the file and of the row in it.
    """

    ids: list[str] = field(default_factory=list)
    labels: list[RowLabels] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)
    places: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What the tables of a folder say.

    Attributes:
        classes: Class names in label order.
        parts: The stored splits.
        is_multilabel: Whether a picture may have several classes, or none.
        files: The tables' paths below the root.
        columns: Which columns were read, for the fingerprint.
        stored: The column that holds the pictures themselves; None where they are files.
        notes: What a user should know.
    """

    classes: tuple[str, ...]
    parts: Mapping[str, Part]
    is_multilabel: bool
    files: tuple[str, ...]
    columns: tuple[str, ...]
    stored: str | None
    notes: tuple[str, ...]

    def listed(self) -> set[str]:
        """Return the files of the pictures that are there."""
        if self.stored is not None:
            return set()
        return {one for part in self.parts.values() for n, one in enumerate(part.ids) if n not in part.missing}

    def labels(self, name: str) -> np.ndarray:
        """Return the class of each picture of a split, the first of several or else 0, int64 (n,)."""
        place = {one: number for number, one in enumerate(self.classes)}
        first = [min((place[one] for one in said.present), default=0) for said in self.parts[name].labels]
        return np.array(first, dtype=np.int64)

    def values(self, name: str) -> np.ndarray:
        """Return 1 for each class that a picture has, 0 for others and NaN where nobody knows, float32 (n, classes)."""
        place = {one: number for number, one in enumerate(self.classes)}
        labels = self.parts[name].labels
        found = np.zeros((len(labels), len(self.classes)), dtype=np.float32)
        for row, said in enumerate(labels):
            found[row, [place[one] for one in said.present]] = 1
            found[row, [place[one] for one in said.unknown if one in place]] = np.nan
        return found


def read_listing(root: Path, files: Sequence[TableFile], asked: Asked) -> Listing:
    """Read the tables of a data set.

    Args:
        root: Its folder.
        files: The tables.
        asked: The columns that a user names.

    Raises:
        DataError: They are no tables of pictures, or of none that can be learned; the message names the line.
    """
    require_one_each(root, list(files))
    order = sorted(files, key=lambda file: (file.split != "train", file.name))
    tables = [_rows(root, file) for file in order]
    for rows in tables:
        refuse_boxes(rows)
    stored = _stored_column(tables)
    splits_by = [
        split_columns(rows, asked.split, known=file.split is not None) for rows, file in zip(tables, order, strict=True)
    ]
    said = [said_splits(rows, by, file.split) for rows, by, file in zip(tables, splits_by, order, strict=True)]
    index = PictureIndex(root, () if stored else list_files(root))
    paths = ["" if stored else path_column(rows, index, asked.path) for rows in tables]
    found = [
        _in_table(rows, number) if stored else index.find(rows, path, part, asked.pictures)
        for number, (rows, path, part) in enumerate(zip(tables, paths, said, strict=True))
    ]
    splits = _splits(tables, found, said, asked)
    by = label_columns(tables, paths[0], {name for names in splits_by for name in names}, asked.label)
    notes = [note for rows in tables for note in rows.notes]
    signed = by.one_hot and is_signed(tables, by.names)
    labels = [row_labels(rows, by.names, one_hot=by.one_hot, signed=signed) for rows in tables]
    parts = _labelled(root, _gather(tables, found, splits, labels, by, notes), by, notes)
    if stored is None:
        _require_most_there(root, parts)
        _count_unlisted(index, parts, found, notes)
    several = _several(parts)
    if several:
        notes.append(f"{several} has no single class: the pictures are read with every class that they have.")
    return Listing(
        classes=_classes(root, parts, by),
        parts=parts,
        is_multilabel=bool(several),
        files=tuple(file.name for file in order),
        columns=(*paths, *by.names, *(name for names in splits_by for name in names)),
        stored=stored,
        notes=tuple(notes),
    )


def _rows(root: Path, file: TableFile) -> Rows:
    read = read_parquet_rows if file.is_parquet else read_text_rows
    return read(root / file.name, file.name)


def _stored_column(tables: Sequence[Rows]) -> str | None:
    columns = {rows.stored for rows in tables}
    if len(columns) > 1:
        raise DataError(
            f"{tables[0].name} and {tables[-1].name} hold their pictures in different columns, or one "
            "of them does not.",
            hint="Write them alike.",
        )
    return columns.pop()


def _in_table(rows: Rows, number: int) -> list[Found]:
    """Name the rows of a table that holds its pictures itself."""
    stem = posixpath.splitext(rows.name)[0]
    return [Found(f"{stem}/{row:07d}") for row in range(len(rows.lines))]


def _splits(
    tables: Sequence[Rows], found: Sequence[Sequence[Found]], said: Sequence[Sequence[str | None]], asked: Asked
) -> list[list[str]]:
    if asked.split == "none":
        return [[UNDIVIDED] * len(part) for part in said]
    if any(split is None for part in said for split in part):
        return folder_splits(tables, found)
    return [[str(split) for split in part] for part in said]


def _gather(
    tables: Sequence[Rows],
    found: Sequence[Sequence[Found]],
    splits: Sequence[Sequence[str]],
    labels: Sequence[Sequence[RowLabels | None]],
    by: LabelColumns,
    notes: list[str],
) -> dict[str, dict[str, tuple[RowLabels | None, str | None, tuple[int, int]]]]:
    """Return label, fault and place of each picture of each split; a picture that is listed again counts once.

    Raises:
        DataError: A picture has two labels or is in two splits.
    """
    parts: dict[str, dict[str, tuple[RowLabels | None, str | None, tuple[int, int]]]] = {}
    where: dict[str, tuple[str, str]] = {}
    again = 0
    for number, rows in enumerate(tables):
        for row, one in enumerate(found[number]):
            split, said = splits[number][row], labels[number][row]
            known = where.setdefault(one.path, (split, rows.place(row)))
            if known[0] != split:
                raise DataError(
                    f"{rows.place(row)}: {one.path} is in {split}, and by {known[1]} in {known[0]}.",
                    hint="A picture belongs to one split: take one of the two lines away.",
                )
            part = parts.setdefault(split, {})
            if one.path not in part:
                part[one.path] = (said, one.missing, (number, row))
                continue
            again += 1
            if _set(part[one.path][0]) != _set(said):
                raise DataError(
                    f"{rows.place(row)}: {one.path} is listed again, with another label ({_shown(said)}) than by "
                    f"{known[1]} ({_shown(part[one.path][0])}).",
                    hint="One line for each picture is expected; several classes are written in one cell: a|b.",
                )
    if again:
        notes.append(f"{again} lines list a picture again, with the same label: each counts once.")
    return parts


def _set(said: RowLabels | None) -> tuple[set[str], set[str]] | None:
    return None if said is None else (set(said.present), set(said.unknown))


def _shown(said: RowLabels | None) -> str:
    return "none" if said is None else ", ".join(said.present[:NAMED_AT_MOST]) or "no class"


def _labelled(
    root: Path,
    gathered: Mapping[str, Mapping[str, tuple[RowLabels | None, str | None, tuple[int, int]]]],
    by: LabelColumns,
    notes: list[str],
) -> dict[str, Part]:
    """Return the parts without pictures that have no label; a val or test of nothing else is left out.

    Raises:
        DataError: Too many pictures of a split have none.
    """
    parts: dict[str, Part] = {}
    for split in sorted(gathered, key=("train", "val", "test", UNDIVIDED).index):
        entries = gathered[split]
        lacking = [path for path, (said, _, _) in entries.items() if said is None]
        if len(lacking) == len(entries) and split in ("val", "test"):
            notes.append(f"the labels of split {split} are hidden: it is left out.")
            continue
        if len(lacking) > MAX_BAD_SHARE * len(entries):
            raise DataError(
                f"{root}: {len(lacking)} of {len(entries)} pictures of split {split} have no label in "
                f"{'columns such as ' if by.one_hot else 'column '}{by.names[0]!r}.",
                hint="Write their labels, or take their lines away.",
            )
        if lacking:
            named = ", ".join(lacking[:NAMED_AT_MOST])
            notes.append(f"{len(lacking)} pictures of split {split} have no label and are left out: {named}.")
        part = parts.setdefault(split, Part())
        for path, (said, missing, place) in entries.items():
            if said is None:
                continue
            if missing is not None:
                part.missing[len(part.ids)] = missing
            part.ids.append(path)
            part.labels.append(said)
            part.places.append(place)
    return parts


def _require_most_there(root: Path, parts: Mapping[str, Part]) -> None:
    for split, part in parts.items():
        if len(part.missing) > MAX_BAD_SHARE * len(part.ids):
            first = next(iter(part.missing))
            raise DataError(
                f"{root}: {len(part.missing)} of {len(part.ids)} listed pictures of split {split} are missing, such as "
                f"{part.ids[first]} ({part.missing[first]}).",
                hint="Put them there, or mend the paths: more than 5 % are not left out.",
            )


def _count_unlisted(
    index: PictureIndex, parts: Mapping[str, Part], found: Sequence[Sequence[Found]], notes: list[str]
) -> None:
    listed = {one.path for part in found for one in part if one.missing is None}
    unlisted = sorted(index.files.keys() - listed)
    if unlisted:
        notes.append(f"{len(unlisted)} pictures are not listed and not read, such as {unlisted[0]}.")


def _several(parts: Mapping[str, Part]) -> str | None:
    """Return the first picture that has not just one class."""
    return next(
        (
            one
            for part in parts.values()
            for one, said in zip(part.ids, part.labels, strict=True)
            if len(said.present) != 1 or said.unknown
        ),
        None,
    )


def _classes(root: Path, parts: Mapping[str, Part], by: LabelColumns) -> tuple[str, ...]:
    present = {split: {name for said in part.labels for name in said.present} for split, part in parts.items()}
    names = set().union(*present.values())
    classes = tuple(name for name in by.names if name in names) if by.one_hot else class_order(names)
    if not classes:
        raise DataError(f"{root}: no picture has a class.", hint="Look at the label column.")
    if all(map(_NUMBER.fullmatch, classes)) and any(map(_FRACTION.fullmatch, classes)):
        example = next(name for name in classes if _FRACTION.fullmatch(name))
        raise DataError(
            f"{root}: column {by.names[0]!r} holds numbers such as {example}: measured values, no classes.",
            hint="Name a column of classes: table:FOLDER?label=COLUMN.",
        )
    require_distinct_names(str(root), classes)
    place = {name: number for number, name in enumerate(classes)}
    numbers = {split: {place[name] for name in found} for split, found in present.items()}
    require_trained(str(root), classes, numbers, what="picture", hint="Name the classes alike in every split.")
    return classes
