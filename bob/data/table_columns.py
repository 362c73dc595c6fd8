"""Which columns of a table name the picture, its class and its split: by usual names, or as a user says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bob.core.errors import DataError, did_you_mean
from bob.data.file_names import is_picture
from bob.data.table_labels import class_name, flag, is_nothing
from bob.data.table_pictures import PictureIndex
from bob.data.table_rows import Rows

PATH_NAMES = (
    *("file_name", "filename", "file", "path", "filepath", "file_path", "image_path", "img_path", "picture_path"),
    *("imagepath", "image", "img", "picture", "photo", "image_name", "img_name", "image_file", "imagename"),
    *("image_id", "img_id", "imageid", "id", "id_code", "name", "uuid"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "classes", "category", "target", "species", "breed", "class_name", "label_name"),
    *("classname", "category_name", "class_id", "label_id", "category_id", "diagnosis", "dx", "disease", "variety"),
    *("classification", "tag", "tags", "y"),
)
SPLIT_COLUMNS = ("split", "set", "subset", "partition", "data_split", "dataset_split")
# Columns of flags: the split of the rows where they are true.
FLAGS = {
    **{"is_test": "test", "is_valid": "val", "is_val": "val", "is_validation": "val"},
    **{"is_train": "train", "is_training": "train", "is_training_image": "train"},
}
FOLD_NAMES = ("fold", "folds", "kfold", "k_fold", "cv_fold")
BOX_NAMES = frozenset(("xmin", "ymin", "xmax", "ymax", "x1", "y1", "bbox", "bboxes", "bbox_x1", "rle", "encodedpixels"))
UNDIVIDED_BY_WISH = "none"
LOOKED_AT = 50  # values that tell whether paths have suffixes
NAMING_SHARE = 0.5  # of a column's values that name pictures
HOW = "table:FOLDER?path=COLUMN&label=COLUMN&split=COLUMN says which; split=none divides the pictures anew."


@dataclass(frozen=True)
class Asked:
    """The columns that a user names, and the folder that paths count from; None where the table tells."""

    path: str | None = None
    label: str | None = None
    split: str | None = None
    pictures: str | None = None


@dataclass(frozen=True)
class LabelColumns:
    """The column of labels, or, with ``one_hot``, the column of each class."""

    names: tuple[str, ...]
    one_hot: bool = False


def normal(name: str) -> str:
    """Return a column's name as usual names are compared: small letters, words joined by underscores."""
    return re.sub(r"[\s.\-]+", "_", name.strip().lower())


def path_column(rows: Rows, index: PictureIndex, asked: str | None) -> str:
    """Return the column that names the pictures.

    Raises:
        DataError: None does, or two may.
    """
    if asked is not None:
        return _named(rows, asked, "path")
    shares = {name: index.share(rows.cells[name]) for name in rows.columns}
    naming = {normal(name): name for name, share in shares.items() if share >= NAMING_SHARE}
    usual = next((naming[name] for name in PATH_NAMES if name in naming), None)
    if usual is not None:
        return usual
    others = [name for name in naming.values() if _has_suffixes(rows.cells[name])]
    if len(others) == 1:
        return others[0]
    if others:
        raise DataError(f"{rows.name}: the columns {_listed(others)} all name pictures.", hint=HOW)
    best = max(shares, key=lambda name: shares[name], default=None)
    closest = f"; {best!r} does for {shares[best]:.0%} of its values" if best is not None and shares[best] else ""
    raise DataError(
        f"{rows.name}: no column names pictures in {index.root}{closest}. Its columns are {_listed(rows.columns)}.",
        hint=f"A header line and a column such as file_name or path are expected. {HOW}",
    )


def label_columns(tables: Sequence[Rows], path: str, split: Iterable[str], asked: str | None) -> LabelColumns:
    """Return the label column of tables of one set; the first that has one decides.

    Args:
        tables: The tables, train first.
        path: The column that names the pictures.
        split: The columns that say the split.
        asked: The column that a user names.

    Raises:
        DataError: None is called as labels are, or several that say different things are.
    """
    if asked is not None:
        having = [rows for rows in tables if any(normal(name) == normal(asked) for name in rows.columns)]
        return LabelColumns((_named((having or tables)[0], asked, "label"),))
    taken = {path, *split}
    for rows in tables:
        free = [name for name in rows.columns if name not in taken]
        usual = {normal(name): name for name in free if normal(name) in LABEL_NAMES}
        ordered = [usual[name] for name in LABEL_NAMES if name in usual]
        if ordered:
            return LabelColumns((_one_of(rows, ordered),))
        hot = _flag_columns(rows, free)
        if len(hot) > 1:
            return LabelColumns(tuple(hot), one_hot=True)
    columns = [name for name in tables[0].columns if name not in taken]
    raise DataError(
        f"{tables[0].name}: no column is called as labels are (label, class, category, ...); it may be one of "
        f"{_listed(columns) or 'none: there is no other column'}.",
        hint=f"table:FOLDER?label={columns[0] if columns else 'COLUMN'} says which.",
    )


def refuse_boxes(rows: Rows) -> None:
    """Refuse a table of objects: its labels are no classes of whole pictures.

    Raises:
        DataError: It has columns of boxes or masks.
    """
    found = [name for name in rows.columns if normal(name) in BOX_NAMES]
    if found:
        raise DataError(
            f"{rows.name}: the columns {_listed(found)} look like boxes or masks of objects, which are not read from "
            "tables.",
            hint="Write them as COCO or VOC has them; for classes of whole pictures take these columns away.",
        )


def split_columns(rows: Rows, asked: str | None, *, known: bool) -> tuple[str, ...]:
    """Return the column that says the split, or the columns of flags; none where there is none.

    Args:
        rows: The table.
        asked: The column that a user names, or "none".
        known: Whether the file's name or folder says the split, so that folds do not matter.

    Raises:
        DataError: Only folds of a cross-validation are there.
    """
    if asked == UNDIVIDED_BY_WISH:
        return ()
    if asked is not None:
        return (_named(rows, asked, "split"),)
    columns = {normal(name): name for name in rows.columns}
    named = next((columns[name] for name in SPLIT_COLUMNS if name in columns), None)
    if named is not None:
        return (named,)
    flags = tuple(columns[name] for name in FLAGS if name in columns)
    fold = next((columns[name] for name in FOLD_NAMES if name in columns), None)
    if fold is not None and not flags and not known:
        raise DataError(
            f"{rows.name}: column {fold!r} numbers the folds of a cross-validation, which is not run.",
            hint="Write a column split with train, val and test; or table:FOLDER?split=none divides the pictures anew.",
        )
    return flags


def _named(rows: Rows, asked: str, what: str) -> str:
    fitting = [name for name in rows.columns if name == asked] or [
        name for name in rows.columns if normal(name) == normal(asked)
    ]
    if not fitting:
        raise DataError(
            f"{rows.name} has no column {asked!r} for {what}; its columns are {_listed(rows.columns)}."
            f"{did_you_mean(asked, rows.columns)}",
            hint=HOW,
        )
    return fitting[0]


def _has_suffixes(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) and is_picture(value.strip()) for value in values[:LOOKED_AT])


def _one_of(rows: Rows, candidates: Sequence[str]) -> str:
    """Return the label column of several: names before their numbers, the one called label before others."""
    first = candidates[0]
    alike = [name for name in candidates if _same_partition(rows.cells[first], rows.cells[name])]
    if len(alike) < len(candidates) and normal(first) != "label":
        raise DataError(f"{rows.name} has several label columns: {_listed(candidates)}.", hint=HOW)
    return next((name for name in alike if not _are_numbers(rows.cells[name])), first)


def _same_partition(one: Sequence[Any], other: Sequence[Any]) -> bool:
    pairs = {(_key(first), _key(second)) for first, second in zip(one, other, strict=True)}
    return len(pairs) == len({first for first, _ in pairs}) == len({second for _, second in pairs})


def _key(value: Any) -> str | None:
    return None if is_nothing(value) else (class_name(value) or repr(value))


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(is_nothing(value) or (class_name(value) or "").lstrip("-").isdecimal() for value in values)


def _flag_columns(rows: Rows, names: Sequence[str]) -> list[str]:
    """Return the columns that hold nothing but 1, 0, -1 and empty cells, and not empty ones alone."""
    return [name for name in names if _are_flags(rows.cells[name])]


def _are_flags(values: Sequence[Any]) -> bool:
    said = {flag(value) for value in values if not is_nothing(value)}
    return bool(said) and None not in said


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(map(repr, shown[:20])) + (" ..." if len(shown) > 20 else "")
