"""Small picture folders for the tests of the data layer."""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """Return a random RGB picture of (width, height)."""
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def first_seed(*names: str) -> int:
    """Return the first of 10,000 seeds for the pictures of a folder: equal pictures in two would be copies."""
    return zlib.crc32("/".join(names).encode()) * 10_000


def class_folders(root: Path, counts: dict[str, int], *, suffix: str = ".jpg") -> Path:
    """Fill ROOT/CLASS with ``counts[CLASS]`` pictures."""
    first = first_seed(*root.parts[-2:])
    for place, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(first + 1000 * place + index).save(root / name / f"{index:03d}{suffix}")
    return root


def age(root: Path, seconds: float = 60) -> None:
    """Make every file look written a while ago, so that its fingerprint may be cached."""
    then = time.time() - seconds
    for path in root.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


def mask(seed: int, size: tuple[int, int] = (40, 30), labels: int = 3) -> Image.Image:
    """Return a random mask of (width, height) with labels 0 .. labels - 1, each at least once."""
    values = np.random.default_rng(seed).integers(0, labels, (size[1], size[0]), dtype=np.uint8)
    values.flat[:labels] = np.arange(labels)
    return Image.fromarray(values)


def mask_folders(root: Path, counts: dict[str, int], *, labels: int = 3, classes: str | None = None) -> Path:
    """Fill ROOT/SPLIT/images and ROOT/SPLIT/masks with ``counts[SPLIT]`` pairs; ``classes`` goes to classes.txt."""
    for place, (split, count) in enumerate(counts.items()):
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            picture(1000 * place + index).save(root / split / "images" / f"{index:03d}.jpg")
            mask(1000 * place + index, labels=labels).save(root / split / "masks" / f"{index:03d}.png")
    if classes is not None:
        (root / "classes.txt").write_text(classes)
    return root


def coco_content(count: int, *, masks: bool = False, objects: int = 2) -> dict[str, list[dict]]:
    """Return a COCO instances file about pictures 000.jpg ... of 40 x 30 pixels with boxes in categories 3 and 7."""
    content: dict[str, list[dict]] = {"images": [], "annotations": [], "categories": []}
    content["categories"] = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    for index in range(count):
        content["images"].append({"id": index + 1, "file_name": f"{index:03d}.jpg", "width": 40, "height": 30})
        for turn in range(objects):
            left, top = 2 + turn * 10, 3 + index % 5
            entry = {"id": 100 * (index + 1) + turn, "image_id": index + 1, "category_id": (3, 7)[turn % 2]}
            entry |= {"bbox": [left, top, 8, 6], "area": 48, "iscrowd": 0}
            if masks:
                polygon = [left, top, left + 8, top, left + 8, top + 6, left, top + 6]
                entry["segmentation"] = [polygon]
            content["annotations"].append(entry)
    return content


def coco_folder(root: Path, contents: dict[str, dict]) -> Path:
    """Write ROOT/SPLIT.json, and every picture that it lists below ROOT/SPLIT."""
    for split, content in contents.items():
        (root / split).mkdir(parents=True, exist_ok=True)
        for index, entry in enumerate(content["images"]):
            picture(first_seed(root.name, split) + index).save(root / split / entry["file_name"])
        (root / f"{split}.json").write_text(json.dumps(content))
    return root
