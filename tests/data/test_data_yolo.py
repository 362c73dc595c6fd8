"""Data sets in YOLO's format: every layout is read, and every box and mask is where its line says."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from data_helpers import age, class_folders, mask_folders, picture
from PIL import Image
from yolo_toys import LINES, SIZE, YAML, labelled, yolo_folder

from bob.core.errors import DataError, DataMissingError
from bob.data import yolo_parse
from bob.data.dense_pictures import open_dense
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset

COUNTS = {"train": 16, "val": 3, "test": 4}
THREE = ("train", "val", "test")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def resolved(root, cache, prefix=""):
    return resolve_dataset(f"{prefix}{root}", cache_dir=cache)


def opened(root, cache, split="train", annotation="boxes"):
    return open_dense(resolved(root, cache), split, annotation=annotation, cache_dir=cache)


def test_boxes_are_the_pixels_that_the_shares_say(root, cache):
    rng = np.random.default_rng(3)
    shares = np.concatenate([rng.uniform(0.3, 0.7, (50, 2)), rng.uniform(0.05, 0.5, (50, 2))], axis=1)
    labels = rng.integers(0, 2, 50)
    yolo_folder(root, {"train": 2, "val": 2, "test": 1})
    lines = [f"{k} {' '.join(map(repr, row))}" for k, row in zip(labels.tolist(), shares.tolist(), strict=True)]
    (root / "labels/test/200.txt").write_text("\n".join(lines))
    picture(9, (640, 480)).save(root / "images/test/200.png")
    test = opened(root, cache, "test")
    found = test.instances(0)
    x, y, w, h = (shares * [640, 480, 640, 480]).T
    expected = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    assert np.abs(found.boxes - expected).max() < 1e-9 and found.labels.tolist() == labels.tolist()
    assert np.allclose(found.area, w * h) and not found.crowd.any() and found.masks is None
    assert test.sizes.tolist() == [[480, 640]] and test.classes == ("cell", "blob")


def test_a_set_and_its_conversion_to_coco_hold_the_same_objects(tmp_path, root, cache):
    yolo_folder(root, COUNTS, lines=LINES + "1 0.1 0.2 0.6 0.25 0.55 0.9 0.2 0.8\n")
    content = {"images": [], "annotations": [], "categories": [{"id": 0, "name": "cell"}, {"id": 1, "name": "blob"}]}
    width, height = SIZE
    for index, path in enumerate(sorted((root / "labels/test").iterdir()), start=1):
        content["images"].append({"id": index, "file_name": f"{path.stem}.png", "width": width, "height": height})
        for line in path.read_text().splitlines():
            number, *values = map(float, line.split())
            entry = {"image_id": index, "id": len(content["annotations"]) + 1, "category_id": int(number), "iscrowd": 0}
            if len(values) == 4:
                x, y, w, h = np.multiply(values, (width, height, width, height))
                entry |= {"bbox": [x - w / 2, y - h / 2, w, h], "area": w * h}
            else:
                entry["segmentation"] = [np.multiply(values, (width, height) * 4).tolist()]
            content["annotations"].append(entry)
    other = tmp_path / "coco"
    other.mkdir()
    (root / "images/test").rename(other / "test")
    (other / "test.json").write_text(json.dumps(content))
    theirs = open_dense(resolved(other, cache), "test", annotation="boxes", cache_dir=cache)
    (other / "test").rename(root / "images/test")
    ours = opened(root, cache, "test")
    assert len(ours) == len(theirs) == 4
    for index in range(4):
        one, two = ours.instances(index), theirs.instances(index)
        assert np.abs(one.boxes - two.boxes).max() < 1e-9 and np.abs(one.area - two.area).max() < 1e-9
        assert one.labels.tolist() == two.labels.tolist() == [0, 1, 1]


def test_a_polygon_is_a_mask_as_pycocotools_draws_it_and_its_box_is_the_masks(root, cache):
    from pycocotools.mask import decode, frPyObjects

    yolo_folder(root, COUNTS, lines="0 0.1 0.2 0.6 0.25 0.55 0.9 0.2 0.8\n1 0.5 0.5 0.8 0.5 0.65 0.9\n")
    with (root / "labels/train/000.txt").open("a") as file:
        file.write("0 0.5 0.5 0.2 0.2\n")
    spec = resolved(root, cache)
    assert spec.annotations == ("boxes", "instances", "multilabel")
    val = opened(root, cache, "val", "instances")
    found = val.instances(0)
    polygon = np.multiply([0.1, 0.2, 0.6, 0.25, 0.55, 0.9, 0.2, 0.8], SIZE * 4).tolist()
    expected = decode(frPyObjects([polygon], SIZE[1], SIZE[0]))[..., 0]
    assert (decode(found.masks[0]) == expected).all() and found.area[0] == expected.sum()
    rows, columns = np.nonzero(expected)
    assert found.boxes[0].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (val.faults, val.repaired) == ({}, {})
    assert [len(opened(root, cache, "train", kind).instances(0)) for kind in ("boxes", "instances")] == [3, 2]
    assert opened(root, cache, "train", "instances").faults == {"no mask": 1}


def _split_first(root):
    for place, (split, count) in enumerate(COUNTS.items()):
        folder = root / split.replace("val", "valid")
        labelled(folder / "images", folder / "labels", count, first=100 * place)
    (root / "README.roboflow.txt").write_text("exported\n")


def _roboflow(root):
    _split_first(root)
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (root / "data.yaml").write_text(f"{places}\nnc: 2\nnames: ['cell', 'blob']\nroboflow:\n  version: 2\n")


def _roboflow_without_yaml(root):
    _split_first(root)
    (root / "classes.txt").write_text("cell\nblob\n")


def _beside(root):
    for place, (split, count) in enumerate(COUNTS.items()):
        labelled(root / split, root / split, count, first=100 * place)
        (root / split / "_darknet.labels").write_text("cell\nblob\n")


def _years(root):
    yolo_folder(root, {f"{split}2017": count for split, count in COUNTS.items()}, yaml=None)
    (root / "labels/classes.txt").write_text("cell\nblob\n")


def _lists(root):
    labelled(root / "images", root / "labels", sum(COUNTS.values()))
    (root / "obj.names").write_text("cell\nblob\n")
    names = iter(sorted((root / "images").iterdir()))
    for split, count in COUNTS.items():
        (root / f"{split}.txt").write_text("".join(f"data/images/{next(names).name}\n" for _ in range(count)))


def _yaml_lists(root):
    _lists(root)
    (root / "sets").mkdir()
    for split in THREE:
        text = (root / f"{split}.txt").read_text().replace("data/images", "../images")
        (root / "sets" / f"{split}.txt").write_text(text)
        (root / f"{split}.txt").unlink()
    text = "".join(f"{split}: sets/{split}.txt\n" for split in THREE)
    (root / "coco.yaml").write_text(f"path: /data/elsewhere\n{text}names: [cell, blob]\n")


def _folders(root):
    labelled(root / "a/images", root / "a/labels", 10)
    labelled(root / "b/images", root / "b/labels", 6, first=50)
    labelled(root / "c/images", root / "c/labels", 3, first=200)
    labelled(root / "d/images", root / "d/labels", 4, first=300)
    (root / "my.yml").write_text(
        f"path: {root}\ntrain: [a/images, {root}/b/images]\nval: c/images\ntest: d\nnames: {{0: cell, 1: blob}}\n"
    )


def _foreign(root):
    yolo_folder(root, COUNTS)
    text = "".join(f"{split}: /kaggle/input/cells/images/{split}\n" for split in THREE)
    (root / "data.yaml").write_text(f"{text}names:\n- cell\n- blob\n")


@pytest.mark.parametrize(
    "make",
    [
        *(lambda root: yolo_folder(root, COUNTS), _roboflow, _roboflow_without_yaml, _beside, _years),
        *(_lists, _yaml_lists, _folders, _foreign),
    ],
)
def test_each_layout_is_recognised(root, cache, make):
    make(root)
    spec = resolved(root, cache)
    assert (spec.kind, spec.name, spec.classes) == ("yolo", "set", ("cell", "blob"))
    assert spec.annotations == ("boxes", "multilabel") and dict(spec.sizes) == COUNTS
    assert spec == resolved(root, cache, "yolo:")
    for split in THREE:
        part = opened(root, cache, split)
        assert (part.faults, part.repaired, part.dropped) == ({}, {}, ())
        assert all(part.instances(index).labels.tolist() == [0, 1] for index in range(len(part)))
        assert part.load(0).size == SIZE and part.instances(0).boxes.min() >= 0


@pytest.mark.parametrize("places", [("images", "labels"), (".", "."), ("images", "images"), ("obj_train_data",) * 2])
def test_an_undivided_folder_is_split(root, cache, places):
    labelled(root / places[0], root / places[1], 20)
    (root / "obj.names").write_text("cell\nblob\n")
    spec = resolved(root, cache)
    assert spec.kind == "yolo" and dict(spec.sizes) == {"train": 14, "val": 2, "test": 4}


def test_the_description_itself_names_the_set_and_one_of_two_is_chosen_so(root, cache):
    yolo_folder(root, COUNTS)
    folder = resolved(root, cache)
    named = resolved(root / "data.yaml", cache)
    assert named.fingerprint == folder.fingerprint and named.root == folder.root
    assert len(open_dense(named, "test", annotation="boxes", cache_dir=cache)) == 4
    (root / "data.yaml").rename(root / "two.yaml")
    (root / "one.yml").write_text("train: images/train\nval: images/test\nnames: {0: round, 1: long}\n")
    with pytest.raises(DataError, match=r"several files that describe boxes: one\.yml, two\.yaml"):
        resolved(root, cache)
    one = resolved(root / "one.yml", cache)
    assert one.classes == ("round", "long") and dict(one.sizes)["test"] == 4 and one.fingerprint != folder.fingerprint
    assert len(open_dense(one, "test", annotation="boxes", cache_dir=cache)) == 4


def test_names_are_texts_as_they_are_written_and_gaps_in_the_ids_stay(root, cache):
    yolo_folder(root, COUNTS, lines="3 0.5 0.5 0.3 0.4\n5 0.5 0.5 0.2 0.2\n", yaml="names: {5: 12, 3: no, 4: 'null'}\n")
    spec = resolved(root, cache)
    assert spec.classes == ("no", "null", "12")
    assert opened(root, cache).instances(0).labels.tolist() == [0, 2]


def test_without_names_classes_are_numbered_and_it_says_what_would_name_them(root, cache, caplog):
    yolo_folder(root, COUNTS, yaml=None)
    assert resolved(root, cache).classes == ("class_0", "class_1")
    assert "nothing names the classes: they are called class_0, class_1" in caplog.text
    (root / "data.yaml").write_text("nc: 3\n")
    assert resolved(root, cache).classes == ("class_0", "class_1", "class_2")


def test_pictures_without_a_label_file_or_with_an_empty_one_hold_no_object(root, cache):
    yolo_folder(root, COUNTS)
    (root / "labels/test/200.txt").unlink()
    (root / "labels/test/201.txt").write_text(" \n\n")
    test = opened(root, cache, "test")
    assert [len(test.instances(index)) for index in range(4)] == [0, 0, 2, 2] and test.faults == {}


def test_a_fingerprint_moves_with_the_folder_and_changes_with_a_digit_a_name_or_a_split(tmp_path, root, cache):
    yolo_folder(root, COUNTS)
    first = resolved(root, cache).fingerprint
    moved = root.rename(tmp_path / "moved")
    (moved / "data.yaml").write_text(YAML.replace("path: .", f"path: {root}"))
    assert resolved(moved, cache).fingerprint == first
    seen = {first}
    label = moved / "labels/train/003.txt"
    for path, text in (
        (label, LINES.replace("0.4", "0.41")),
        (moved / "data.yaml", YAML.replace("blob", "drop")),
        (moved / "data.yaml", YAML.replace("test: images/test\n", "")),
    ):
        path.write_text(text)
        seen.add(resolved(moved, cache).fingerprint)
    assert len(seen) == 4


def test_labels_are_parsed_once_per_content_and_a_changed_set_is_not_read_as_planned(root, cache, monkeypatch):
    yolo_folder(root, COUNTS)
    age(root)
    spec = resolved(root, cache)
    monkeypatch.setattr(yolo_parse, "parse_yolo", lambda *_: pytest.fail("parsed again"))
    assert resolved(root, cache) == spec and len(opened(root, cache)) == 16
    monkeypatch.undo()
    (root / "labels/train/000.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match="changed since the job was planned"):
        open_dense(spec, "train", annotation="boxes", cache_dir=cache)


def test_a_picture_that_its_exif_data_turn_has_the_size_of_the_turned_one(root, cache):
    yolo_folder(root, COUNTS)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, (60, 20)).save(root / "images/test/200.jpg", exif=exif)
    (root / "images/test/200.png").unlink()
    test = opened(root, cache, "test")
    assert test.sizes[0].tolist() == [60, 20] and test.load(0).size == (20, 60)
    assert test.instances(0).boxes[0].tolist() == pytest.approx([7, 18, 13, 42])


def test_planning_imports_nothing_heavy(root, cache):
    yolo_folder(root, COUNTS)
    code = (
        "import sys, pathlib; from bob.data.resolve import resolve_dataset; "
        f"resolve_dataset({str(root)!r}, cache_dir=pathlib.Path({str(cache)!r})); "
        "print(sorted({'torch', 'torchvision', 'pandas', 'pyarrow', 'scipy', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_was_read_otherwise_before_still_is(tmp_path, cache):
    masks = mask_folders(tmp_path / "masks", {"train": 4, "test": 4})
    (masks / "data.yaml").write_text(YAML)
    assert resolved(masks, cache).kind == "masks"
    classes = class_folders(tmp_path / "classes", {"cat": 4, "dog": 4})
    (classes / "classes.txt").write_text("cat\ndog\n")
    (classes / "cat" / "000.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    labelled(classes, classes, 1)
    assert resolved(classes, cache).kind == "imagefolder"
    root = yolo_folder(tmp_path / "yolo", COUNTS)
    assert resolved(root, cache, "folder:").kind == "imagefolder"
    assert resolve_dataset(str(root), cache_dir=cache, labelled=False).kind == "imagefolder"


def test_as_labelled_pictures_it_is_refused_and_what_is_not_there_is_missing(root, cache):
    yolo_folder(root, COUNTS)
    with pytest.raises(DataError, match="has boxes for each picture, not a class"):
        open_split(resolved(root, cache), "train", annotation="label", cache_dir=cache)
    with pytest.raises(DataMissingError, match="is not there"):
        resolved(root / "nowhere", cache, "yolo:")
