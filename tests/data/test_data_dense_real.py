"""Dense data sets as they are on disk: blood cells with boxes, streets with a class for each pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from bob.data.annotations import IGNORE
from bob.data.dense_pictures import open_dense
from bob.data.resolve import resolve_dataset

pytestmark = pytest.mark.realdata
SPLITS = ("train", "val", "test")


def test_bccd_is_read_whole(realdata, tmp_path):
    spec = resolve_dataset(str(realdata / "bccd"), cache_dir=tmp_path)
    assert (spec.kind, spec.annotations) == ("coco", ("boxes", "multilabel"))
    assert spec.classes == ("Platelets", "RBC", "WBC")
    assert dict(spec.sizes) == {"train": 205, "val": 87, "test": 72}
    boxes = 0
    for split in SPLITS:
        part = open_dense(spec, split, annotation="boxes", cache_dir=tmp_path)
        assert (part.dropped, part.faults, part.repaired) == ((), {}, {}) and len(part) == dict(spec.sizes)[split]
        boxes += sum(len(part.instances(index)) for index in range(len(part)))
    assert boxes == 4886


def test_bccds_boxes_are_the_files(realdata, tmp_path):
    content = json.loads((realdata / "bccd" / "test.json").read_text())
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    spec = resolve_dataset(str(realdata / "bccd"), cache_dir=tmp_path)
    part = open_dense(spec, "test", annotation="boxes", cache_dir=tmp_path)
    for index in (0, 30, 71):
        entry = next(one for one in content["images"] if part.ids[index] == f"test/{one['file_name']}")
        stated = [one for one in content["annotations"] if one["image_id"] == entry["id"]]
        found = part.instances(index)
        expected = np.array([one["bbox"] for one in stated])
        expected[:, 2:] += expected[:, :2]
        assert (found.boxes == expected).all() and found.area.tolist() == [one["area"] for one in stated]
        assert [part.classes[label] for label in found.labels] == [names[one["category_id"]] for one in stated]
        assert part.load(index).size == (640, 480) and part.sizes[index].tolist() == [480, 640]


def test_camvid_is_read_whole_and_its_label_11_is_ignored(realdata, tmp_path):
    spec = resolve_dataset(str(realdata / "camvid"), cache_dir=tmp_path)
    assert (spec.kind, spec.annotations, len(spec.classes)) == ("masks", ("semantic",), 11)
    assert dict(spec.sizes) == {"train": 120, "val": 40, "test": 60} and spec.classes[0] == "sky"
    for split in SPLITS:
        part = open_dense(spec, split, annotation="semantic", cache_dir=tmp_path)
        assert part.dropped == () and part.sizes.tolist() == [[360, 480]] * len(part)
        seen = set()
        for index in range(0, len(part), 9):
            with Image.open(
                realdata / "camvid" / part.ids[index].replace("images", "masks").replace("jpg", "png")
            ) as m:
                stored = np.asarray(m)
            found = part.semantic(index)
            assert (found == np.where(stored == 11, IGNORE, stored)).all()
            assert part.load(index).size == (480, 360)
            seen |= set(np.unique(found).tolist())
        assert IGNORE in seen and seen <= {*range(11), IGNORE} and len(seen) > 8
