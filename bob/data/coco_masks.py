"""COCO's three ways of writing a mask, checked and made one: compressed run lengths. Needs pycocotools."""

from __future__ import annotations

import math
from typing import Any

MAX_RUN_BITS = 40
MAX_COORDINATE = 100_000  # beyond it pycocotools would ask for memory by the gigabyte


def mask_of(segmentation: Any, size: tuple[int, int]) -> tuple[bytes, str | None]:
    """Return an object's compressed run lengths, and what was wrong (None: nothing).

    Polygons that cannot be right are left out; what is left of the object is its mask. Empty bytes: there is none.

    Args:
        segmentation: Polygons [[x, y, x, y, ...], ...] or {"size": [height, width], "counts": [...] or text}.
        size: The picture's height and width.
    """
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, size)
    if isinstance(segmentation, dict):
        return _from_runs(segmentation, size)
    return b"", "a mask that is neither polygons nor run lengths"


def box_of(mask: bytes, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of a mask's pixels."""
    from pycocotools.mask import toBbox

    left, top, width, height = (float(value) for value in toBbox({"size": list(size), "counts": mask}))
    return left, top, left + width, top + height


def area_of(mask: bytes, size: tuple[int, int]) -> float:
    """Return how many pixels a mask has."""
    from pycocotools.mask import area

    return float(area({"size": list(size), "counts": mask}))


def _from_polygons(polygons: list[Any], size: tuple[int, int]) -> tuple[bytes, str | None]:
    from pycocotools.mask import frPyObjects, merge

    good = [polygon for polygon in polygons if _is_polygon(polygon)]
    if not good:
        return b"", "a mask without a polygon of three points or more" if polygons else "no mask"
    problem = None if len(good) == len(polygons) else "a polygon that cannot be right (left out of its mask)"
    parts = frPyObjects(good, *size)
    counts = (parts[0] if len(parts) == 1 else merge(parts))["counts"]
    return (counts, problem) if area_of(counts, size) else (b"", "a mask without a pixel")


def _is_polygon(polygon: Any) -> bool:
    return (
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(type(value) in (int, float) and abs(value) <= MAX_COORDINATE for value in polygon)
    )


def _from_runs(runs: dict[str, Any], size: tuple[int, int]) -> tuple[bytes, str | None]:
    from pycocotools.mask import frPyObjects

    counts = runs.get("counts")
    if runs.get("size") != list(size):
        return b"", "a mask of another size than its picture"
    try:
        plain = run_lengths(counts) if isinstance(counts, str) else counts
    except ValueError as error:
        return b"", f"a mask whose run lengths are damaged ({error})"
    if not isinstance(plain, list) or not all(type(run) is int and run >= 0 for run in plain):
        return b"", "a mask whose run lengths are no whole numbers"
    if sum(plain) != math.prod(size):
        return b"", "a mask whose run lengths do not add up to its picture"
    if not any(plain[1::2]):
        return b"", "a mask without a pixel"
    if isinstance(counts, str):
        return counts.encode(), None
    return frPyObjects({"size": list(size), "counts": plain}, *size)["counts"], None


def run_lengths(text: str) -> list[int]:
    """Decode COCO's compressed run lengths: five bits a character, sign extended, differences from the last but one.

    The format is that of ``rleFrString`` in pycocotools' maskApi.c, which trusts its input; this checks it.

    Raises:
        ValueError: The text is cut off or holds a character that the format has not.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {character!r}")
        value |= (bits & 0x1F) << shift
        shift += 5
        if shift > MAX_RUN_BITS:
            raise ValueError("a run that is longer than any picture")
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("cut off")
    return runs
