"""COCO instances: every layout and every way of writing a mask is read as pycocotools reads it."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from data_helpers import age, coco_content, coco_folder, picture
from PIL import Image

from bob.core.errors import ConfigError, DataError, DataMissingError
from bob.data import coco_parse
from bob.data.coco_masks import run_lengths
from bob.data.dense_pictures import open_dense
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _same_picture(left, right):
    return np.abs(np.asarray(left).astype(int) - np.asarray(right.convert("RGB")).astype(int)).max() == 0


def test_boxes_labels_and_sizes_are_the_files(tmp_path, cache):
    root = coco_folder(tmp_path / "set", {s: coco_content(n) for s, n in (("train", 6), ("val", 2), ("test", 3))})
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert (spec.kind, spec.name, spec.classes) == ("coco", "set", ("cat", "dog"))
    assert spec.annotations == ("boxes", "multilabel") and dict(spec.sizes) == {"train": 6, "val": 2, "test": 3}
    test = open_dense(spec, "test", annotation="boxes", cache_dir=cache)
    assert test.ids == ("test/000.jpg", "test/001.jpg", "test/002.jpg") and test.classes == ("cat", "dog")
    assert test.sizes.dtype == np.int64 and test.sizes.tolist() == [[30, 40]] * 3
    found = test.instances(1)
    assert found.boxes.tolist() == [[2, 4, 10, 10], [12, 4, 20, 10]] and found.labels.tolist() == [0, 1]
    assert found.area.tolist() == [48, 48] and not found.crowd.any() and found.masks is None
    assert (test.dropped, test.faults, test.repaired) == ((), {}, {})
    with Image.open(root / "test" / "001.jpg") as stored:
        assert _same_picture(test.load(1), stored)


def _annotations_layout(root):
    (root / "annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        coco_folder(root, {split: coco_content(16)})
        (root / f"{split}.json").rename(root / "annotations" / f"instances_{split}.json")
    (root / "annotations" / "captions_train2017.json").write_text("{}")


def _images_layout(root):
    _annotations_layout(root)
    (root / "images").mkdir()
    for split in ("train2017", "val2017"):
        (root / split).rename(root / "images" / split)


def _roboflow_layout(root):
    for split in ("train", "valid"):
        coco_folder(root, {split: coco_content(16)})
        (root / f"{split}.json").rename(root / split / "_annotations.coco.json")


def _one_folder_layout(root):
    for place, split in enumerate(("train", "val")):
        content = coco_content(16)
        for entry in content["images"]:
            entry["file_name"] = f"images/{split}-{entry['file_name']}"
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "annotations").mkdir(exist_ok=True)
        for index, entry in enumerate(content["images"]):
            picture(place * 100 + index).save(root / entry["file_name"])
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("make", [_annotations_layout, _images_layout, _roboflow_layout, _one_folder_layout])
def test_each_layout_is_recognised_and_val_serves_as_test(tmp_path, cache, make):
    make(tmp_path / "set")
    spec = resolve_dataset(str(tmp_path / "set"), cache_dir=cache)
    assert spec.kind == "coco" and dict(spec.sizes) == {"train": 14, "val": 2, "test": 16}
    assert spec == resolve_dataset(f"coco:{tmp_path / 'set'}", cache_dir=cache)
    parts = {s: open_dense(spec, s, annotation="boxes", cache_dir=cache) for s in ("train", "val", "test")}
    assert not set(parts["train"].ids) & set(parts["val"].ids) and all("val" in name for name in parts["test"].ids)
    assert all(len(part.instances(0)) == 2 and part.load(0).size == (40, 30) for part in parts.values())


def test_the_known_name_is_looked_for_below_the_data_directory(tmp_path, cache):
    _annotations_layout(tmp_path / "data" / "coco")
    spec = resolve_dataset("coco", cache_dir=cache, data_dir=tmp_path / "data")
    assert (spec.name, spec.license) == ("coco", "CC-BY-4.0") and "YFCC-100M" in spec.overlaps
    with pytest.raises(DataMissingError, match=r"instances_train2017\.json"):
        resolve_dataset("coco", cache_dir=cache)
    with pytest.raises(DataMissingError, match="nowhere"):
        resolve_dataset(f"coco:{tmp_path / 'nowhere'}", cache_dir=cache)


def _mask_file(tmp_path):
    """Return a data set whose objects' masks are written in all three ways, and the file."""
    from pycocotools.mask import encode

    content = coco_content(20, masks=True, objects=3)
    rng = np.random.default_rng(5)
    for index, entry in enumerate(content["annotations"]):
        pixels = np.zeros((30, 40), dtype=np.uint8)
        pixels[3 + index % 7 : 20, 5:25] = rng.random((30, 20))[3 + index % 7 : 20] < 0.7
        runs = encode(np.asfortranarray(pixels))
        if index % 3 == 1:
            counts = run_lengths(runs["counts"].decode())
            entry |= {"segmentation": {"size": [30, 40], "counts": counts}, "iscrowd": index % 2}
        elif index % 3 == 2:
            entry["segmentation"] = {"size": [30, 40], "counts": runs["counts"].decode()}
        else:
            entry["segmentation"] = [[1.5, 2.25, 30.75, 4.1, 12.3, 28.7], [33, 20, 39.5, 20, 39.5, 29]]
    root = coco_folder(tmp_path / "set", {"train": content, "val": coco_content(2, masks=True)})
    return root, root / "train.json"


def test_masks_are_those_of_pycocotools(tmp_path, cache):
    from pycocotools.coco import COCO
    from pycocotools.mask import decode

    root, path = _mask_file(tmp_path)
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.annotations == ("boxes", "instances", "multilabel")
    train = open_dense(spec, "train", annotation="instances", cache_dir=cache)
    theirs = COCO(str(path))
    for index, name in enumerate(train.ids):
        number = int(name[-7:-4]) + 1
        expected = theirs.loadAnns(theirs.getAnnIds(imgIds=[number]))
        found = train.instances(index)
        assert len(found) == len(expected) == 3 and found.crowd.tolist() == [bool(e["iscrowd"]) for e in expected]
        for runs, entry in zip(found.masks, expected, strict=True):
            assert runs["size"] == [30, 40] and (decode(runs) == theirs.annToMask(entry)).all()
    assert open_dense(spec, "train", annotation="boxes", cache_dir=cache).instances(0).masks is None


def test_run_lengths_are_pycocotools_and_damaged_ones_are_refused():
    from pycocotools.mask import encode, frPyObjects

    rng = np.random.default_rng(1)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        text = encode(np.asfortranarray((rng.random((37, 53)) < share).astype(np.uint8)))["counts"]
        runs = run_lengths(text.decode())
        assert sum(runs) == 37 * 53 and frPyObjects({"size": [37, 53], "counts": runs}, 37, 53)["counts"] == text
    for damaged in ("0 1", "0o", "\x7f"):
        with pytest.raises(ValueError, match=r"cut off|character"):
            run_lengths(damaged)


def test_the_file_is_parsed_once_per_content(tmp_path, cache, monkeypatch):
    root = coco_folder(tmp_path / "set", {"train": coco_content(8), "test": coco_content(2)})
    age(root)
    first = resolve_dataset(str(root), cache_dir=cache)

    def refuse(path):
        raise AssertionError(f"{path} was parsed again")

    monkeypatch.setattr(coco_parse, "read_json", refuse)
    assert resolve_dataset(str(root), cache_dir=cache) == first
    open_dense(first, "train", annotation="boxes", cache_dir=cache)
    (root / "train.json").write_text((root / "train.json").read_text() + " ")
    with pytest.raises(AssertionError, match="was parsed again"):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_digit_in_the_middle_of_a_large_file_changes_the_fingerprint(tmp_path, cache):
    content = coco_content(8, objects=1)
    content["padding"] = ["x" * 300_000]
    content = {"images": content["images"], "padding": content["padding"], **content}
    root = coco_folder(tmp_path / "set", {"train": content})
    age(root)
    before = resolve_dataset(str(root), cache_dir=cache).fingerprint
    text = (root / "train.json").read_text()
    middle = len(text) // 2
    (root / "train.json").write_text(text[:middle] + "y" + text[middle + 1 :])
    assert resolve_dataset(str(root), cache_dir=cache).fingerprint != before


def test_a_damaged_cache_is_made_anew(tmp_path, cache, caplog):
    root, _ = _mask_file(tmp_path)
    spec = resolve_dataset(str(root), cache_dir=cache)
    before = open_dense(spec, "train", annotation="instances", cache_dir=cache).instances(0)
    path = next((cache / "datasets").glob("objects-*/train/boxes.npy"))
    path.write_bytes(path.read_bytes()[:-50])
    after = open_dense(spec, "train", annotation="instances", cache_dir=cache).instances(0)
    assert "is damaged" in caplog.text and after.masks == before.masks and (after.boxes == before.boxes).all()


def test_pictures_travel_to_another_process_as_a_path_and_threads_read_at_once(tmp_path, cache):
    root, _ = _mask_file(tmp_path)
    train = open_dense(resolve_dataset(str(root), cache_dir=cache), "train", annotation="instances", cache_dir=cache)
    expected = [train.instances(index).masks for index in range(len(train))]
    packed = pickle.dumps(train)
    assert len(packed) < 200 * len(train) + 4000
    (tmp_path / "packed").write_bytes(packed)
    code = (
        "import pickle, sys; p = pickle.load(open(sys.argv[1], 'rb'));"
        "p.load(2); print(p.instances(2).masks == tuple(eval(sys.argv[2])), 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "packed"), repr(expected[2])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["True", "False"]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda i: train.instances(i % len(train)).masks, range(4 * len(train)))) == 4 * expected


def test_a_cap_chooses_the_same_pictures_and_a_smaller_one_some_of_them(tmp_path, cache):
    root = coco_folder(tmp_path / "set", {"train": coco_content(30), "val": coco_content(3), "test": coco_content(3)})
    spec = resolve_dataset(str(root), cache_dir=cache)
    large, small = (open_dense(spec, "train", annotation="boxes", cap=cap, cache_dir=cache) for cap in (12, 5))
    assert (
        len(large) == 12
        and len(small) == 5
        and set(small.ids) < set(large.ids)
        and list(large.ids) == sorted(large.ids)
    )
    with pytest.raises(ConfigError, match="cap is 0"):
        open_dense(spec, "train", annotation="boxes", cap=0, cache_dir=cache)


def test_what_a_data_set_does_not_know_is_refused(tmp_path, cache):
    root = coco_folder(tmp_path / "set", {"train": coco_content(8), "test": coco_content(3)})
    spec = resolve_dataset(str(root), cache_dir=cache)
    with pytest.raises(DataError, match="has boxes for each picture, not a class"):
        open_split(spec, "train", cache_dir=cache)
    with pytest.raises(DataError, match="not boxes with masks"):
        open_dense(spec, "train", annotation="instances", cache_dir=cache)
    with pytest.raises(ConfigError, match="Did you mean 'boxes'"):
        open_dense(spec, "train", annotation="box", cache_dir=cache)
    pictures = open_dense(spec, "train", annotation="boxes", cache_dir=cache)
    with pytest.raises(ConfigError, match="no class for each pixel"):
        pictures.semantic(0)
    with pytest.raises(DataError, match="no split 'tset'"):
        open_dense(spec, "tset", annotation="boxes", cache_dir=cache)
