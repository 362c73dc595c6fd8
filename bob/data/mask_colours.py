"""Masks whose colours tell the class: a table of colours says which, and without one the user is told what to write."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.data.colour_lookup import ColourLookup, shown
from bob.data.colour_tables import CLASSES_FILE, IGNORE_LINE, UNSURE, ColourRows, packed
from bob.data.mask_contents import MaskContents
from bob.data.mask_lines import colour_lines, grey_lines, written
from bob.data.mask_meaning import GREY, Labels, require_few
from bob.data.mask_pictures import label_table


def refuse_colours(root: Path, found: MaskContents) -> NoReturn:
    """Raise what is to be done about coloured masks without a table: the lines to write.

    Raises:
        DataError: Always.
    """
    colours = [colour for colour, _ in found.colours.most_common() if colour in found.frequent]
    if not colours:
        raise DataError(
            f"{root}: the masks are coloured, and no colour covers a thousandth of any: they look like photographs.",
            hint="Export the masks as PNG files of 8 bits whose values are class numbers.",
        )
    name, _ = found.frequent[colours[0]]
    mostly = ", ".join(f"{shown(one)} {found.colours[one] / found.pixels:.1%}" for one in colours[:3])
    mostly += ", ..." if len(colours) > 3 else ""
    raise DataError(
        f"{root}: {found.kinds['coloured']} masks ({name}, ...) hold colours and not class numbers, and no file says "
        f"what they mean; there are {len(colours)} colours ({mostly} of the pixels).",
        hint=f"Write these lines in {root / CLASSES_FILE}, with names of your own:"
        f"{written(colour_lines(colours, CLASSES_FILE), 'colours')} A name '{IGNORE_LINE}' leaves a colour out. Or "
        "export the masks with class numbers (grey or palette).",
    )


def coloured_labels(root: Path, rows: ColourRows, names: list[str] | None, found: MaskContents) -> Labels:
    """Return what masks mean by a table of colours.

    Args:
        root: The folder.
        rows: The table.
        names: The lines of ``classes.txt``, if it is another file than the table.
        found: What the masks hold.

    Raises:
        DataError: The masks have colours that the table lacks, or grey values that may be numbers or colours.
    """
    classes = rows.classes
    require_few(root, len(rows.rows))
    _require_same_names(root, rows, names)
    numbers = {name: label for label, name in enumerate(classes)}
    labels = [IGNORE if name.lower() == IGNORE_LINE else numbers[name] for name, _ in rows.rows]
    colours = {packed(colour): label for label, (_, colour) in zip(labels, rows.rows, strict=True)}
    said = _said(root, rows)
    if not found.kinds["coloured"] and not found.kinds["palette"]:
        return Labels(classes, _grey_table(root, rows, labels, colours, found), file=(rows.file, rows.text), said=said)
    said += _require_known(root, rows, found)
    lookup = ColourLookup(rows.file, tuple(sorted(colours.items())))
    return Labels(classes, label_table({}), lookup, file=(rows.file, rows.text), said=said)


def _require_same_names(root: Path, rows: ColourRows, lines: list[str] | None) -> None:
    if lines is None:
        return
    names = {line.strip() for line in lines if line.strip() and line.strip().lower() != IGNORE_LINE}
    differing = sorted(names ^ set(rows.classes))
    if differing:
        raise DataError(
            f"{root}: {CLASSES_FILE} and {rows.file} name different classes: {differing[0]!r} is in one of them.",
            hint=f"Take {CLASSES_FILE} away, or make the names alike.",
        )


def _said(root: Path, rows: ColourRows) -> tuple[str, ...]:
    unsure = [name for name in rows.classes if name.lower() in UNSURE]
    return tuple(
        f"{root}: {name!r} is a class like the others; called '{IGNORE_LINE}' in {rows.file} its pixels would neither "
        "train nor score."
        for name in unsure
    )


def _require_known(root: Path, rows: ColourRows, found: MaskContents) -> tuple[str, ...]:
    """Refuse frequent colours that the table lacks, and return what is to be said of rare ones."""
    lacking = sorted(found.frequent, key=lambda colour: -found.colours[colour])
    if lacking:
        name, share = found.frequent[lacking[0]]
        others = f", and {len(lacking) - 1} other colours are lacking too" if len(lacking) > 1 else ""
        by_index = " If the palettes' indices are the class numbers, take that file away." if found.labels else ""
        raise DataError(
            f"{root}: {shown(lacking[0])}, which {rows.file} lacks, has {share:.1%} of the pixels of {name}{others}.",
            hint=f"Add to {root / rows.file}, with names of your own ('{IGNORE_LINE}' for pixels that are no class):"
            f"{written(colour_lines(lacking, rows.file), 'colours')}{by_index or ' Then run it again.'}",
        )
    blended = found.pixels - found.colours.total()
    if not blended:
        return ()
    return (
        f"{root}: {blended / found.pixels:.2%} of the masks' pixels have rare colours that {rows.file} lacks, as edges "
        "drawn smooth have; they are ignored.",
    )


def _grey_table(
    root: Path, rows: ColourRows, labels: list[int], colours: dict[int, int], found: MaskContents
) -> np.ndarray:
    """Return the table from grey values to classes: a value is a colour of the table, or the number of its row."""
    values = found.values - {IGNORE}
    if not values:
        name, reason = found.unread or ("", "there is no mask")
        raise DataError(f"{root}: no mask holds a class: {name}: {reason}.", hint="Export the masks as PNG files.")
    greys = {value: colours[value * GREY] for value in range(256) if value * GREY in colours}
    numbered = dict(enumerate(labels))
    are_greys, are_numbers = values <= greys.keys(), max(values) < len(labels)
    if are_greys and are_numbers and any(greys[value] != numbered[value] for value in values):
        value = next(value for value in sorted(values) if greys[value] != numbered[value])
        raise DataError(
            f"{root}: the masks' grey value {value} is a colour in {rows.file} and the number of another row (from 0).",
            hint="Store the masks with the table's colours (RGB), or take the file away to have numbers read.",
        )
    if are_greys:
        return label_table(greys)
    if are_numbers:
        return label_table(numbered)
    odd = sorted(value for value in values if value not in greys) if greys else sorted(values)
    raise DataError(
        f"{root}: the masks are grey, and their value {odd[-1]} is neither a colour in {rows.file} nor the number of "
        f"one of its {len(labels)} rows (from 0).",
        hint=f"Name the values in {CLASSES_FILE} in place of {rows.file}, with names of your own:"
        f"{written(grey_lines(values), 'values')} Or store the masks with the table's colours (RGB).",
    )
