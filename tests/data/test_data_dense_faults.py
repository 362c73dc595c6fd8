"""Bad annotations: named with file and id; left out with a count where that is safe, else an error."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_helpers import coco_content, coco_folder, mask, mask_folders, picture
from PIL import Image

from bob.core.errors import DataError
from bob.data.boxes import fitted
from bob.data.dense_pictures import open_dense
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _open(root, cache, annotation="boxes", split="train", policy="skip"):
    spec = resolve_dataset(str(root), cache_dir=cache, policy=policy)
    return open_dense(spec, split, annotation=annotation, cache_dir=cache)


def _folder(tmp_path, change, *, masks=False):
    """A set of 60 training pictures of which ``change`` spoils something."""
    content = coco_content(60, masks=masks)
    change(content)
    held_out = {split: coco_content(2, masks=masks) for split in ("val", "test")}
    return coco_folder(tmp_path / "set", {"train": content, **held_out})


def _box(*values):
    def change(content):
        content["annotations"][4]["bbox"] = list(values)

    return change


def _set(where, place, **values):
    def change(content):
        content[where][place].update(values)

    return change


def _drop(where, place, key):
    def change(content):
        del content[where][place][key]

    return change


LEFT_OUT = {
    "outside": (_box(50, 3, 8, 6), "a box outside its picture"),
    "no width": (_box(2, 3, 0, 6), "a box with no area"),
    "negative": (_box(20, 3, -8, 6), "a box with no area"),
    "nan": (_box(float("nan"), 3, 8, 6), "a box that is not finite"),
    "infinite": (_box(2, 3, float("inf"), 6), "a box that is not finite"),
    "three numbers": (_box(2, 3, 8), "a box that is no list of four numbers"),
    "text": (_box(2, "3", 8, 6), "a box that is no list of four numbers"),
    "no box": (_drop("annotations", 4, "bbox"), "a box that is no list of four numbers"),
    "category": (_set("annotations", 4, category_id=99), "an unknown category id"),
    "no category": (_drop("annotations", 4, "category_id"), "an unknown category id"),
    "picture id": (_set("annotations", 4, image_id=9999), "an unknown picture id"),
    "picture id list": (_set("annotations", 4, image_id=[3]), "an unknown picture id"),
    "annotation id": (_set("annotations", 4, id=301), "an annotation id used before"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_an_annotation_that_cannot_be_right_is_left_out_named_and_counted(tmp_path, cache, caplog, case):
    change, reason = LEFT_OUT[case]
    root = _folder(tmp_path, change)
    train = _open(root, cache)
    assert train.faults == {reason: 1} and train.repaired == {} and train.dropped == ()
    assert sum(len(train.instances(index)) for index in range(60)) == 119
    number = "301" if case == "annotation id" else "300"
    assert f"train.json, annotation {number}" in caplog.text and reason in caplog.text
    assert "picture id" in case or len(train.instances(2)) == 1
    assert _open(root, cache, split="test").faults == {}
    with pytest.raises(DataError, match=rf"1 annotations are faulty: train\.json, annotation {number}.*{reason}"):
        _open(root, cache, policy="error")


def test_a_box_partly_outside_is_clipped_and_counted_and_a_rounded_one_left_alone(tmp_path, cache, caplog):
    def change(content):
        content["annotations"][4]["bbox"] = [-5, 20, 20, 30]
        content["annotations"][5]["bbox"] = [30.5, 20, 10.3, 10]

    train = _open(_folder(tmp_path, change), cache)
    assert train.faults == {} and train.repaired == {"a box partly outside its picture (clipped)": 1}
    assert train.instances(2).boxes.tolist() == [[0, 20, 15, 30], [30.5, 20, 40.8, 30]]
    assert "annotations put right: train.json, annotation 300 of train/002.jpg" in caplog.text


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((40, 3, 40.5, 9), None),
        ((-0.5, 3, 0, 9), None),
        ((39.5, 29.5, 40.9, 30.9), (39.5, 29.5, 40.9, 30.9)),
        ((-3, -3, 60, 60), (0, 0, 40, 30)),
        ((0, 0, 40, 30), (0, 0, 40, 30)),
    ],
)
def test_what_is_left_of_a_box_lies_in_its_picture(box, kept):
    assert fitted(box, (30, 40))[0] == kept


def test_a_fault_counts_where_its_picture_is_and_once_where_it_has_none(tmp_path, cache):
    content = coco_content(80)
    content["annotations"][7]["image_id"] = 9999
    content["annotations"][90]["category_id"] = 99
    root = coco_folder(tmp_path / "set", {"train": content, "test": coco_content(3)})
    train, val = (_open(root, cache, split=split).faults for split in ("train", "val"))
    assert train.get("an unknown picture id", 0) + val.get("an unknown picture id", 0) == 1
    assert train.get("an unknown category id", 0) + val.get("an unknown category id", 0) == 1


def test_too_many_faults_are_an_error_and_annotations_of_absent_pictures_are_none(tmp_path, cache):
    def spoil(content):
        for entry in content["annotations"][:7]:
            entry["bbox"][2] = 0

    with pytest.raises(DataError, match="7 annotations cannot be right, more than 5%"):
        _open(_folder(tmp_path / "a", spoil), cache)

    def thin_out(content):
        del content["images"][::2]

    train = _open(_folder(tmp_path / "b", thin_out), cache)
    assert len(train) == 30 and train.faults == {"an unknown picture id": 60}


def _polygons(*polygons):
    return _set("annotations", 4, segmentation=list(polygons))


def _runs(size, counts):
    return _set("annotations", 4, segmentation={"size": size, "counts": counts})


NO_MASK = {
    "two points": (_polygons([1, 1, 5, 5]), "a mask without a polygon of three points or more"),
    "odd": (_polygons([1, 1, 5, 5, 9, 1, 3]), "a mask without a polygon of three points or more"),
    "nan": (_polygons([1, 1, 5, 5, 9, float("nan")]), "a mask without a polygon of three points or more"),
    "far away": (_polygons([1, 1, 5, 5, 1e12, 9]), "a mask without a polygon of three points or more"),
    "no pixel": (_polygons([1, 1, 1, 1, 1, 1]), "a mask without a pixel"),
    "none": (_drop("annotations", 4, "segmentation"), "no mask"),
    "text": (_set("annotations", 4, segmentation="x"), "a mask that is neither polygons nor run lengths"),
    "size": (_runs([20, 40], [100, 200, 500]), "a mask of another size than its picture"),
    "too short": (_runs([30, 40], [100, 200]), "a mask whose run lengths do not add up to its picture"),
    "negative": (_runs([30, 40], [-5, 1205]), "a mask whose run lengths are no whole numbers"),
    "empty": (_runs([30, 40], [1200]), "a mask without a pixel"),
    "cut off": (_runs([30, 40], "0P"), "a mask whose run lengths are damaged (cut off)"),
}


@pytest.mark.parametrize("case", NO_MASK)
def test_an_object_whose_mask_cannot_be_right_keeps_its_box_and_is_no_instance(tmp_path, cache, caplog, case):
    change, reason = NO_MASK[case]
    root = _folder(tmp_path, change, masks=True)
    boxes = _open(root, cache)
    assert boxes.faults == {} and len(boxes.instances(2)) == 2 and not caplog.text
    train = _open(root, cache, "instances")
    assert train.faults == {reason: 1} and len(train.instances(2)) == len(train.instances(2).masks) == 1
    assert "annotation 300 of train/002.jpg" in caplog.text


def test_a_bad_polygon_of_several_is_left_out_of_its_mask(tmp_path, cache):
    from pycocotools.mask import area

    train = _open(_folder(tmp_path, _polygons([2, 2, 10, 2, 10, 8, 2, 8], [1, 1]), masks=True), cache, "instances")
    assert train.faults == {} and train.repaired == {"a polygon that cannot be right (left out of its mask)": 1}
    assert area(dict(train.instances(2).masks[0])) == 48


def test_an_object_without_a_box_has_its_masks_box(tmp_path, cache):
    train = _open(_folder(tmp_path, _drop("annotations", 4, "bbox"), masks=True), cache, "instances")
    assert train.faults == {} and train.instances(2).boxes[0].tolist() == [2, 5, 10, 11]


def test_a_category_without_a_name_is_named_by_its_id(tmp_path, cache, caplog):
    def change(content):
        content["categories"] = [{"id": 3, "name": " "}, {"id": 7}]

    root = _folder(tmp_path, change)
    for split in ("val", "test"):
        (root / f"{split}.json").write_text(json.dumps({**coco_content(2), "categories": [{"id": 3}, {"id": 7}]}))
    train = _open(root, cache)
    assert train.classes == ("category_3", "category_7") and sum(train.repaired.values()) == 2
    assert "train.json, category 3 (called 'category_3'): a category without a name" in caplog.text


def _cut(path):
    path.write_bytes(path.read_bytes()[:2000])


def _replaced(text):
    return lambda path: path.write_text(text)


def _changed(change):
    def rewrite(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return rewrite


def _same_id(content):
    content["images"][5]["id"] = 1


def _two_ids(content):
    content["images"][5]["file_name"] = "000.jpg"


BROKEN = {
    "cut off": (_cut, r"train\.json is cut off or damaged at character \d+ of 2000 \(line 1, column"),
    "empty": (_replaced(""), r"train\.json is cut off or damaged at character 0"),
    "binary": (lambda path: path.write_bytes(b"\xff\xfe\x00\x01\x9c"), r"train\.json is (no JSON|cut off)"),
    "nested": (_replaced("[" * 200_000), r"train\.json is (no JSON|cut off)"),
    "a list": (_replaced("[]"), "no COCO instances file: lists images, annotations, categories"),
    "no list": (_replaced('{"images": [], "annotations": {}, "categories": []}'), "no COCO instances file"),
    "numbers": (_replaced('{"images": [7], "annotations": [], "categories": []}'), r"images\[0\] is 7"),
    "one id for two": (_changed(_same_id), "train/000.jpg and train/005.jpg have the same id 1"),
    "two ids for one": (_changed(_two_ids), "train/000.jpg is listed under two ids"),
    "outside": (_changed(_set("images", 3, file_name="../../secret.jpg")), "leads out of the data set"),
    "absolute": (_changed(_set("images", 3, file_name="/etc/passwd")), "leads out of the data set"),
    "windows": (_changed(_set("images", 3, file_name="C:\\secret.jpg")), "leads out of the data set"),
    "no name": (_changed(_drop("images", 3, "file_name")), "picture 4 has the file name None"),
    "category id": (_changed(_set("categories", 0, id="seven")), "category 'dog' has id 'seven'"),
    "other names": (
        _changed(_set("categories", 0, name="wolf")),
        "no training object for the classes dog, which val has",
    ),
    "one id, two names": (
        _changed(lambda content: content["categories"].append({"id": 7, "name": "wolf"})),
        "category 7 is 'wolf' and 'dog' before",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_trusted_is_an_error_that_says_where(tmp_path, cache, case):
    spoil, words = BROKEN[case]
    root = _folder(tmp_path, lambda content: None)
    spoil(root / "train.json")
    with pytest.raises(DataError, match=words):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_picture_listed_twice_is_read_once(tmp_path, cache, caplog):
    train = _open(_folder(tmp_path, lambda content: content["images"].append(dict(content["images"][0]))), cache)
    assert len(train) == 60 and train.faults == {"a picture listed twice": 1} and "picture 1" in caplog.text


def test_missing_broken_and_wrongly_sized_pictures_are_dropped_by_name(tmp_path, cache, caplog):
    root = _folder(tmp_path, _set("images", 7, width=50))
    (root / "train" / "003.jpg").unlink()
    (root / "train" / "005.jpg").write_bytes(b"")
    train = _open(root, cache)
    assert set(train.dropped) == {"train/003.jpg", "train/005.jpg", "train/007.jpg"} and len(train) == 57
    assert "the file has 40 x 30 pixels, train.json says 50 x 30" in caplog.text
    assert train.ids[3] == "train/004.jpg" and train.instances(3).boxes[0].tolist() == [2, 7, 10, 13]
    for index in (9, 11):
        (root / "train" / f"{index:03d}.jpg").unlink()
    with pytest.raises(DataError, match="5 of 60 pictures are bad, more than 5%"):
        _open(root, cache)


def test_pictures_in_another_folder_than_the_json_thinks_are_looked_for_and_then_an_error(tmp_path, cache, caplog):
    root = _folder(tmp_path, lambda content: None)
    (root / "train").rename(root / "elsewhere")
    assert set(_open(f"coco:{root}", cache).ids) == {f"elsewhere/{index:03d}.jpg" for index in range(60)}
    assert "60 of 60 were found elsewhere" in caplog.text
    (root / "elsewhere").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="none of its 60 pictures"):
        resolve_dataset(f"coco:{root}", cache_dir=cache)


def test_a_stated_size_that_is_none_is_the_files(tmp_path, cache):
    def change(content):
        for entry in content["images"]:
            del entry["width"], entry["height"]

    train = _open(_folder(tmp_path, change), cache)
    assert train.sizes.tolist() == [[30, 40]] * 60 and train.dropped == ()


@pytest.mark.parametrize(("stated", "turned"), [((40, 30), False), ((30, 40), True)])
def test_a_picture_with_an_orientation_lies_as_the_stated_size_says(tmp_path, cache, stated, turned):
    root = _folder(tmp_path, _set("images", 2, width=stated[0], height=stated[1]))
    image = picture(5)
    image.paste((255, 255, 255), (0, 0, 40, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / "train" / "002.jpg", exif=exif)
    train = _open(root, cache)
    loaded = np.asarray(train.load(2))
    assert train.dropped == () and loaded.shape[:2] == tuple(train.sizes[2]) == (stated[1], stated[0])
    bright = loaded[:, -8:] if turned else loaded[:8]
    assert bright.mean() > 240 and loaded.mean() < 200


def test_a_link_out_of_the_folder_is_refused(tmp_path, cache):
    root = _folder(tmp_path, lambda content: None)
    picture(1).save(tmp_path / "secret.jpg")
    (root / "train" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(DataError, match="leads out of the data set"):
        resolve_dataset(str(root), cache_dir=cache)
    (root / "train" / "link.jpg").unlink()
    (root / "train.json").rename(tmp_path / "train.json")
    (root / "train.json").symlink_to(tmp_path / "train.json")
    with pytest.raises(DataError, match="leads out of the data set"):
        resolve_dataset(str(root), cache_dir=cache)


def test_a_mask_of_another_size_than_its_picture_is_an_error_that_names_both(tmp_path, cache):
    root = mask_folders(tmp_path / "set", {"train": 20, "val": 2, "test": 2}, classes="a\nb\nc\n")
    mask(1, (41, 30)).save(root / "train" / "masks" / "004.png")
    with pytest.raises(DataError, match=r"train/masks/004\.png has 41 x 30 pixels, its picture .*004\.jpg 40 x 30"):
        _open(root, cache, "semantic")


def test_a_mask_with_a_label_above_the_class_count_is_dropped_by_name(tmp_path, cache, caplog):
    root = mask_folders(tmp_path / "set", {"train": 40, "val": 2, "test": 2}, classes="a\nb\nc\n")
    mask(1, labels=9).save(root / "train" / "masks" / "004.png")
    train = _open(root, cache, "semantic")
    assert train.dropped == ("train/images/004.jpg",) and len(train) == 39
    assert "its mask train/masks/004.png: label 8 has no class; there are 3 classes" in caplog.text
    with pytest.raises(DataError, match="label 8 has no class"):
        _open(root, cache, "semantic", policy="error")


def test_pictures_without_masks_masks_without_pictures_and_broken_masks_are_dropped_by_name(tmp_path, cache, caplog):
    root = mask_folders(tmp_path / "set", {"train": 80, "val": 2, "test": 2}, classes="a\nb\nc\n")
    folder = root / "train"
    (folder / "masks" / "004.png").unlink()
    (folder / "images" / "006.jpg").unlink()
    (folder / "masks" / "008.png").write_bytes((folder / "masks" / "008.png").read_bytes()[:-200])
    picture(3).save(folder / "masks" / "009.png")
    train = _open(root, cache, "semantic")
    spoilt = ("images/004.jpg", "masks/006.png", "images/008.jpg", "images/009.jpg")
    assert set(train.dropped) == {f"train/{name}" for name in spoilt} and len(train) == 76
    for words in ("there is no mask for it", "there is no picture for this mask", "the mask has mode RGB"):
        assert words in caplog.text
    assert [train.semantic(index).shape for index in (3, 4, 5)] == [(30, 40)] * 3


def test_a_mask_that_vanishes_later_is_named(tmp_path, cache):
    root = mask_folders(tmp_path / "set", {"train": 20, "val": 2, "test": 2}, classes="a\nb\nc\n")
    train = _open(root, cache, "semantic")
    (root / "train" / "masks" / "005.png").unlink()
    with pytest.raises(DataError, match=r"mask 'train/masks/005\.png' could be read when it was checked"):
        train.semantic(5)


def test_a_picture_may_lie_as_its_mask_does(tmp_path, cache):
    root = mask_folders(tmp_path / "set", {"train": 20, "val": 2, "test": 2}, classes="a\nb\nc\n")
    for place, size in (("003", (40, 30)), ("004", (30, 40))):
        image = picture(5)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(root / "train" / "images" / f"{place}.jpg", exif=exif)
        mask(1, size).save(root / "train" / "masks" / f"{place}.png")
    train = _open(root, cache, "semantic")
    assert train.load(3).size == (40, 30) and train.load(4).size == (30, 40)
    assert train.sizes[3:5].tolist() == [[30, 40], [40, 30]]
    with Image.open(root / "train" / "images" / "004.jpg") as stored:
        assert stored.size == (40, 30)
