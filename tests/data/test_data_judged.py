"""What no data set may be, whoever reads it: classes that train lacks, splits of nothing, another convention."""

from __future__ import annotations

import json

import numpy as np
import pytest
from data_helpers import class_folders, coco_content, coco_folder, mask_folders, picture
from PIL import Image

from bob.core.errors import BobError, DataError
from bob.core.settings import Settings
from bob.data.dense_pictures import open_dense
from bob.data.judge import require_distinct_names, require_trained
from bob.data.readers import coco as reader
from bob.data.resolve import resolve_dataset
from bob.data.typed_values import truth, whole_number
from bob.jobs.request import Request
from bob.runners.suite_runs import execute, planned_of
from bob.store import ResultStore

SPLITS = ("train", "val", "test")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def coco(tmp_path, change=lambda content, split: None, *, masks=False):
    """Return a set of three splits that ``change`` has changed."""
    tmp_path.mkdir(exist_ok=True)
    contents = {split: coco_content(6, masks=masks) for split in SPLITS}
    for split, content in contents.items():
        change(content, split)
    return coco_folder(tmp_path / "set", contents)


def resolved(root, cache):
    return resolve_dataset(str(root), cache_dir=cache)


def objects(root, cache, split):
    """Return the objects of a split by class name, and how many of them are crowds."""
    spec = resolved(root, cache)
    pictures = open_dense(spec, split, annotation="boxes", cache_dir=cache)
    found = [pictures.instances(index) for index in range(len(pictures.ids))]
    labels = np.concatenate([one.labels for one in found])
    return {spec.classes[k]: int((labels == k).sum()) for k in set(labels.tolist())}, sum(
        int(one.crowd.sum()) for one in found
    )


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), (7.0, 7), ("7", 7), (" 12 ", 12), (7.5, None), ("a7", None), (True, None), (None, None), ("", None)],
)
def test_a_whole_number_is_one_however_it_is_written(value, number):
    assert whole_number(value) == number


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        *((value, False) for value in (0, 0.0, "0", "False", None, "", "0.0", "no")),
        *((value, True) for value in (1, 1.0, "1", "true", "1.0", True)),
        *((value, None) for value in (2, "maybe", [], 0.5)),
    ],
)
def test_a_flag_is_read_by_what_it_says(value, flag):
    assert truth(value) is flag


@pytest.mark.parametrize("of", [float, str])
@pytest.mark.parametrize("splits", [SPLITS, ("train",)])
def test_ids_as_fractions_or_text_are_the_same_ids(tmp_path, cache, of, splits):
    def change(content, split):
        for entry in content["annotations"] if split in splits else ():
            entry["image_id"], entry["category_id"] = of(entry["image_id"]), of(entry["category_id"])

    root = coco(tmp_path, change)
    for split in SPLITS:
        assert objects(root, cache, split) == ({"cat": 6, "dog": 6}, 0)


def test_iscrowd_as_text_is_what_it_says(tmp_path, cache):
    def change(content, split):
        for place, entry in enumerate(content["annotations"]):
            entry["iscrowd"] = ("0", "False", 0.0, None, "1", "0")[place % 6]

    assert objects(coco(tmp_path, change), cache, "train") == ({"cat": 6, "dog": 6}, 2)


def test_categories_that_each_file_numbers_anew_are_matched_by_name(tmp_path, cache):
    def change(content, split):
        for entry in content["categories"] if split == "test" else ():
            entry["id"] += 10
        for entry in content["annotations"] if split == "test" else ():
            entry["category_id"] += 10

    root = coco(tmp_path, change)
    assert resolved(root, cache).classes == ("cat", "dog")
    assert objects(root, cache, "test") == ({"cat": 6, "dog": 6}, 0)


def test_names_decide_where_files_exchange_their_numbers(tmp_path, cache):
    def change(content, split):
        if split == "test":
            content["categories"] = [{"id": 3, "name": "dog"}, {"id": 7, "name": "cat"}]
            content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] == 3]

    assert objects(coco(tmp_path, change), cache, "test") == ({"dog": 6}, 0)


def corners(content, split):
    for entry in content["annotations"]:
        left, top, width, height = entry["bbox"]
        entry["bbox"] = [left, top, left + width, top + height]


def shares(content, split):
    for entry in content["annotations"]:
        left, top, width, height = entry["bbox"]
        entry["bbox"] = [left / 40, top / 30, width / 40, height / 30]


def another_size(content, split):
    for entry in content["annotations"]:
        entry["bbox"] = [4 * value for value in entry["bbox"]]
        del entry["area"]


@pytest.mark.parametrize(
    ("change", "looks"),
    [
        (corners, "12 of 12 boxes look like corners"),
        (shares, "12 of 12 boxes have four numbers from 0 to 1"),
        (another_size, "boxes leave their pictures"),
    ],
)
def test_boxes_in_another_convention_are_refused_in_the_plan(tmp_path, cache, change, looks):
    with pytest.raises(DataError, match=looks) as error:
        resolved(coco(tmp_path, change), cache)
    assert "train.json" in error.value.message and "[left, top, width, height]" in str(error.value.hint)


def test_polygons_with_x_and_y_exchanged_are_refused(tmp_path, cache):
    def change(content, split):
        for entry in content["annotations"]:
            entry["bbox"], low = [24, 2, 10, 6], 2
            exchanged = [(low, 24), (low, 34), (low + 6, 34), (low + 6, 24)]
            entry["segmentation"] = [[value for corner in exchanged for value in corner]]

    with pytest.raises(DataError, match="masks lie away from their own boxes; with x and y exchanged they would fit"):
        resolved(coco(tmp_path, change, masks=True), cache)


def test_one_wrong_box_among_many_is_a_fault_and_no_convention(tmp_path, cache):
    def change(content, split):
        content["annotations"][0]["bbox"] = [30, 20, 39, 29]

    assert resolved(coco(tmp_path, change), cache).classes == ("cat", "dog")


def test_a_category_that_only_test_has_is_refused_in_the_plan(tmp_path, cache):
    def change(content, split):
        if split == "test":
            content["categories"].append({"id": 9, "name": "new"})
            content["annotations"][0]["category_id"] = 9

    with pytest.raises(DataError, match="no training object for the classes new, which test has"):
        resolved(coco(tmp_path, change), cache)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: content.update(annotations=[]), "its file has no annotation"),
        (lambda content: [one.update(image_id=99) for one in content["annotations"]], "12 with an unknown picture id"),
        (lambda content: [one.update(iscrowd=1) for one in content["annotations"]], "has no object"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_split_without_an_object_is_refused_with_the_reason(tmp_path, cache, change, why, split):
    root = coco(tmp_path, lambda content, name: change(content) if name == split else None)
    with pytest.raises(DataError, match=f"the split {split} has no object.*{why}|{why}"):
        resolved(root, cache)


def values(root, table, splits=SPLITS):
    """Replace the labels of all masks by those of a table."""
    for split in splits:
        for path in (root / split / "masks").iterdir():
            Image.fromarray(np.array(table, dtype=np.uint8)[np.asarray(Image.open(path))]).save(path)
    return root


def test_masks_of_0_and_255_alone_are_background_and_foreground(tmp_path, cache):
    root = values(mask_folders(tmp_path / "set", dict.fromkeys(SPLITS, 3), labels=2), [0, 255])
    spec = resolved(root, cache)
    assert spec.classes == ("background", "foreground")
    classes = open_dense(spec, "train", annotation="semantic", cache_dir=cache).semantic(0)
    assert set(np.unique(classes)) == {0, 1}


@pytest.mark.parametrize("table", [[0, 85, 170, 255], [0, 7, 200, 3]])
def test_few_labels_far_apart_are_refused(tmp_path, cache, table):
    root = values(mask_folders(tmp_path / "set", dict.fromkeys(SPLITS, 3), labels=4), table)
    with pytest.raises(DataError, match=f"hold the labels {', '.join(map(str, sorted(table)))} alone"):
        resolved(root, cache)


def test_coloured_masks_alone_are_refused_for_their_colours(tmp_path, cache):
    root = mask_folders(tmp_path / "set", dict.fromkeys(SPLITS, 3))
    for path in root.glob("*/masks/*.png"):
        Image.open(path).convert("RGB").save(path)
    with pytest.raises(DataError, match=r"9 masks .* hold colours and not class numbers.* 3 colours") as error:
        resolved(root, cache)
    assert all(f" {value} {value} {value}\n" in str(error.value.hint) for value in range(3))


def test_masks_as_jpeg_are_refused(tmp_path, cache):
    root = mask_folders(tmp_path / "set", dict.fromkeys(SPLITS, 3))
    for path in list(root.glob("*/masks/*.png")):
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    with pytest.raises(DataError, match="9 masks are JPEG files"):
        resolved(root, cache)


def test_a_label_that_only_test_has_is_refused_and_a_class_0_without_a_pixel_said(tmp_path, cache, caplog):
    root = mask_folders(tmp_path / "set", dict.fromkeys(SPLITS, 3))
    values(root, [0, 1, 1], ("train", "val"))
    with pytest.raises(DataError, match="no training pixel for the classes 2, which test has"):
        resolved(root, cache)
    values(mask_folders(tmp_path / "from one", dict.fromkeys(SPLITS, 3)), [1, 2, 3])
    assert resolved(tmp_path / "from one", cache).classes == ("0", "1", "2", "3")
    assert "no mask has a label below 1, so that class 0 has no pixel" in caplog.text


def plan(root, task, tmp_path, *protocols, **settings):
    backbones = ("tf_efficientnet_lite0.random",)
    request = Request(backbones=backbones, task=task, protocols=protocols, data=(str(root),), settings=settings)
    return planned_of(request, Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache")))


def test_one_class_is_no_test_but_one_kind_of_box_is(tmp_path):
    class_folders(tmp_path / "one" / "train", {"cat": 6})
    class_folders(tmp_path / "one" / "test", {"cat": 6})
    with pytest.raises(BobError, match=r"has 1 class \('cat'\), and one class is no test"):
        plan(tmp_path / "one", "classification", tmp_path, "linear")

    def change(content, split):
        content["categories"] = [{"id": 3, "name": "cell"}, {"id": 7, "name": "other"}][:1]
        content["annotations"] = [entry for entry in content["annotations"] if entry["category_id"] == 3]

    assert len(plan(coco(tmp_path, change), "detection", tmp_path, "frozen").jobs) == 1
    mask_folders(tmp_path / "blank", dict.fromkeys(SPLITS, 3), labels=1)
    with pytest.raises(BobError, match="one class is no test"):
        plan(tmp_path / "blank", "semantic_segmentation", tmp_path, "frozen")


def test_the_shared_rules_name_what_they_refuse():
    with pytest.raises(DataError, match="no training thing for the classes b, c, which val has"):
        require_trained("here", "abc", {"train": {0}, "val": {1, 2}}, what="thing", hint="")
    require_trained("here", "abc", {"val": {0}, "test": {1}}, what="thing", hint="")
    require_distinct_names("here", ["a", "b", "ab"])
    with pytest.raises(DataError, match="'Straße' and 'STRASSE'"):
        require_distinct_names("here", ["Straße", "STRASSE"])


def test_difficult_as_a_word_is_what_it_says(tmp_path, cache):
    root = tmp_path / "VOC2012"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for place, (split, word) in enumerate({"train": "False", "val": "True", "test": "0"}.items()):
        picture(place).save(root / "JPEGImages" / f"{place}.jpg")
        boxes = "".join(
            f"<object><name>cat</name><difficult>{said}</difficult><bndbox><xmin>3</xmin><ymin>3</ymin>"
            "<xmax>20</xmax><ymax>20</ymax></bndbox></object>"
            for said in (word, "0")
        )
        size = "<size><width>40</width><height>30</height></size>"
        (root / "Annotations" / f"{place}.xml").write_text(f"<annotation>{size}{boxes}</annotation>")
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(f"{place}\n")
    assert objects(root, cache, "train") == ({"cat": 2}, 0)
    assert objects(root, cache, "val") == ({"cat": 2}, 1)


def test_the_file_of_a_convention_is_read_once_it_is_put_right(tmp_path, cache):
    root = coco(tmp_path, corners)
    with pytest.raises(DataError):
        resolved(root, cache)
    for split in SPLITS:
        (root / f"{split}.json").write_text(json.dumps(coco_content(6)))
    assert resolved(root, cache).classes == ("cat", "dog")


ALL = ("linear", "knn", "fewshot", "finetune")


def reasons(planned):
    return {job.protocol: job.missing for job in planned.jobs}


def test_a_data_set_that_is_too_small_is_skipped_in_the_plan_with_the_reason(tmp_path):
    class_folders(tmp_path / "four", {"cat": 2, "dog": 2})
    found = reasons(plan(tmp_path / "four", "classification", tmp_path, *ALL))
    assert found.pop("fewshot") == "four has 2 training pictures to use, and 5 shots of 2 classes are more"
    assert found.pop("knn") is None, "it chooses nothing on val"
    assert set(found.values()) == {"four has no picture in val, on which settings are chosen"} and len(found) == 2
    class_folders(tmp_path / "more", {"cat": 20, "dog": 20})
    assert set(reasons(plan(tmp_path / "more", "classification", tmp_path, *ALL)).values()) == {None}


def test_a_budget_of_fewer_pictures_than_classes_is_skipped_and_recorded_as_such(tmp_path):
    names = [f"class{number}" for number in range(6)]
    class_folders(tmp_path / "six", dict.fromkeys(names, 10))
    planned = plan(tmp_path / "six", "classification", tmp_path, "linear", **{"budget.max_train": 4})
    assert reasons(planned) == {"linear": "six has 4 training pictures to use for 6 classes"}
    execute(planned.jobs, planned.settings, device="cpu", display="none")
    (row,) = ResultStore(planned.settings.results_dir).load().to_dict("records")
    assert (row["status"], row["error_class"]) == ("skipped", "DataTooSmallError")
    one = plan(tmp_path / "six", "classification", tmp_path, "linear", **{"budget.max_train": 1})
    assert reasons(one) == {"linear": "six has 1 training picture to use for 6 classes"}


def test_only_data_that_are_read_otherwise_than_before_get_another_fingerprint(tmp_path, cache):
    def typed(content, split):
        for entry in content["annotations"]:
            entry["image_id"] = float(entry["image_id"])

    plain, other = coco(tmp_path / "plain"), coco(tmp_path / "typed", typed)
    contents = {root: read_fingerprint(root, cache) for root in (plain, other)}
    assert resolved(plain, cache).fingerprint == contents[plain]
    assert resolved(other, cache).fingerprint != contents[other]
    assert objects(other, cache, "train") == objects(plain, cache, "train")


def read_fingerprint(root, cache):
    """Return what the files alone come to."""
    return reader._fingerprint(root, reader._scan(root), cache)


def test_binary_masks_beside_a_list_of_classes_are_refused_as_255_is_ignored(tmp_path, cache):
    root = mask_folders(tmp_path / "set", dict.fromkeys(SPLITS, 3), labels=2, classes="ground\ncrop\n")
    assert resolved(root, cache).classes == ("ground", "crop")
    values(root, [0, 255], ("test",))
    with pytest.raises(DataError, match="the masks of test hold 0 and 255 alone, and 255 is ignored"):
        resolved(root, cache)


def test_pictures_that_are_only_far_need_no_classes(tmp_path):
    class_folders(tmp_path / "own", {"cat": 20, "dog": 20})
    class_folders(tmp_path / "far", {"images": 12})
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))
    request = Request(
        backbones=("tf_efficientnet_lite0.random",),
        task="ood_detection",
        data=(str(tmp_path / "own"),),
        far=(str(tmp_path / "far"),),
    )
    assert [job.missing for job in planned_of(request, settings).jobs] == [None]


def test_a_set_of_one_class_among_several_does_not_vanish(tmp_path):
    class_folders(tmp_path / "own", {"cat": 20, "dog": 20})
    class_folders(tmp_path / "one", {"cat": 20})
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))
    both = (str(tmp_path / "own"), str(tmp_path / "one"))
    with pytest.raises(BobError, match="has 1 class"):
        planned_of(Request(suite="small_backbones", data=both), settings)


def test_letters_are_two_classes_and_unused_names_none(tmp_path, cache):
    def change(content, split):
        content["categories"].append({"id": 0, "name": "Cat"})

    assert resolved(coco(tmp_path, change), cache).classes == ("Cat", "cat", "dog")
    require_distinct_names("here", ["A", "a"])
