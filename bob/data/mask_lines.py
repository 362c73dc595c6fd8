"""The lines that a user may copy into a file of classes, printed in errors and warnings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from bob.data.colour_tables import IGNORE_LINE, unpacked

MOST_LINES = 20
INDENT = "\n           "


def written(lines: Sequence[str], what: str) -> str:
    """Return lines on lines of their own, at most 20 of them; ``what`` they are, in the plural, tells of the rest."""
    rest = len(lines) - MOST_LINES
    more = f"{INDENT}(and {rest} more {what})" if rest > 0 else ""
    return "".join(INDENT + line for line in lines[:MOST_LINES]) + more + "\n      "


def label_lines(highest: int, ignored: Collection[int]) -> list[str]:
    """Return lines of ``classes.txt`` for the labels from 0 on: placeholders for names, or ``ignore``."""
    return [IGNORE_LINE if label in ignored else f"name_{label}" for label in range(highest + 1)]


def colour_lines(colours: Sequence[int], file: str) -> list[str]:
    """Return a line for each packed colour, as the file has them, with placeholders for the names."""
    forms = {
        ".csv": "name_{0},{1},{2},{3}",
        "label_colors.txt": "{1} {2} {3} name_{0}",
        "labelmap.txt": "name_{0}:{1},{2},{3}::",
    }
    form = forms.get(file) or forms.get(Path(file).suffix) or "name_{0} {1} {2} {3}"
    return [form.format(number, *unpacked(colour)) for number, colour in enumerate(colours, start=1)]


def grey_lines(labels: Collection[int]) -> list[str]:
    """Return lines of ``classes.txt`` that name grey values as colours."""
    return [f"name_{label} {label} {label} {label}" for label in sorted(labels)]
