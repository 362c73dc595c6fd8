"""Image folders: every layout is read as it is meant, and what is ambiguous or leads outside is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from data_helpers import age, class_folders

from bob.core.errors import DataError, DataMissingError
from bob.data.imagenet import wnid_labels, wnids
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _sizes(spec):
    return dict(spec.sizes)


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "test"), ("Train", "validation", "TEST")]
)
def test_three_splits_are_read_under_any_of_their_names(tmp_path, cache, names):
    for name, count in zip(names, (6, 2, 3), strict=True):
        class_folders(tmp_path / "set" / name, {"cat": count, "dog": count})
    spec = resolve_dataset(str(tmp_path / "set"), cache_dir=cache)
    assert spec.kind == "imagefolder" and spec.classes == ("cat", "dog") and spec.name == "set"
    assert _sizes(spec) == {"train": 12, "val": 4, "test": 6}
    val = open_split(spec, "val", cache_dir=cache)
    assert val.labels.tolist() == [0, 0, 1, 1] and val.labels.dtype == np.int64
    assert val.ids[0] == f"{names[1]}/cat/000.jpg"
    assert val.load(0).mode == "RGB" and val.load(0).size == (40, 30)


def test_a_flat_folder_is_split_70_10_20_in_each_class_without_overlap(tmp_path, cache):
    root = class_folders(tmp_path / "flat", {"a": 40, "b": 20})
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert _sizes(spec) == {"train": 42, "val": 6, "test": 12}
    parts = {split: open_split(spec, split, cache_dir=cache) for split in ("train", "val", "test")}
    assert {split: np.bincount(part.labels).tolist() for split, part in parts.items()} == {
        "train": [28, 14],
        "val": [4, 2],
        "test": [8, 4],
    }
    ids = [name for part in parts.values() for name in part.ids]
    assert len(ids) == len(set(ids)) == 60
    assert parts["test"].ids == open_split(spec, "test", cache_dir=cache).ids


def test_without_val_an_eighth_of_train_is_split_off_and_test_stays(tmp_path, cache):
    class_folders(tmp_path / "set" / "train", {"a": 16, "b": 16})
    class_folders(tmp_path / "set" / "test", {"a": 3, "b": 3})
    spec = resolve_dataset(str(tmp_path / "set"), cache_dir=cache)
    assert _sizes(spec) == {"train": 28, "val": 4, "test": 6}
    train, val = (set(open_split(spec, split, cache_dir=cache).ids) for split in ("train", "val"))
    assert not train & val and all(name.startswith("train/") for name in train | val)


def test_without_test_the_val_serves_as_test(tmp_path, cache):
    class_folders(tmp_path / "set" / "train", {"a": 16, "b": 16})
    class_folders(tmp_path / "set" / "val", {"a": 3, "b": 3})
    spec = resolve_dataset(str(tmp_path / "set"), cache_dir=cache)
    assert _sizes(spec) == {"train": 28, "val": 4, "test": 6}
    assert all(name.startswith("val/") for name in open_split(spec, "test", cache_dir=cache).ids)


def test_the_fingerprint_follows_content_and_names_never_the_place(tmp_path, cache):
    root = class_folders(tmp_path / "one", {"a": 5, "b": 5})
    before = resolve_dataset(str(root), cache_dir=cache).fingerprint
    moved = shutil.copytree(root, tmp_path / "elsewhere" / "two")
    assert resolve_dataset(str(moved), cache_dir=cache).fingerprint == before
    (moved / "a" / "000.jpg").rename(moved / "b" / "900.jpg")
    relabelled = resolve_dataset(str(moved), cache_dir=cache).fingerprint
    assert relabelled != before
    with (root / "a" / "000.jpg").open("r+b") as file:
        file.seek(200)
        file.write(b"\x00\x01")
    assert resolve_dataset(str(root), cache_dir=cache).fingerprint not in (before, relabelled)


def test_data_that_change_after_planning_are_refused(tmp_path, cache):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    spec = resolve_dataset(str(root), cache_dir=cache)
    (root / "a" / "000.jpg").unlink()
    with pytest.raises(DataError, match="changed since the job was planned"):
        open_split(spec, "train", cache_dir=cache)


def test_a_link_that_leaves_the_folder_is_refused(tmp_path, cache):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    outside = class_folders(tmp_path / "outside", {"secret": 1})
    link = root / "a" / "link.jpg"
    link.symlink_to(outside / "secret" / "000.jpg")
    with pytest.raises(DataError, match="leads out of the data set"):
        resolve_dataset(str(root), cache_dir=cache)
    link.unlink()
    (root / "c").symlink_to(outside / "secret")
    with pytest.raises(DataError, match="leads out of the data set"):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_link_to_a_folder_above_itself_does_not_loop(tmp_path, cache):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    (root / "a" / "again").symlink_to(root)
    with pytest.raises(DataError, match="above itself"):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_link_within_the_folder_is_followed(tmp_path, cache):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    (root / "b" / "extra.jpg").symlink_to(root / "b" / "000.jpg")
    assert sum(_sizes(resolve_dataset(str(root), cache_dir=cache, copies="keep")).values()) == 11


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({"train/a": 2, "training/a": 2}, "both"),
        ({"train/a": 4, "test/a": 2, "test/b": 2}, "no training picture for the classes b"),
        ({"pictures": 0}, "no class folder with pictures"),
        ({"train": 3}, "no class folder with pictures"),
    ],
)
def test_a_layout_that_is_none_is_named(tmp_path, cache, layout, words):
    for name, count in layout.items():
        class_folders(tmp_path / "set", {name: count})
    with pytest.raises(DataError, match=words):
        resolve_dataset(str(tmp_path / "set"), cache_dir=cache)


def test_imagenet_folders_map_to_the_pretrained_heads_classes(tmp_path, cache):
    root = class_folders(tmp_path / "photos", {"n01440764": 2, "n07753592": 3})
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert _sizes(spec) == {"test": 5}
    assert wnid_labels(spec.classes).tolist() == [0, 954]
    with pytest.raises(DataError, match="no split 'train'"):
        open_split(spec, "train", cache_dir=cache)
    assert _sizes(resolve_dataset(f"folder:{root}", cache_dir=cache)) == {"train": 2, "val": 1, "test": 2}
    assert _sizes(resolve_dataset(f"imagenet:{root}", cache_dir=cache)) == {"test": 5}


def test_a_json_file_beside_class_folders_makes_no_coco_set(tmp_path, cache):
    for split in ("train", "test"):
        class_folders(tmp_path / "set" / split, {"a": 3, "b": 3})
        (tmp_path / "set" / f"{split}.json").write_text("{}")
    assert resolve_dataset(str(tmp_path / "set"), cache_dir=cache).kind == "imagefolder"


def test_only_imagenet_pictures_that_may_be_training_pictures_are_flagged(tmp_path, cache):
    classes = {"n01440764": 20, "n07753592": 20}
    flat = class_folders(tmp_path / "flat", classes)
    for split in ("train", "val"):
        class_folders(tmp_path / "split" / split, classes)
    class_folders(tmp_path / "alone" / "train", classes)

    def overlaps(name):
        return resolve_dataset(name, cache_dir=cache).overlaps

    assert "ImageNet-1k" in overlaps(f"folder:{flat}") and "ImageNet-22k" in overlaps(str(tmp_path / "alone"))
    assert overlaps(str(flat)) == overlaps(f"imagenet:{flat}") == overlaps(str(tmp_path / "split")) == ()


def test_the_wnid_list_is_timms_and_an_unknown_wnid_is_named():
    from timm.data import ImageNetInfo

    assert list(wnids()) == ImageNetInfo().label_names()
    with pytest.raises(DataError, match=r"'n01440765'.*Did you mean"):
        wnid_labels(["n01440764", "n01440765"])
    with pytest.raises(DataError, match="'tench'"):
        wnid_labels(["tench"])


def test_a_second_resolve_reads_no_file(tmp_path, cache, monkeypatch):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    age(root)
    first = resolve_dataset(str(root), cache_dir=cache)

    def refuse(path, size):
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("bob.data.fingerprint._edge_digest", refuse)
    assert resolve_dataset(str(root), cache_dir=cache) == first
    monkeypatch.undo()
    read = []
    real = __import__("bob.data.fingerprint", fromlist=["x"])._edge_digest
    (root / "a" / "000.jpg").write_bytes((root / "a" / "001.jpg").read_bytes())
    monkeypatch.setattr(
        "bob.data.fingerprint._edge_digest", lambda path, size: read.append(Path(path).name) or real(path, size)
    )
    assert resolve_dataset(str(root), cache_dir=cache).fingerprint != first.fingerprint
    assert set(read) == {"000.jpg"}


def test_a_damaged_fingerprint_cache_is_made_anew(tmp_path, cache, caplog):
    root = class_folders(tmp_path / "set", {"a": 5, "b": 5})
    age(root)
    first = resolve_dataset(str(root), cache_dir=cache)
    for path in (cache / "datasets").glob("*.json"):
        path.write_text("{half a fi")
    assert resolve_dataset(str(root), cache_dir=cache) == first
    assert "is damaged" in caplog.text


def test_a_missing_folder_is_a_missing_data_set(tmp_path, cache):
    with pytest.raises(DataMissingError, match="nowhere"):
        resolve_dataset(str(tmp_path / "nowhere"), cache_dir=cache)


def test_a_class_of_one_picture_in_an_undivided_folder_is_said_to_be_never_tested(tmp_path, cache, caplog):
    root = class_folders(tmp_path / "set", {"cat": 10, "dog": 10, "eel": 1, "owl": 2})
    resolve_dataset(str(root), cache_dir=cache)
    assert "Classes of one picture alone, 1 of them, are never tested: eel." in caplog.text
