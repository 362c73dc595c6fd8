"""A small data set in LVIS' format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_helpers import coco_content, picture


def lvis_content(first: int, count: int) -> dict[str, list[dict]]:
    """Return a file as LVIS has it about the pictures from number ``first`` on; a third class has no object."""
    made = coco_content(count, masks=True)
    made["categories"].append({"id": 5, "name": "owl"})
    for entry, frequency in zip(made["categories"], "fcr", strict=True):
        entry["frequency"] = frequency
    for index, entry in enumerate(made["images"]):
        name = f"{first + index:012d}.jpg"
        del entry["file_name"]
        entry["coco_url"] = f"http://images.cocodataset.org/train2017/{name}"
        entry |= {"neg_category_ids": [5] if index % 2 else [], "not_exhaustive_category_ids": [7.0, "3"][: index % 3]}
    return made


def lvis_folder(root: Path, change: Callable[[Any, Any], object] = lambda train, val: None) -> Path:
    """Write train and val, whose pictures lie in one folder as LVIS' do, after a change."""
    train, val = lvis_content(0, 24), lvis_content(24, 6)
    (root / "train2017").mkdir(parents=True)
    for index in range(30):
        picture(index).save(root / "train2017" / f"{index:012d}.jpg")
    change(train, val)
    for split, made in (("train", train), ("val", val)):
        (root / f"lvis_v1_{split}.json").write_text(json.dumps(made))
    return root
