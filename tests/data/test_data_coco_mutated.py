"""A COCO or LVIS file with anything wrong in it is an error in plain words, or data that are all valid."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from data_helpers import coco_content, picture

from bob.core.errors import BobError
from bob.data.coco_parse import parse_coco
from bob.data.coco_places import CocoFile
from bob.data.dense_pictures import open_dense
from bob.data.object_arrays import Table
from bob.data.resolve import resolve_dataset

VALUES = (
    *("", "text", "7", "..", "../../x.jpg", "/etc/passwd", "\0", "http://x/1.jpg", "\ud800", "3.5", "nan"),
    *(None, True, False, -1, 0, 1, 3, 7.0, 2.5, 10**9, 10**30, -(10**30), 1e308, float("nan"), float("inf")),
    *([], {}, [[]], [None], {"a": [1]}, [[1, 2], [3]], [1, 2, 3, 4], [[[[[]]]]], ["x"] * 4, "[" * 50),
)
MUTATIONS, PICTURES = 500, 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pictures, whose JSON file is written anew for each mutation."""
    root = tmp_path_factory.mktemp("mutated") / "set"
    (root / "images").mkdir(parents=True)
    for index in range(PICTURES):
        picture(index).save(root / "images" / f"{index:03d}.jpg")
    return root


def containers(value):
    """Return every list and dict in a JSON value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [value] if isinstance(value, dict | list) and value else []
    return found + [one for part in inner for one in containers(part)]


def mutated(content, rng):
    """Return the content's text with one or two things wrong."""
    for _ in range(rng.randint(1, 2)):
        place = rng.choice(containers(content))
        key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
        how = rng.random()
        if how < 0.2:
            del place[key]
        elif how < 0.3 and isinstance(place, list):
            place.append(place[key])
        else:
            place[key] = rng.choice(VALUES)
        if not content:
            break
    text = json.dumps(content).encode("utf-8", "surrogatepass")
    how = rng.random()
    if how < 0.1:
        return text[: rng.randrange(len(text))]
    if how < 0.3:
        place = rng.randrange(len(text))
        return text[:place] + bytes([rng.randrange(256)]) + text[place + 1 :]
    return text


def require_valid(parsed, place):
    """Assert that every object of every stored split lies in its picture and has a class."""
    for split, part in parsed.splits.items():
        part.write(place / split)
        table = Table(place / split, with_masks=part.has_masks, is_federated=bool(parsed.frequencies))
        for index, (height, width) in enumerate(table.sizes()):
            found = table.annotate(index)
            boxes = found.boxes
            assert np.isfinite(boxes).all() and (boxes[:, 2:] > boxes[:, :2]).all()
            assert (boxes >= -1).all() and (boxes[:, 2] <= width + 1).all() and (boxes[:, 3] <= height + 1).all()
            assert ((found.labels >= 0) & (found.labels < len(parsed.classes))).all()
            assert np.isfinite(found.area).all() and (found.area > 0).all()
            for known in (found.absent, found.partial):
                assert known is None or ((known >= 0) & (known < len(parsed.classes))).all()
            assert all(mask["size"] == [height, width] for mask in found.masks or ())


def read_whole(folder, cache):
    """Read as a job does."""
    spec = resolve_dataset(f"coco:{folder}", cache_dir=cache)
    for split, _ in spec.sizes:
        pictures = open_dense(spec, split, annotation="boxes", cache_dir=cache)
        assert pictures.load(0).size == tuple(pictures.sizes[0])[::-1]


@pytest.mark.filterwarnings("ignore")
def test_500_mutated_files_are_plain_errors_or_valid_data(folder, tmp_path):
    rng, read = random.Random(7), 0
    path = folder / "annotations.json"
    present = frozenset(f"images/{index:03d}.jpg" for index in range(PICTURES))
    for turn in range(MUTATIONS):
        path.write_bytes(mutated(lvis() if turn % 2 else good(), rng))
        try:
            if turn % 10 == 0:
                read_whole(folder, tmp_path / f"cache{turn}")
            parsed = parse_coco(folder, {"all": CocoFile(path, ("images/", ""), "all")}, present)
            require_valid(parsed, tmp_path / f"{turn}")
            read += 1
        except BobError as error:
            assert error.message
    assert 100 < read < MUTATIONS


def good():
    content = coco_content(PICTURES, masks=True)
    for entry in content["annotations"][::3]:
        entry["segmentation"] = {"size": [30, 40], "counts": [100, 20, 1080]}
    return content


def lvis():
    content = good()
    for entry in content["images"]:
        entry["coco_url"] = f"http://images.org/{entry.pop('file_name')}"
        entry |= {"neg_category_ids": [3], "not_exhaustive_category_ids": [7, 3]}
    for entry in content["categories"]:
        entry["frequency"] = "rcf"[entry["id"] % 3]
    return content
