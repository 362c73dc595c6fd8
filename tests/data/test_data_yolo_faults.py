"""Bad data sets in YOLO's format: refused with the reason, or what is wrong left out and counted."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
from data_helpers import mask_folders, picture
from yolo_toys import LINES, SIZE, YAML, labelled, yolo_folder

from bob.core.errors import BobError, DataError
from bob.data.dense_pictures import open_dense
from bob.data.resolve import resolve_dataset
from bob.data.yolo_description import find_description
from bob.data.yolo_parse import parse_yolo
from bob.data.yolo_places import find_splits

COUNTS = {"train": 30, "val": 4, "test": 4}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return yolo_folder(tmp_path / "set", COUNTS)


def resolved(root, cache, prefix=""):
    return resolve_dataset(f"{prefix}{root}", cache_dir=cache)


def opened(root, cache, split="train", annotation="boxes", policy="skip"):
    spec = resolve_dataset(str(root), cache_dir=cache, policy=policy)
    return open_dense(spec, split, annotation=annotation, cache_dir=cache)


def rewritten(root, lines):
    for path in root.glob("labels/*/*.txt"):
        path.write_text(lines)


LEFT_OUT = {
    "class out of range": ("2 0.5 0.5 0.1 0.1", "an unknown class id"),
    "negative class": ("-1 0.5 0.5 0.1 0.1", "an unknown class id"),
    "class no whole number": ("0.5 0.5 0.5 0.1 0.1", "an unknown class id"),
    "class nan": ("nan 0.5 0.5 0.1 0.1", "an unknown class id"),
    "huge class": ("1e300 0.5 0.5 0.1 0.1", "an unknown class id"),
    "class name": ("cell 0.5 0.5 0.1 0.1", "a line that is no class and four numbers or more"),
    "three numbers": ("0 0.5 0.5 0.1", "a line that is no class and four numbers or more"),
    "commas": ("0,0.5,0.5,0.1,0.1", "a line that is no class and four numbers or more"),
    "underscore": ("0 0.5 0.5 0_1 0.1", "a line that is no class and four numbers or more"),
    "nan": ("0 nan 0.5 0.1 0.1", "a box that is not finite"),
    "infinite": ("0 0.5 0.5 inf 0.1", "a box that is not finite"),
    "no width": ("0 0.5 0.5 0 0.1", "a box with no area"),
    "outside": ("0 1.5 0.5 0.1 0.1", "a box outside its picture"),
    "confidence": ("0 0.5 0.5 0.1 0.1 0.9", "a box of five numbers"),
    "odd polygon": ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.2", "a polygon with an odd number of coordinates"),
    "polygon nan": ("0 0.1 nan 0.5 0.1 0.5 0.5", "a box that is not finite"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_line_that_cannot_be_right_is_left_out_named_and_counted(root, cache, caplog, case):
    line, reason = LEFT_OUT[case]
    (root / "labels/train/002.txt").write_text(LINES + line + "\n")
    train = opened(root, cache)
    assert train.faults == {reason: 1} and train.repaired == {} and train.dropped == ()
    assert sum(len(train.instances(index)) for index in range(30)) == 60
    assert "labels/train/002.txt, line 3" in caplog.text and reason in caplog.text
    with pytest.raises(DataError, match=rf"1 annotations are faulty: labels/train/002\.txt, line 3.*{reason}"):
        opened(root, cache, policy="error")


def test_a_box_partly_outside_is_clipped_and_a_doubled_line_counts_once(root, cache):
    (root / "labels/train/002.txt").write_text("0 0 0.5 0.5 0.5\n" + LINES + LINES[: LINES.index("\n")])
    train = opened(root, cache)
    assert train.faults == {} and train.repaired == {
        "a box partly outside its picture (clipped)": 1,
        "an object whose line stands twice (counted once)": 1,
    }
    assert train.instances(2).boxes[0].tolist() == [0, 7.5, 10, 22.5] and len(train.instances(2)) == 3


def test_classes_may_be_written_as_fractions(root, cache):
    (root / "labels/train/002.txt").write_bytes(
        b"\xef\xbb\xbf1.0 5.0e-01 .5 +0.25 0.5\r\n0.000000e+00 0.5 0.5 0.1 0.1\r\n"
    )
    found = opened(root, cache).instances(2)
    assert found.labels.tolist() == [1, 0] and found.boxes[0].tolist() == [15, 7.5, 25, 22.5]


def test_a_stray_label_file_is_counted_and_a_picture_with_a_broken_one_left_out(root, cache):
    (root / "labels/train/stray.txt").write_text(LINES)
    (root / "labels/train/classes.txt").write_text("cell\nblob\n")
    (root / "labels/train/003.txt").write_bytes(b"\xff\xfe\x00\x01")
    train = opened(root, cache)
    assert train.faults == {"a label file without a picture": 1}
    assert train.dropped == ("images/train/003.png",) and len(train) == 29


def test_a_picture_that_cannot_be_read_or_that_a_list_names_in_vain_is_left_out(root, cache):
    (root / "images/train/004.png").write_bytes(b"no picture")
    names = [f"./images/train/{index:03d}.png" for index in range(31)]
    (root / "train.txt").write_text("\n".join(names))
    (root / "data.yaml").write_text(YAML.replace("train: images/train", "train: train.txt"))
    with pytest.raises(DataError, match="more than 5%"):
        opened(root, cache)
    (root / "images/train/004.png").unlink()
    picture(4, SIZE).save(root / "images/train/004.png")
    assert opened(root, cache).dropped == ("images/train/030.png",)


CONVENTIONS = {
    "pixels": ("0 20 15 10 8\n1 8 9 10 10\n", "boxes have numbers above 1: they look like pixels"),
    "pixel corners": ("0 5 5 30 20\n", "they look like pixels"),
    "corners": ("0 0.1 0.2 0.5 0.6\n1 0.6 0.5 0.9 0.8\n", "they look like corners"),
    "left and top": ("0 0.05 0.2 0.5 0.2\n1 0.6 0.5 0.1 0.2\n", "they look like left, top, width, height"),
    "confidences": ("0 0.5 0.5 0.1 0.1 0.9\n0 0.5 0.5 0.2 0.1 0.8\n", "look like predictions with a confidence"),
    "polygons with one": ("0 0.1 0.1 0.5 0.1 0.5 0.5 0.9\n", "look like predictions with a confidence"),
    "keypoints": ("0 0.5 0.5 0.4 0.4 0.4 0.4 2 0.6 0.6 0\n", "look like boxes with keypoints"),
    "keypoint": ("0 0.5 0.5 0.4 0.4 0.4 0.4 2\n", "look like boxes with keypoints"),
}


@pytest.mark.parametrize("case", CONVENTIONS)
def test_a_split_in_another_convention_is_refused(root, cache, case):
    lines, reason = CONVENTIONS[case]
    rewritten(root, lines)
    with pytest.raises(DataError, match=reason) as error:
        resolved(root, cache)
    assert "class x_center y_center width height" in str(error.value.hint)


def test_large_boxes_and_boxes_at_the_edges_are_no_other_convention(root, cache):
    rewritten(root, "0 0.5 0.5 1 1\n1 0.5 0.55 0.9 0.9\n0 0.05 0.5 0.1 0.2\n1 0.95 0.9 0.1 0.2\n")
    assert opened(root, cache).repaired == {}


def test_oriented_boxes_are_polygons_of_four_points(root, cache):
    rewritten(root, "0 0.5 0.2 0.7 0.5 0.5 0.8 0.3 0.5\n1 0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3\n")
    assert resolved(root, cache).annotations == ("boxes", "instances", "multilabel")
    found = opened(root, cache).instances(0)
    assert np.abs(found.boxes - [[12, 6, 28, 24], [4, 3, 12, 9]]).max() <= 1


DESCRIPTIONS = {
    "poses": (YAML + "kpt_shape: [17, 3]\n", r"describes keypoints \(kpt_shape\)"),
    "count": (YAML + "nc: 3\n", "nc is 3, and names has 2"),
    "count no number": (YAML.replace("names", "other") + "nc: many\n", "nc is 'many'"),
    "a name twice": (YAML.replace("blob", "cell"), "'cell' stands for the classes 0 and 1"),
    "an id twice": (YAML.replace("  1:", "  0:"), "stands twice"),
    "no name": (YAML.replace("blob", ""), "class 1 has the name ''"),
    "names a text": ("train: images/train\nnames: cell\n", "names is 'cell'"),
    "id no number": (YAML.replace("  1:", "  one:"), "class id 'one'"),
    "nested": (YAML.replace("blob", "[a, b]"), r"class 1 has the name \['a', 'b'\]"),
    "out": (YAML.replace("images/val", "../other/val"), r"val is '\.\./other/val', and neither"),
    "absolute": (YAML.replace("images/val", "/etc"), "val is '/etc', and neither"),
    "number": (YAML.replace("images/val", "{a: 1}"), "val is"),
    "same": (YAML.replace("images/val", "images/train"), "picture images/train/000.png is in both train and val"),
    "cut off": (YAML + "more: [1, 2", "not valid YAML"),
    "cycle": ("names: &a [*a]\ntrain: images/train\n", "nested too deeply"),
    "no text": (b"\xff\xfe\x00train: names:\nnames: \ntrain: ", "no YAML text that can be read"),
    "other": ("a: 1\nb: 2\n", "describes no data set in YOLO's format"),
}


@pytest.mark.parametrize("case", DESCRIPTIONS)
def test_a_description_that_cannot_be_right_is_refused(root, cache, case):
    text, reason = DESCRIPTIONS[case]
    path = root / "data.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=reason):
        resolved(path, cache)


def test_a_test_split_that_is_not_there_is_left_out_and_an_unnamed_folder_said(root, cache, caplog):
    (root / "images/test").rename(root / "images/testing2")
    assert dict(resolved(root, cache).sizes) == {"train": 26, "val": 4, "test": 4}
    assert "names images/test for test, which is not there" in caplog.text
    (root / "images/testing2").rename(root / "images/test")
    (root / "data.yaml").write_text(YAML.replace("test: images/test\n", ""))
    assert dict(resolved(root, cache).sizes) == {"train": 26, "val": 4, "test": 4}
    assert "names no split for the folder test" in caplog.text


def _unlabelled_test(root):
    for path in (root / "labels/test").iterdir():
        path.unlink()


def _labels_twice(root):
    (root / "images/train/000.txt").write_text(LINES)


def _two_suffixes(root):
    picture(1, SIZE).save(root / "images/train/000.jpg")


def _names_differ(root):
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("cell\nblob\n")
    (root / "labels/classes.txt").write_text("blob\ncell\n")


def _nameless_line(root):
    (root / "data.yaml").unlink()
    (root / "classes.txt").write_text("cell\n\nblob\n")


def _splits_twice(root):
    (root / "data.yaml").unlink()
    labelled(root / "train/images", root / "train/labels", 2)


def _one_split_twice(root):
    (root / "data.yaml").unlink()
    labelled(root / "images/valid", root / "labels/valid", 2)


def _list_in_vain(root):
    (root / "train.txt").write_text("images/gone/1.png\n")
    (root / "data.yaml").write_text(YAML.replace("train: images/train", "train: train.txt"))


def _list_leads_out(root):
    (root / "train.txt").write_text("images/train/000.png\n/etc/x.png\n")
    (root / "data.yaml").write_text(YAML.replace("train: images/train", "train: train.txt"))


def _link_leads_out(root):
    (root.parent / "out").mkdir()
    (root / "images/val").rename(root.parent / "out/val")
    (root / "images/val").symlink_to(root.parent / "out/val")


def _class_that_train_lacks(root):
    for path in (root / "labels/train").iterdir():
        path.write_text("0 0.5 0.5 0.3 0.4\n")


FOLDERS = {
    "no labels": (_unlabelled_test, r"no picture of the split test has a label file; for images/test/200\.png"),
    "labels twice": (_labels_twice, "has label files in two places"),
    "two suffixes": (_two_suffixes, "have the same name but for the suffix"),
    "names differ": (_names_differ, "list different class names"),
    "nameless": (_nameless_line, "a class without a name"),
    "splits twice": (_splits_twice, "has splits twice: .*images/train.* and train/images"),
    "one split twice": (_one_split_twice, "holds both 'val' and 'valid'"),
    "list in vain": (_list_in_vain, "none of its 1 pictures"),
    "list leads out": (_list_leads_out, "'/etc/x.png' leads out of"),
    "link leads out": (_link_leads_out, "leads out of the data set's folder"),
    "untrained class": (_class_that_train_lacks, "no training object for the classes blob"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_nobody_can_read_rightly_is_refused(root, cache, case):
    spoil, reason = FOLDERS[case]
    spoil(root)
    with pytest.raises(DataError, match=reason):
        resolved(root, cache)


def test_maps_called_labels_and_class_folders_with_texts_are_not_taken_for_boxes(tmp_path, cache):
    maps = mask_folders(tmp_path / "maps", {"train": 4, "test": 4})
    texts = tmp_path / "texts"
    for split in ("train", "test"):
        (maps / split / "masks").rename(maps / split / "labels")
    for name in ("cat", "dog"):
        labelled(texts / name, texts / name, 4)
    assert resolved(maps, cache).kind == "masks"
    (maps / "train/labels/000.txt").write_text(LINES)
    (maps / "test/labels/000.txt").write_text(LINES)
    with pytest.raises(DataError, match="nobody can tell which of them is meant") as error:
        resolved(maps, cache)
    assert f"masks:{maps}" in str(error.value.hint) and f"yolo:{maps}" in str(error.value.hint)
    assert resolved(maps, cache, "yolo:").kind == "yolo"
    with pytest.raises(DataError, match="yolo:FOLDER"):
        resolved(texts, cache)
    assert resolved(texts, cache, "yolo:").kind == "yolo"
    captions = texts / "cat"
    for path in captions.glob("*.txt"):
        path.write_text("a cat on a mat\n")
    with pytest.raises(DataError, match="no class folder"):
        resolved(captions, cache)


WORDS = ["nan", "", "1e999", "-5", "null", "[1, [2]]", "../..", "999999999999999999999", "x" * 300, "\0", "~", "0.5"]


def _mutated(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0 and content:
        changed = bytearray(content)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        return bytes(changed)
    if kind == 1:
        return content[: rng.randrange(len(content) + 1)]
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    if kind == 2:
        return b"\n".join(lines[:place] + lines[place + 1 :])
    if kind == 3:
        return b"\n".join(lines[: place + 1] + lines[place:])
    words = lines[place].split(b" ")
    words[rng.randrange(len(words))] = rng.choice(WORDS).encode()
    lines[place] = b" ".join(words)
    return b"\n".join(lines)


def test_whatever_is_done_to_the_files_the_result_is_valid_or_an_error_that_says_why(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # caches that nobody needs after a power cut
    root = tmp_path / "set"
    polygons = [f"{k % 2} 0.1 0.{k} 0.6 0.25 0.55 0.9 0.2 0.8\n" for k in range(10, 35)]
    lines = "".join([LINES.splitlines(keepends=True)[0], *polygons])
    yaml = YAML.replace("test: images/test\n", "")
    yolo_folder(root, {"train": 2, "val": 1}, lines=lines, yaml=yaml)
    (root / "train.txt").write_text("images/train/000.png\nimages/train/001.png\n")
    (root / "lists.yaml").write_text(yaml.replace("images/train", "train.txt"))
    spoilt = (*root.glob("labels/*/*.txt"), *root.glob("*.yaml"), root / "train.txt")
    rng = random.Random(0)
    outcomes = {True: 0, False: 0}
    for turn in range(500):
        path = rng.choice(spoilt)
        content = path.read_bytes()
        path.write_bytes(_mutated(content, rng))
        named = path if path.suffix == ".yaml" else root / rng.choice(("data.yaml", "lists.yaml"))
        try:
            outcomes[_is_valid(named, cache) if turn % 10 == 0 else _parses(root, named.name)] += 1
        except BobError as error:
            outcomes[False] += 1
            assert len(error.message) > 20
        path.write_bytes(content)
    assert min(outcomes.values()) > 50


def _parses(root, file):
    said = find_description(root, file)
    found = find_splits(root, said)
    parsed = parse_yolo(root, found.splits, said.names or found.names, frozenset(one.path for one in found.entries))
    for part in parsed.splits.values():
        assert sum(part.trainable().values()) == len(part._boxes) == len(part._masks)
        assert all(0 <= label < len(parsed.classes) for label in part.trainable())
        _require_boxes(np.reshape(part._boxes, (-1, 4)), np.array(part._area))
    return True


def _is_valid(path, cache):
    spec = resolved(path, cache)
    for split, count in spec.sizes:
        part = open_dense(spec, split, annotation=spec.annotations[-1], cache_dir=cache)
        assert len(part) <= count and part.sizes.tolist() == [[30, 40]] * len(part)
        for index in range(len(part)):
            found = part.instances(index)
            assert ((found.labels >= 0) & (found.labels < len(spec.classes))).all()
            _require_boxes(found.boxes, found.area)
    return True


def _require_boxes(boxes, area):
    assert np.isfinite(boxes).all() and (boxes >= -1).all() and (boxes <= [41, 31] * 2).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (area > 0).all()
