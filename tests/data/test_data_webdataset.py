"""Tar files are read in place: shards of samples with labels, or class folders; what cannot be right is refused."""

from __future__ import annotations

import json
import random
import tarfile

import numpy as np
import pytest
from archive_helpers import class_files, jpeg, shard, tar_file

from bob.core.errors import BobError, DataError
from bob.data import tar_members
from bob.data.archive_layout import is_webdataset
from bob.data.archive_members import MemberList
from bob.data.check import bad_pictures
from bob.data.pictures import open_split
from bob.data.readers import READERS
from bob.data.resolve import resolve_dataset
from bob.data.webdataset_samples import key_of


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def resolved(path, cache, prefix=""):
    return resolve_dataset(f"{prefix}{path}", cache_dir=cache)


def labels_of(spec, split, cache):
    pictures = open_split(spec, split, cache_dir=cache)
    return [spec.classes[label] for label in pictures.labels]


def test_shards_are_joined_by_split_and_named_by_the_list_beside(root, cache):
    shard(root / "train-000000.tar", [0, 1, 0, 1])
    shard(root / "train-000001.tar", [1, 0, 1, 0], seed=50)
    shard(root / "val-000000.tar", [1, 0], seed=90)
    shard(root / "imagenet-test-0000.tar", ["0", " 1\n"], seed=95)
    (root / "classnames.txt").write_text("cat\ndog\nbird\n")
    spec = resolved(root, cache)
    assert (spec.kind, spec.classes, spec.classes_present) == ("webdataset", ("cat", "dog", "bird"), 2)
    assert dict(spec.sizes) == {"train": 8, "val": 2, "test": 2}
    train = open_split(spec, "train", cache_dir=cache)
    assert train.labels.tolist() == [0, 1, 0, 1, 1, 0, 1, 0]
    assert train.ids[4] == "train-000001.tar/00000.jpg" and train.load(4).size == (40, 30)
    assert labels_of(spec, "val", cache) == ["dog", "cat"] and not bad_pictures(spec, cache)


def test_each_picture_is_the_one_of_its_key(root, cache):
    files = {f"{index:03d}.jpg": jpeg(index) for index in range(6)}
    files |= {f"{index:03d}.cls": str(index % 2).encode() for index in reversed(range(6))}
    spec = resolved(tar_file(root / "train.tar", files).parent, cache)
    for split, _ in spec.sizes:
        pictures = open_split(spec, split, cache_dir=cache)
        for index, name in enumerate(pictures.ids):
            number = int(name[-7:-4])
            expected = np.asarray(pictures.load(index))
            assert pictures.labels[index] == number % 2
            tar_file(root.parent / "one.tar", {"a/x.jpg": files[f"{number:03d}.jpg"]})
            assert expected.shape == (30, 40, 3)


def test_splits_may_be_folders_of_shards(root, cache):
    for split in ("train", "validation"):
        shard(root / split / "00000.tar", [0, 1] * 8)
    assert dict(resolved(root, cache).sizes) == {"train": 14, "val": 2, "test": 16}


def test_one_tar_file_is_divided(root, cache, caplog):
    spec = resolved(shard(root / "train-000000.tar", [3, 7] * 10), cache)
    assert spec.classes == ("3", "7") and dict(spec.sizes) == {"train": 14, "val": 2, "test": 4}
    assert "the classes are called by their numbers" in caplog.text


def test_names_in_json_decide_whatever_the_numbers(root, cache):
    shard(
        root / "train.tar", [{"label": 1, "class_name": "dog"}, {"label": 0, "class_name": "cat"}] * 4, extension="json"
    )
    shard(root / "val.tar", [{"label": "cat"}, {"label": "dog"}], extension="json")
    shard(root / "test.tar", [{"label": 1}, {"label": 0.0}], extension="json")
    spec = resolved(root, cache)
    assert spec.classes == ("cat", "dog")
    assert labels_of(spec, "train", cache)[:2] == ["dog", "cat"]
    assert labels_of(spec, "val", cache) == ["cat", "dog"] and labels_of(spec, "test", cache) == ["dog", "cat"]


def test_names_and_numbers_that_disagree_are_refused(root, cache):
    shard(root / "train.tar", [{"label": 0, "class_name": "cat"}, {"label": 1, "class_name": "dog"}], extension="json")
    shard(root / "test.tar", [{"label": 1, "class_name": "cat"}, {"label": 0, "class_name": "dog"}], extension="json")
    with pytest.raises(DataError, match="names and numbers of classes disagree"):
        resolved(root, cache)


@pytest.mark.parametrize(
    "content",
    [
        {"features": {"jpg": {"_type": "Image"}, "cls": {"names": ["cat", "dog"], "_type": "ClassLabel"}}},
        {"classes": {"1": "dog", "0": "cat"}},
        ["cat", "dog"],
    ],
)
def test_names_are_found_in_a_dataset_info(root, cache, content):
    shard(root / "train.tar", [0, 1] * 4)
    (root / "dataset_info.json").write_text(json.dumps(content))
    before = resolved(root, cache)
    assert before.classes == ("cat", "dog")
    (root / "dataset_info.json").write_text(json.dumps(content).replace("dog", "fox"))
    assert resolved(root, cache).fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat\n", "a label is 1, but there are 1 class names"),
        ("cat\n\ndog", "the name of class 1 is ''"),
        ("", "the name of class 0 is ''"),
        ("cat\nCAT", "'CAT' and 'cat' differ in case"),
        ("\0\1\n\2", "the name of class 0 is"),
    ],
)
def test_a_list_of_names_that_cannot_be_right_is_refused(root, cache, text, words):
    shard(root / "train.tar", [0, 1] * 4)
    (root / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        resolved(root, cache)


def test_a_name_listed_twice_is_two_classes(root, cache):
    shard(root / "train.tar", [0, 1, 2] * 4)
    (root / "classes.txt").write_text("crane\nfox\ncrane\n")
    assert resolved(root, cache).classes == ("crane (0)", "fox", "crane (2)")


def test_texts_are_names_where_they_repeat_and_captions_are_refused(root, cache):
    shard(root / "a" / "train.tar", ["cat", "dog"] * 5, extension="txt")
    assert resolved(root / "a", cache).classes == ("cat", "dog")
    shard(root / "b" / "train.tar", [f"a picture of {index} cats" for index in range(10)], extension="txt")
    with pytest.raises(DataError, match="10 samples have 10 different texts as labels: these look like captions"):
        resolved(root / "b", cache)


def test_a_caption_beside_a_class_is_no_label(root, cache):
    files = {}
    for index in range(8):
        files |= {
            f"{index}.jpg": jpeg(index),
            f"{index}.txt": f"number {index}".encode(),
            f"{index}.cls": b"%d" % (index % 2),
        }
    assert resolved(tar_file(root / "x.tar", files), cache).classes == ("0", "1")


@pytest.mark.parametrize("label", [None, "", "-1", "1.5", "nan", "1e999", "9" * 30, "\x00"])
def test_samples_without_a_class_are_left_out_by_name_until_they_are_too_many(root, cache, caplog, label):
    shard(root / "train.tar", [0, 1] * 20 + [label])
    spec = resolved(root, cache)
    assert spec.classes == ("0", "1") and sum(count for _, count in spec.sizes) == 40
    assert "1 samples of split train have no class and are left out: 00040.jpg" in caplog.text
    shard(root / "train.tar", [0, 1] * 20 + [label] * 3)
    with pytest.raises(DataError, match="3 of 43 samples of split train have no class"):
        resolved(root, cache)


def test_a_test_split_with_hidden_labels_is_left_out(root, cache, caplog):
    shard(root / "train.tar", [0, 1] * 8)
    shard(root / "val.tar", [0, 1])
    shard(root / "test.tar", [-1, -1])
    assert dict(resolved(root, cache).sizes) == {"train": 14, "val": 2, "test": 2}
    assert "labels of split test are hidden" in caplog.text


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {"1.jpg": b"", "1.seg.png": b"", "1.cls": b"0"},
            "the sample '1' has several pictures, '1.jpg' and '1.seg.png'",
        ),
        ({"1.jpg": b"", "1.JPG": b"", "1.cls": b"0"}, "holds two files '1.JPG'"),
        ({"1.cls": b"0"}, "its files are: 1 .cls"),
        ({"images/1.jpg": b"", "labels/1.txt": b""}, "holds boxes like YOLO's"),
        ({"../1.jpg": b"", "1.cls": b"0"}, "leads out"),
        ({"/1.jpg": b""}, "leads out"),
        ({}, "its files are: nothing"),
    ],
)
def test_a_tar_file_of_something_else_is_refused(root, cache, files, words):
    with pytest.raises(DataError, match=words):
        resolved(tar_file(root / "x.tar", files), cache)


def test_train_must_have_every_class(root, cache):
    shard(root / "train.tar", [0, 1] * 4)
    shard(root / "test.tar", [0, 1, 2])
    with pytest.raises(DataError, match="no training picture for the classes 2, which test has"):
        resolved(root, cache)


def test_a_tar_of_class_folders_is_read_as_folders_are(root, cache):
    path = tar_file(
        root / "pets.tar", class_files({"p/train/cat": 8, "p/train/dog": 8, "p/test/cat": 2, "p/test/dog": 2})
    )
    spec = resolved(path, cache)
    assert (spec.kind, spec.classes, dict(spec.sizes)) == (
        "webdataset",
        ("cat", "dog"),
        {"train": 14, "val": 2, "test": 4},
    )
    assert open_split(spec, "test", cache_dir=cache).ids[0] == "test/cat/000.jpg" and not bad_pictures(spec, cache)
    for split in ("train", "test"):
        tar_file(root / "two" / f"{split}.tar", class_files({"./cat": 8, "./dog": 8}))
    assert dict(resolved(root / "two", cache).sizes) == {"train": 14, "val": 2, "test": 16}


@pytest.mark.parametrize(
    ("name", "mode"), [("train.tar.gz", "w:gz"), ("train.tgz", "w:gz"), ("train.tar.xz", "w:xz"), ("train.tar", "w:gz")]
)
def test_compressed_tars_are_refused(root, cache, name, mode):
    path = tar_file(root / name, class_files({"cat": 2, "dog": 2}), mode=mode)
    for target in (path, root):
        with pytest.raises(DataError, match="compressed tars cannot be read by place") as error:
            resolved(target, cache)
        assert "take the compression off" in str(error.value.hint)


def test_a_tar_that_breaks_off_is_refused_and_not_taken_for_a_shorter_one(root, cache):
    path = shard(root / "train.tar", [0, 1] * 6)
    content = path.read_bytes()
    path.write_bytes(content[:8500])
    with pytest.raises(DataError, match="cannot be read as a tar file"):
        resolved(path, cache)
    with tarfile.open(shard(path, [0, 1] * 6)) as archive:
        place = archive.getmembers()[7].offset
    path.write_bytes(content[:place] + b"\xff" * 512 + content[place + 512 :])
    with pytest.raises(DataError, match=f"at byte {place} of "):
        resolved(path, cache)
    path.write_bytes(content + content)
    with pytest.raises(DataError, match="neither a file's header nor the end"):
        resolved(path, cache)


def test_links_in_a_tar_are_bad_pictures(root, cache):
    path = tar_file(root / "x.tar", class_files({"cat": 30, "dog": 30}))
    with tarfile.open(path, "a") as archive:
        for name, kind in (("cat/a.jpg", tarfile.SYMTYPE), ("dog/b.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    assert set(bad_pictures(resolved(path, cache), cache)) == {"cat/a.jpg", "dog/b.jpg"}


def test_a_folder_of_anything_more_than_archives_is_none(root):
    shard(root / "train.tar", [0])
    (root / "README.md").write_text("x")
    assert is_webdataset(root)
    (root / "a.jpg").write_bytes(b"")
    assert not is_webdataset(root)


def test_a_key_ends_at_the_first_dot_of_a_name():
    assert key_of("a.b/c.seg.PNG") == ("a.b/c", "seg.png") and key_of("x") == ("x", "")


def test_names_that_are_no_utf8_are_printable(root, cache):
    path = tar_file(root / "x.tar", {**class_files({"cat": 8, "dog": 8}), "cat/caf\udce9.jpg": jpeg(7)})
    spec = resolved(path, cache)
    ids = [name for split, _ in spec.sizes for name in open_split(spec, split, cache_dir=cache).ids]
    assert "cat/caf\\xe9.jpg" in ids


def test_a_shard_damaged_anywhere_is_refused_or_its_labels_are_classes(tmp_path):
    good = shard(
        tmp_path / "x.tar", [{"label": 0, "class_name": "cat"}, {"label": 1, "class_name": "dog"}], extension="json"
    )
    content, draw = good.read_bytes(), random.Random(0)
    values = ["null", "NaN", "1e999", "-1", "[[1]]", '"x"', "{}", "9" * 40, "[" * 500]
    for turn in range(500):
        damaged = bytearray(content)
        if turn % 5 == 0:
            damaged = damaged[: draw.randrange(len(damaged))]
        elif turn % 5 == 1:
            value = draw.choice(values).encode()
            place = content.index(b'{"label"', draw.choice([0, content.index(b'{"label"') + 1]))
            damaged[place : place + len(value)] = value
        else:
            for _ in range(draw.randrange(1, 5)):
                block = 512 * draw.randrange(len(damaged) // 512)
                damaged[block + draw.randrange(160)] = draw.randrange(256)
        path = tmp_path / "damaged" / "y.tar"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(damaged)
        try:
            tar_members.find_tar_members(path, 0, MemberList())
            spec = resolve_dataset(str(path), cache_dir=tmp_path / f"cache{turn}")
        except BobError:
            continue
        stored = READERS.get(spec.kind).open(spec, cache_dir=tmp_path / f"cache{turn}")
        for part in stored.values():
            assert ((part.labels >= 0) & (part.labels < len(spec.classes))).all()
