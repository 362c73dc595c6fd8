"""Pictures that are there more than once: found by their bytes, named, and left out where they would be wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_helpers import age, class_folders, coco_content, coco_folder, mask_folders
from PIL import Image

from bob.core.errors import ConfigError, DataError
from bob.data import equal_files
from bob.data.copies import _judged
from bob.data.copies_beside import apart_from
from bob.data.dense_pictures import open_dense
from bob.data.pictures import open_split, open_unlabelled
from bob.data.resolve import resolve_dataset

SPLITS = ("train", "val", "test")


@pytest.fixture
def root(tmp_path) -> Path:
    for split in SPLITS:
        class_folders(tmp_path / "set" / split, {"cat": 5, "dog": 5})
    return tmp_path / "set"


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def copied(root, source, target):
    shutil.copy(root / source, root / target)


def left(spec, cache, split):
    return set(open_split(spec, split, cache_dir=cache).ids)


def test_without_copies_nothing_changes(root, cache):
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.copies.listed == spec.copies.said == "" and spec.copies.left_out("label") == 0
    assert spec.fingerprint == spec.as_stored().fingerprint == spec.copies.stored


@pytest.mark.parametrize(
    ("source", "target", "gone"),
    [
        ("train/cat/000.jpg", "test/cat/again.jpg", {"train/cat/000.jpg"}),
        ("train/cat/000.jpg", "val/cat/again.jpg", {"train/cat/000.jpg"}),
        ("val/cat/000.jpg", "test/cat/again.jpg", {"val/cat/000.jpg"}),
        ("train/cat/000.jpg", "train/cat/again.jpg", set()),
        ("test/cat/000.jpg", "test/cat/again.jpg", set()),
        ("train/cat/000.jpg", "train/dog/again.jpg", {"train/cat/000.jpg", "train/dog/again.jpg"}),
        ("train/cat/000.jpg", "test/dog/again.jpg", {"train/cat/000.jpg", "test/dog/again.jpg"}),
        ("test/cat/000.jpg", "test/dog/again.jpg", {"test/cat/000.jpg", "test/dog/again.jpg"}),
    ],
)
def test_a_copy_leaves_where_it_would_be_wrong_and_nothing_else_does(root, cache, caplog, source, target, gone):
    copied(root, source, target)
    every = {path.relative_to(root).as_posix() for path in root.rglob("*.jpg")}
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert set().union(*(left(spec, cache, split) for split in SPLITS)) == every - gone
    assert dict(spec.sizes) == {split: len(left(spec, cache, split)) for split in SPLITS}
    assert spec.copies.left_out("label") == len(gone) and bool(gone) == (spec.fingerprint != spec.copies.stored)
    assert all(name in spec.copies.said for name in gone) and all(name in caplog.text for name in gone)
    assert spec.copies.said


def test_copies_are_kept_or_refused_where_that_is_asked_for(root, cache):
    copied(root, "train/cat/000.jpg", "test/cat/again.jpg")
    kept = resolve_dataset(str(root), cache_dir=cache, copies="keep")
    assert dict(kept.sizes) == {"train": 10, "val": 10, "test": 11} and len(left(kept, cache, "train")) == 10
    assert "kept (copies=keep)" in kept.copies.said and kept.fingerprint == kept.copies.stored
    with pytest.raises(DataError, match=r"1 picture of train also in test.*refused") as error:
        resolve_dataset(str(root), cache_dir=cache, copies="error")
    assert "copies=keep" in str(error.value.hint)
    with pytest.raises(ConfigError, match="'drop' for copies is not one of skip, keep, error"):
        resolve_dataset(str(root), cache_dir=cache, copies="drop")


def test_an_undivided_folder_is_drawn_first_and_its_test_stays_as_it_is(tmp_path, cache):
    root = class_folders(tmp_path / "flat", {"a": 20, "b": 20})
    whole = resolve_dataset(str(root), cache_dir=cache)
    test = sorted(left(whole, cache, "test"))
    for name in test:
        for turn in range(3):
            copied(root, name, f"{Path(name).parent}/x{turn}-{Path(name).name}")
    spec = resolve_dataset(str(root), cache_dir=cache)
    content = {split: [(root / name).read_bytes() for name in left(spec, cache, split)] for split in SPLITS}
    assert not set(content["test"]) & set(content["train"]) and not set(content["test"]) & set(content["val"])
    assert not set(content["val"]) & set(content["train"])
    assert len(content["test"]) == dict(resolve_dataset(str(root), cache_dir=cache, copies="keep").sizes)["test"]


def test_files_that_are_equal_at_both_ends_alone_are_no_copies(root, cache):
    noise = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
    for name, middle in {"train/cat/one.bmp": b"\0", "test/cat/two.bmp": b"\1", "test/cat/three.bmp": b"\0"}.items():
        (root / name).write_bytes(noise[:150_000] + middle + noise[150_001:])
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.copies.left_out("label") == 1 and "train/cat/one.bmp (test/cat/three.bmp)" in spec.copies.said


def test_a_second_plan_compares_nothing_and_a_lost_list_is_found_anew(root, cache, monkeypatch):
    copied(root, "train/cat/000.jpg", "test/cat/again.jpg")
    age(root)
    first = resolve_dataset(str(root), cache_dir=cache)
    real, asked = equal_files.edge_digests, []
    monkeypatch.setattr(equal_files, "edge_digests", lambda *a, **k: asked.append(a) or real(*a, **k))
    equal_files.places_of.cache_clear()
    assert resolve_dataset(str(root), cache_dir=cache) == first and not asked
    (lists,) = (cache / "datasets").glob("left-out-*.json")
    lists.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        open_split(first, "train", cache_dir=cache)
    assert resolve_dataset(str(root), cache_dir=cache) == first and asked
    lists.write_text("{}")
    with pytest.raises(DataError, match="something else than was written"):
        open_split(first, "train", cache_dir=cache)


def test_a_class_or_a_split_that_is_all_copies_is_said(root, cache):
    for index in range(5):
        copied(root, f"train/cat/{index:03d}.jpg", f"test/cat/again{index}.jpg")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.copies.untrained == ("cat",) and "train has nothing of cat then" in spec.copies.said
    shutil.rmtree(root / "val")
    shutil.copytree(root / "test", root / "val")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert spec.copies.emptied == ("val",) and "val has no picture then" in spec.copies.said
    assert set(dict(spec.sizes)) == {"train", "test"}


def test_boxes_and_masks_know_no_class_to_contradict(tmp_path, cache):
    boxed = coco_folder(tmp_path / "boxes", {split: coco_content(6) for split in SPLITS})
    copied(boxed, "train/000.jpg", "test/000.jpg")
    spec = resolve_dataset(str(boxed), cache_dir=cache)
    train = open_dense(spec, "train", annotation="boxes", cache_dir=cache)
    assert "train/000.jpg" not in train.ids and len(train) == 5 == dict(spec.sizes)["train"]
    assert spec.copies.left_out("boxes") == 1
    masked = mask_folders(tmp_path / "masks", dict.fromkeys(SPLITS, 6))
    copied(masked, "train/images/000.jpg", "test/images/000.jpg")
    spec = resolve_dataset(str(masked), cache_dir=cache)
    assert spec.copies.left_out("semantic") == 1
    assert len(open_dense(spec, "train", annotation="semantic", cache_dir=cache)) == 5


def test_what_belongs_to_no_picture_is_still_counted_where_the_first_picture_is_a_copy(tmp_path, cache):
    contents = {split: coco_content(6) for split in SPLITS}
    contents["train"]["annotations"].append({**contents["train"]["annotations"][0], "id": 1, "image_id": 999})
    root = coco_folder(tmp_path / "boxes", contents)
    copied(root, "train/000.jpg", "test/000.jpg")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert sum(open_dense(spec, "train", annotation="boxes", cache_dir=cache).faults.values()) == 1


def test_a_set_beside_loses_what_its_source_has(root, tmp_path, cache):
    source = resolve_dataset(str(root), cache_dir=cache)
    other = tmp_path / "other"
    for split in ("train", "test"):
        class_folders(other / split, {"cat": 4, "dog": 4})
    shutil.copy(root / "train/cat/000.jpg", other / "test/cat/x.jpg")
    shutil.copy(root / "test/cat/001.jpg", other / "test/cat/y.jpg")
    spec = resolve_dataset(str(other), cache_dir=cache)
    shift = apart_from(source, spec, shifted=True, policy="skip", cache_dir=cache)
    assert {*spec_ids(spec, cache)} - {*spec_ids(shift, cache)} == {"test/cat/x.jpg"}
    assert shift.copies.left_out("label", ("test",)) == 1 and dict(shift.sizes)["test"] == 9
    near = apart_from(source, spec, shifted=False, policy="skip", cache_dir=cache)
    assert {*spec_ids(spec, cache)} - {*spec_ids(near, cache)} == {"test/cat/x.jpg", "test/cat/y.jpg"}
    assert len({spec.fingerprint, shift.fingerprint, near.fingerprint}) == 3
    assert apart_from(source, spec, shifted=True, policy="keep", cache_dir=cache).fingerprint == spec.fingerprint
    with pytest.raises(DataError, match="1 picture also in set's train or val"):
        apart_from(source, spec, shifted=True, policy="error", cache_dir=cache)


def spec_ids(spec, cache):
    return open_unlabelled(spec, "test", cache_dir=cache).ids


def test_a_set_beside_of_nothing_else_is_refused(root, tmp_path, cache):
    source = resolve_dataset(str(root), cache_dir=cache)
    shutil.copytree(root / "train", tmp_path / "other" / "test")
    spec = resolve_dataset(str(tmp_path / "other"), cache_dir=cache)
    with pytest.raises(DataError, match="has no other test picture than those"):
        apart_from(source, spec, shifted=True, policy="skip", cache_dir=cache)


def test_empty_and_missing_files_are_no_copies_of_each_other(root, cache):
    (root / "train/cat/empty.jpg").write_bytes(b"")
    (root / "test/cat/empty.jpg").write_bytes(b"")
    assert resolve_dataset(str(root), cache_dir=cache).copies.left_out("label") == 0
    content = coco_content(6)
    boxed = coco_folder(root.parent / "boxes", dict.fromkeys(SPLITS, content))
    (boxed / "train/000.jpg").unlink()
    (boxed / "test/000.jpg").unlink()
    assert resolve_dataset(str(boxed), cache_dir=cache).copies.left_out("boxes") == 0


def test_equal_pictures_of_which_one_class_is_right_for_all_are_no_contradiction():
    place = equal_files.Place("test", "a", frozenset({1, 2}), "k", Path("a"), True)
    assert not _judged([place, place._replace(id="b", labels=frozenset({2}))]).contradictions
    assert _judged([place, place._replace(id="b", labels=frozenset({3}))]).contradictions == 1


def test_an_animation_counts_as_what_its_bytes_are(root, cache):
    Image.new("RGB", (8, 8), "red").save(root / "train/cat/a.gif")
    copied(root, "train/cat/a.gif", "test/cat/b.gif")
    said = json.dumps(resolve_dataset(str(root), cache_dir=cache).copies.said)
    assert "train/cat/a.gif" in said
