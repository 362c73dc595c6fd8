"""Small data sets in YOLO's format for the tests of the data layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from data_helpers import picture

YAML = "path: .\ntrain: images/train\nval: images/val\ntest: images/test\nnames:\n  0: cell\n  1: blob\n"
LINES = "0 0.5 0.5 0.3 0.4\n1 0.25 0.3 0.1 0.2\n"
SIZE = (40, 30)  # width and height of every picture


def labelled(pictures: Path, labels: Path, count: int, lines: str = LINES, *, first: int = 0) -> None:
    """Write ``count`` pictures, and a label file for each."""
    for folder in (pictures, labels):
        folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        picture(index, SIZE).save(pictures / f"{index:03d}.png")
        (labels / f"{index:03d}.txt").write_text(lines)


def yolo_folder(root: Path, counts: Mapping[str, int], *, lines: str = LINES, yaml: str | None = YAML) -> Path:
    """Fill ROOT/images/SPLIT and ROOT/labels/SPLIT, and write data.yaml."""
    for place, (split, count) in enumerate(counts.items()):
        labelled(root / "images" / split, root / "labels" / split, count, lines, first=100 * place)
    if yaml is not None:
        (root / "data.yaml").write_text(yaml)
    return root
