"""COCO's JSON is found by what it holds, and its pictures wherever they usually lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_helpers import age, class_folders, coco_content, first_seed, picture

from bob.core.errors import DataError
from bob.data.coco_layout import coco_kinds, is_coco_by_content
from bob.data.coco_look import BLOCK_BYTES, coco_kind
from bob.data.dense_pictures import open_dense
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def write(root, file, folder, *, count=10, said="", tag="", masks=False):
    """Write a file about pictures that lie in ``folder``, whose names in it start with ``said``."""
    content = coco_content(count, masks=masks)
    for index, entry in enumerate(content["images"]):
        name = tag + entry["file_name"]
        entry["file_name"] = said + name
        (root / folder).mkdir(parents=True, exist_ok=True)
        picture(first_seed(folder, tag) + index).save(root / folder / name)
    put(root / file, content)
    return content


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def sizes(text, cache):
    spec = resolve_dataset(str(text), cache_dir=cache)
    assert spec.kind == "coco"
    return dict(spec.sizes)


DIVIDED = {"train": 7, "val": 1, "test": 2}
UNDIVIDED = {
    "CVAT": ("annotations/instances_default.json", "images", ""),
    "CVAT with a folder": ("annotations/instances_default.json", "images/default", ""),
    "Label Studio": ("result.json", "images/0", "images\\0\\"),
    "Label Studio, new": ("result.json", "images", "images/"),
    "plain": ("annotations.json", "images", ""),
    "coco": ("coco.json", "img", ""),
    "FiftyOne": ("labels.json", "data", ""),
    "Roboflow, one folder": ("_annotations.coco.json", ".", ""),
    "labels": ("labels/all.json", "pictures", ""),
    "beside": ("Annotations/objects.json", "Annotations", ""),
    "dotted": ("coco.json", "images", "./images/"),
    "by name": ("coco.json", "deep/er/batch", "/".join(["nowhere", "x", ""])),
}


@pytest.mark.parametrize("case", UNDIVIDED)
def test_one_file_of_no_split_is_undivided_data(root, cache, case):
    file, folder, said = UNDIVIDED[case]
    write(root, file, folder, said=said)
    assert sizes(root, cache) == DIVIDED
    spec = resolve_dataset(f"coco:{root}", cache_dir=cache)
    test = open_dense(spec, "test", annotation="boxes", cache_dir=cache)
    assert len(test.instances(0)) == 2 and test.load(0).size == (40, 30) and test.dropped == ()
    named = resolve_dataset(str(root / file), cache_dir=cache)
    assert (named.kind, named.fingerprint, named.sizes) == ("coco", spec.fingerprint, spec.sizes)
    assert open_dense(named, "test", annotation="boxes", cache_dir=cache).ids == test.ids


SPLITS = {
    "words": (("train_annotations.json", "train"), ("val_annotations.json", "val")),
    "in splits": (("train/labels.json", "train/data"), ("valid/labels.json", "valid/data")),
    "in splits' annotations": (
        ("train/annotations/a.json", "train/images"),
        ("test/annotations/a.json", "test/images"),
    ),
    "annotation": (("annotation/train_coco.json", "images/train"), ("annotation/test_coco.json", "images/test")),
    "lvis": (("lvis_v1_train.json", "train2017"), ("lvis_v1_val.json", "val2017")),
    "keypoints": (
        ("annotations/person_keypoints_train2017.json", "train2017"),
        ("annotations/person_keypoints_val2017.json", "val2017"),
    ),
}


@pytest.mark.parametrize("case", SPLITS)
def test_files_whose_names_or_folders_mean_splits_are_theirs(root, cache, case):
    for place, (file, folder) in enumerate(SPLITS[case]):
        write(root, file, folder, tag="ab"[place])
    assert sizes(root, cache) == {"train": 9, "val": 1, "test": 10}


def test_other_annotations_beside_instances_are_not_taken(root, cache):
    content = write(root, "annotations/instances_train.2017.json", "train", tag="a")
    write(root, "annotations/instances_test_set.json", "test", tag="b")
    others = {
        "person_keypoints_train2017": {"annotations": [{**e, "keypoints": [1, 2, 2]} for e in content["annotations"]]},
        "captions_train2017": {"annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]},
        "panoptic_train2017": {"annotations": [{"image_id": 1, "segments_info": [{"bbox": [0, 0, 1, 1]}]}]},
        "stuff_train2017": {},
        "image_info_test2017": {"annotations": None},
    }
    for name, change in others.items():
        put(root / "annotations" / f"{name}.json", {**content, **change})
    assert sizes(root, cache) == {"train": 9, "val": 1, "test": 10}


ALONE = {
    "captions": ("captions_val2017", {"annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}),
    "panoptic masks": (
        "panoptic_val2017",
        {"annotations": [{"image_id": 1, "segments_info": [{"bbox": [0, 0, 1, 1]}]}]},
    ),
    "stuff": ("stuff_val2017", {}),
}


@pytest.mark.parametrize("held", ALONE)
def test_captions_and_the_like_alone_are_refused_with_the_reason(root, cache, held):
    name, change = ALONE[held]
    content = write(root, "x.json", "val2017")
    (root / "x.json").unlink()
    put(root / "annotations" / f"{name}.json", {**content, **change})
    for text in (root, f"coco:{root}", root / "annotations" / f"{name}.json"):
        with pytest.raises(DataError, match=f"only annotations/{name}.json are here, with {held}: no boxes"):
            resolve_dataset(str(text), cache_dir=cache)
    assert resolve_dataset(str(root), cache_dir=cache, labelled=False).kind == "imagefolder"


def test_keypoints_alone_are_read_as_boxes_and_that_is_said(root, cache, caplog):
    write(root, "annotations/person_keypoints_default.json", "images")
    assert sizes(root, cache) == DIVIDED and "the keypoints are not" in caplog.text


def test_files_of_no_split_or_of_one_are_listed(root, cache):
    write(root, "annotations/batch1.json", "images", tag="a")
    write(root, "annotations/batch2.json", "images", tag="b")
    with pytest.raises(DataError, match=r"annotations/batch1\.json, annotations/batch2\.json.*means no split") as error:
        resolve_dataset(str(root), cache_dir=cache)
    assert "train.json, val.json and test.json" in str(error.value.hint)
    assert sizes(root / "annotations" / "batch1.json", cache) == DIVIDED
    for name in ("batch1", "batch2"):
        (root / "annotations" / f"{name}.json").rename(root / "annotations" / f"train_{name}.json")
    with pytest.raises(DataError, match=r"both annotations/train_batch1\.json, annotations/train_batch2\.json"):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_file_that_is_named_is_the_data_set_whatever_lies_beside_it(root, cache):
    write(root, "annotations/train.json", "images", tag="a")
    write(root, "annotations/val.json", "images", tag="b", count=5)
    spec = resolve_dataset(str(root / "annotations" / "val.json"), cache_dir=cache)
    assert (spec.name, spec.root, sum(dict(spec.sizes).values())) == ("set-val", str(root), 5)
    with pytest.raises(DataError, match="no COCO instances file"):
        put(root / "notes.json", {"a": 1})
        resolve_dataset(str(root / "notes.json"), cache_dir=cache)


def test_folders_that_may_be_classes_are_refused_with_both_readings(root, cache):
    class_folders(root, {"batch1": 4, "batch2": 4})
    content = coco_content(4)
    for entry in content["images"]:
        entry["file_name"] = f"batch1/{entry['file_name']}"
    put(root / "annotations" / "instances_default.json", content)
    with pytest.raises(DataError, match=r"'annotations/instances_default\.json' holds .*\(coco:FOLDER") as error:
        resolve_dataset(str(root), cache_dir=cache)
    assert f"folder:{root}" in str(error.value.hint)
    assert resolve_dataset(f"coco:{root}", cache_dir=cache).kind == "coco"


def test_a_large_file_is_known_by_a_few_blocks(root, cache, monkeypatch):
    content = coco_content(4)
    long = {"info": {"x": "y" * 2_000_000}, "categories": content["categories"], "tail": "z" * 100_000}
    content["annotations"] *= 20_000
    put(root / "a.json", {"info": long["info"], **content, "tail": long["tail"]})
    assert coco_kind(root / "a.json") == "boxes"
    read = []
    monkeypatch.setattr("bob.data.coco_look._OBJECT", _Counting(read))
    coco_kind(root / "a.json")
    assert (root / "a.json").stat().st_size > 10_000_000 and read[0] <= 8 * BLOCK_BYTES + 8


class _Counting:
    def __init__(self, read):
        self.read = read

    def match(self, content):
        self.read.append(len(content))


def test_a_folder_of_a_file_per_picture_is_not_looked_through(root):
    write(root, "x.json", "images")
    for index in range(60):
        put(root / f"{index}.json", {"shapes": [], "imagePath": f"{index}.jpg"})
    assert coco_kinds(root) == {} and not is_coco_by_content(root)


@pytest.mark.parametrize("content", ["[]", "{}", '[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]', "\0\xff{", ""])
def test_other_json_is_not_taken(root, content):
    root.mkdir()
    (root / "x.json").write_text(content)
    (root / "out.json").symlink_to("/etc/hostname")
    (root / "loop.json").symlink_to("loop.json")
    assert coco_kinds(root) == {}


def test_a_link_to_annotations_elsewhere_is_no_annotation_of_this_folder(root, cache, tmp_path):
    write(root, "a.json", "images")
    (root / "a.json").rename(tmp_path / "a.json")
    (root / "a.json").symlink_to(tmp_path / "a.json")
    assert not is_coco_by_content(root)
    with pytest.raises(DataError, match="holds no COCO annotations"):
        resolve_dataset(f"coco:{root}", cache_dir=cache)


def change_names(root, change):
    path = root / "annotations.json"
    content = json.loads(path.read_text())
    for entry in content["images"]:
        entry["file_name"] = change(entry["file_name"])
    path.write_text(json.dumps(content))


def test_absolute_names_in_the_folder_are_fine_and_others_are_refused(root, cache):
    write(root, "annotations.json", "images")
    change_names(root, lambda name: f"{root}/images/{name}")
    assert sizes(root, cache) == DIVIDED
    change_names(root, lambda name: name.replace("/images/", "/images/../images/"))
    with pytest.raises(DataError, match="leads out of the data set's folder"):
        resolve_dataset(str(root), cache_dir=cache)
    change_names(root, lambda name: f"/elsewhere/{name[-7:]}")
    with pytest.raises(DataError, match="leads out of the data set's folder"):
        resolve_dataset(str(root), cache_dir=cache)


def test_addresses_are_looked_for_by_their_last_parts(root, cache):
    write(root, "annotations.json", "train2017")
    change_names(root, lambda name: f"http://images.org/a/train2017/{name}?size=1")
    assert sizes(root, cache) == DIVIDED
    for name in (
        "http://x/..",
        "https://x/%2e%2e/%2e%2e",
        "http://x",
        "http://[/1.jpg",
        "http://x/a%00b",
        "http://x/C:",
    ):
        change_names(root, lambda _, name=name: name)
        with pytest.raises(DataError, match="leads out"):
            resolve_dataset(str(root), cache_dir=cache)


def test_a_name_that_differs_in_case_is_a_bad_picture_and_the_reason_says_so(root, cache, caplog):
    write(root, "train.json", "train", count=60)
    write(root, "test.json", "test", count=4)
    (root / "train" / "003.jpg").rename(root / "train" / "003.JPG")
    spec = resolve_dataset(str(root), cache_dir=cache)
    dropped = [open_dense(spec, s, annotation="boxes", cache_dir=cache).dropped for s in ("train", "val")]
    assert sum(dropped, ()) == ("train/003.jpg",)
    assert "the file is called train/003.JPG: upper and lower case count" in caplog.text
    for path in (root / "test").glob("*.jpg"):
        path.rename(path.with_suffix(".JPG"))
    with pytest.raises(DataError, match=r"none of its 4 pictures .* test/00.\.JPG differs in upper and lower"):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_picture_of_two_splits_is_left_out_of_train_named_and_counted(root, cache, caplog):
    train = write(root, "annotations/train.json", "images", count=30)
    held_out = {"images": train["images"][:12], "annotations": train["annotations"][:24]}
    put(root / "annotations" / "test.json", {**train, **held_out})
    put(
        root / "annotations" / "val.json",
        {
            **train,
            "images": train["images"][10:15],
            "annotations": [e for e in train["annotations"] if 11 <= e["image_id"] <= 15],
        },
    )
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert dict(spec.sizes) == {"train": 15, "val": 3, "test": 12}
    parts = {s: open_dense(spec, s, annotation="boxes", cache_dir=cache) for s in ("train", "val", "test")}
    assert parts["train"].ids[0] == "images/015.jpg" and parts["train"].instances(0).boxes[0].tolist() == [2, 3, 10, 9]
    assert parts["train"].faults == {"a picture that another split holds too": 15}
    assert parts["val"].faults == {"a picture that another split holds too": 2} and parts["test"].faults == {}
    assert "train.json, picture 1 (images/000.jpg, which test holds)" in caplog.text
    assert "15 of 30 pictures are left out: other splits hold them" in caplog.text
    put(root / "annotations" / "test.json", train)
    with pytest.raises(DataError, match=r"all of its 30 pictures are in another split's file too"):
        resolve_dataset(str(root), cache_dir=cache)


def test_pictures_of_another_splits_folder_are_never_found_by_name_alone(root, cache):
    write(root, "val.json", "val", count=12)
    put(root / "train.json", coco_content(30))
    with pytest.raises(DataError, match="none of its 30 pictures"):
        resolve_dataset(f"coco:{root}", cache_dir=cache)


def test_one_name_for_two_files_is_none(root, cache):
    write(root, "coco.json", "a/deep", said="nowhere/")
    picture(1).save(root / "a" / "001.jpg")
    spec = resolve_dataset(f"coco:{root}", cache_dir=cache)
    with pytest.raises(DataError, match=r"nowhere/001\.jpg"):
        [open_dense(spec, split, annotation="boxes", cache_dir=cache) for split in ("train", "val", "test")]


# What these were before JSON files were found by content.
KNOWN = {
    "e8ffcbbf8c1e9069": (("train.json", "train"), ("val.json", "val"), ("test.json", "test")),
    "ed499497ec61162e": (
        ("annotations/instances_train2017.json", "train2017"),
        ("annotations/instances_val2017.json", "val2017"),
    ),
    "fc4fc8e339186f2d": (
        ("annotations/instances_train2017.json", "images/train2017"),
        ("annotations/instances_val2017.json", "images/val2017"),
    ),
    "25cc97f1891e8f08": (("train/_annotations.coco.json", "train"), ("valid/_annotations.coco.json", "valid")),
    "97e8c7b3f8ed9345": (("annotations/train.json", "images"), ("annotations/val.json", "images")),
}


@pytest.mark.parametrize("fingerprint", KNOWN)
def test_what_was_read_before_keeps_its_fingerprint(root, cache, fingerprint):
    for file, folder in KNOWN[fingerprint]:
        content = coco_content(10, masks=True)
        path = root / file
        for entry in content["images"]:
            entry["file_name"] = f"{path.stem}{Path(file).parent.name}-{entry['file_name']}"
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / entry["file_name"]).write_bytes(entry["file_name"].encode())
        put(path, content)
    age(root)
    assert resolve_dataset(str(root), cache_dir=cache).fingerprint.startswith(fingerprint)
