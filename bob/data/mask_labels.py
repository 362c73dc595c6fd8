"""What the values of masks mean: classes by number, by the lines of ``classes.txt``, or background and foreground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.data.colour_tables import CLASSES_FILE, IGNORE_LINE, class_lines, colour_rows
from bob.data.judge import MAX_BAD_SHARE
from bob.data.mask_colours import coloured_labels, refuse_colours
from bob.data.mask_contents import MaskContents, together
from bob.data.mask_lines import colour_lines, grey_lines, label_lines, written
from bob.data.mask_meaning import Labels, require_few
from bob.data.mask_pictures import label_table

BINARY = ("background", "foreground")  # of masks that hold 0 and 255 alone, or one bit
LEAST_FAR, SPARSE = 8, 4  # labels up to 8 or above, of which less than a quarter occur
PALETTES = 64  # compared with the others


def labels_of(root: Path, contents: Mapping[str, MaskContents]) -> Labels:
    """Return what the masks of a folder mean.

    Args:
        root: The folder, with or without a file of classes.
        contents: What the masks of each stored split hold.

    Raises:
        DataError: It cannot be told, or a file of classes does not fit the masks.
    """
    rows, lines, found = colour_rows(root), class_lines(root), together(contents.values())
    is_coloured = found.kinds["coloured"] > MAX_BAD_SHARE * found.masks
    has_names = lines is not None and (rows is None or rows.file != CLASSES_FILE)
    if rows is not None and (is_coloured or not has_names):
        return coloured_labels(root, rows, lines if has_names else None, found)
    if is_coloured:
        refuse_colours(root, found)
    _require_one_palette(root, found)
    _require_one_meaning_of_bits(root, found)
    _require_more_than_0(root, contents, found.values, lines)
    if lines is not None:
        labels = _named(root, [line.strip() for line in lines])
        return replace(labels, said=_check_ignored(root, labels, lines, found.values - {IGNORE}))
    return _numbered(root, found)


def _numbered(root: Path, found: MaskContents) -> Labels:
    """Return what values mean that no file names."""
    values = found.values
    if not values:
        name, reason = found.unread or ("", "there is no mask")
        hint = "Export the masks as PNG files of 8 bits (grey or palette) whose values are class numbers."
        raise DataError(f"{root}: no mask holds a class number: {name}: {reason}.", hint=hint)
    if values == {0, IGNORE}:
        return Labels(BINARY, label_table({0: 0, IGNORE: 1}))
    if found.bits == {0, 1} and not found.labels:
        return Labels(BINARY, label_table({0: 0, 1: 1}))
    labels = sorted(values - {IGNORE}) or [0]
    _require_close(root, labels, values)
    require_few(root, labels[-1] + 1)
    names = tuple(str(label) for label in range(labels[-1] + 1))
    return Labels(names, label_table({label: label for label in range(len(names))}), said=_what_lacks(root, labels))


def _what_lacks(root: Path, labels: list[int]) -> tuple[str, ...]:
    """Say which numbers no mask has: they are classes all the same, of which nothing can be learnt."""
    lacking = sorted(set(range(labels[-1])) - set(labels))
    if not lacking:
        return ()
    below = lacking == list(range(labels[0]))
    what = f"no mask has a label below {labels[0]}, so that class 0 has no pixel"
    if not below:
        what = f"no mask has the labels {', '.join(map(str, lacking[:10]))}{' ...' * (len(lacking) > 10)}, so that "
        what += "these classes have no pixel"
    lines = written(label_lines(labels[-1], lacking), "lines")
    return (f"{root}: {what}. These lines in {CLASSES_FILE} leave out what has none:{lines} The names are yours.",)


def _require_close(root: Path, labels: list[int], found: set[int]) -> None:
    """Refuse labels so far apart that they are grey levels for the eye, or numbers of another list of classes.

    Raises:
        DataError: They are.
    """
    if labels[-1] < LEAST_FAR or labels[-1] + 1 < SPARSE * len(labels):
        return
    shown = ", ".join(map(str, sorted(found)[:12])) + (" ..." if len(found) > 12 else "")
    raise DataError(
        f"{root}: the masks hold the labels {shown} alone: so few so far apart look stretched for the eye, or taken "
        "from a longer list of classes.",
        hint=f"Name these values in {root / CLASSES_FILE}, with names of your own:"
        f"{written(grey_lines(found), 'values')} The name 'ignore' leaves a value out; so does no line for 255.",
    )


def _require_more_than_0(
    root: Path, contents: Mapping[str, MaskContents], found: set[int], lines: list[str] | None
) -> None:
    """Refuse a split of 0 and 255 alone where 255 is ignored: the class 0 would be all that is left.

    Raises:
        DataError: There is one.
    """
    for split, part in contents.items():
        if part.values == {0, IGNORE} and (found != {0, IGNORE} or (lines is not None and len(lines) > 1)):
            names = [line.strip() for line in lines or BINARY if line.strip().lower() != IGNORE_LINE]
            low, high = names if len(names) == len(BINARY) else BINARY
            raise DataError(
                f"{root}: the masks of {split} hold 0 and 255 alone, and 255 is ignored: class 0 is all that is left.",
                hint="Where 255 means a class, store it as that class's number (1 for the foreground); or, if all "
                f"masks hold 0 and 255, write in {CLASSES_FILE}:"
                f"{written([f'{low} 0 0 0', f'{high} 255 255 255'], 'lines')} which names the values as colours.",
            )


def _require_one_meaning_of_bits(root: Path, found: MaskContents) -> None:
    """Refuse masks of one bit among others whose highest value is 255: a set bit may be 1 or 255.

    Raises:
        DataError: There are such.
    """
    if 1 in found.bits and IGNORE in found.labels and 1 not in found.labels:
        raise DataError(
            f"{root}: {found.kinds['bit']} masks have one bit a pixel, the others hold 255: a set bit may mean "
            "label 1, or 255 as in the others.",
            hint="Store all masks with 8 bits a pixel.",
        )


def _require_one_palette(root: Path, found: MaskContents) -> None:
    """Refuse palettes that list the same colours in another order: the indices are no class numbers then.

    Raises:
        DataError: Two masks have such.
    """
    palettes = [(dict(palette), name) for palette, name in found.palettes.items()]
    for one, name in islice(palettes, PALETTES):
        for other, other_name in palettes:
            swapped = [
                label
                for label in one.keys() & other.keys()
                if one[label] != other[label] and one[label] in other.values() and other[label] in one.values()
            ]
            if swapped:
                raise DataError(
                    f"{root}: the palettes of {name} and {other_name} have the same colours in another order (as index "
                    f"{min(swapped)}, say): their indices cannot both be class numbers.",
                    hint=f"If the colours tell the class, write them in {root / CLASSES_FILE}, with names of your own:"
                    + written(_palette_lines(palettes), "colours")
                    + " If the indices do, store the masks in grey.",
                )


def _palette_lines(palettes: list[tuple[dict[int, int], str]]) -> list[str]:
    colours = sorted(set().union(*(palette.values() for palette, _ in palettes)))
    return colour_lines(colours, CLASSES_FILE)


def _named(root: Path, lines: list[str]) -> Labels:
    path = root / CLASSES_FILE
    for number, line in enumerate(lines, start=1):
        if not line:
            raise DataError(f"{path}, line {number}: a class without a name.", hint=f"Name label {number - 1} there.")
    names = [line for line in lines if line.lower() != IGNORE_LINE]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled or not names:
        what = f"the name {doubled[0]!r} twice" if doubled else "no class"
        raise DataError(f"{path} holds {what}.", hint="One class name a line is expected, label 0 first.")
    require_few(root, len(lines))
    labels: dict[int, int] = {}
    for label, line in enumerate(lines):
        labels[label] = IGNORE if line.lower() == IGNORE_LINE else len(labels) - list(labels.values()).count(IGNORE)
    if IGNORE not in labels.values():
        labels[len(lines)] = IGNORE
    return Labels(tuple(names), label_table(labels))


def _check_ignored(root: Path, labels: Labels, lines: list[str], values: set[int]) -> tuple[str, ...]:
    """Say which label is ignored without a word, and refuse masks that count from 1: they would lose a class.

    Raises:
        DataError: No mask has label 0, some have the one after the last class, and no line says what is ignored.
    """
    classes = len(labels.classes)
    if max(values, default=0) != classes or any(line.strip().lower() == IGNORE_LINE for line in lines):
        return ()
    path = root / CLASSES_FILE
    if min(values) > 0:
        raise DataError(
            f"{path} names labels 0 to {classes - 1}, but the masks hold {min(values)} to {classes}: "
            "they count from 1.",
            hint=f"Put a line '{IGNORE_LINE}' (or the name of label 0) first in {path}.",
        )
    return (
        f"{path} names {classes} classes and no label to ignore: label {classes} is ignored. A line '{IGNORE_LINE}' "
        "there says which label it is.",
    )
