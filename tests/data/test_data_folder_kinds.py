"""What a folder of pictures is: splits or classes, classes or something else. Nothing is taken for what it is not."""

from __future__ import annotations

import json

import pytest
from data_helpers import class_folders, coco_content, coco_folder, first_seed, mask, mask_folders, picture
from PIL import Image

from bob.core.errors import DataError
from bob.data.resolve import is_path, resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def resolved(root, cache, prefix=""):
    return resolve_dataset(f"{prefix}{root}", cache_dir=cache)


def flat(folder, count=4):
    """Fill a folder with pictures, without class folders."""
    folder.mkdir(parents=True)
    for index in range(count):
        picture(first_seed(folder.name) + index).save(folder / f"{index}.png")


@pytest.mark.parametrize(
    ("train", "test", "split"),
    [
        ("training_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("Train Images", "Valid2", "test"),
        ("TRAIN_set", "my test", "test"),
        ("train", "dev", "test"),
        ("train", "eval", "test"),
    ],
)
def test_splits_are_known_by_other_names_and_a_set_of_ones_own_is_used(root, cache, train, test, split):
    class_folders(root / train, {"cat": 8, "dog": 8})
    class_folders(root / test, {"cat": 3, "dog": 3})
    spec = resolved(root, cache)
    assert spec.classes == ("cat", "dog")
    assert dict(spec.sizes) == {"train": 14, "val": 2, split: 6}


def test_a_split_that_an_archive_nests_in_itself_is_read(root, cache):
    for split in ("seg_train", "seg_test"):
        class_folders(root / split / split, {"sea": 4, "wood": 4})
    assert resolved(root, cache).classes == ("sea", "wood")


def test_split_like_and_other_folders_together_are_refused(root, cache):
    for split in ("seg_train", "seg_test", "seg_pred"):
        class_folders(root / split, {"sea": 2, "wood": 2})
    with pytest.raises(DataError, match="'seg_test', 'seg_train' look like splits, and 'seg_pred' do not"):
        resolved(root, cache)


def test_a_sibling_with_the_classes_of_the_splits_is_no_log_line_and_a_prefix_leaves_it_out(root, cache):
    for split in ("train", "test", "extra"):
        class_folders(root / split, {"cat": 8, "dog": 8})
    with pytest.raises(DataError, match="the folder 'extra' beside 'test', 'train' has their classes"):
        resolved(root, cache)
    assert dict(resolved(root, cache, "folder:").sizes) == {"train": 14, "val": 2, "test": 16}


def test_other_folders_beside_splits_are_passed_over(root, cache, tmp_path):
    for split in ("train", "val", "test"):
        class_folders(root / split, {"cat": 2, "dog": 2})
    flat(root / "ILSVRC2012_img_val")
    class_folders(root / "eval", {"scripts": 1})
    (root / "results").symlink_to(tmp_path)
    (root / "lost+found").mkdir(mode=0o000)
    assert resolved(root, cache).classes == ("cat", "dog")


def test_a_folder_of_figures_beside_train_is_no_class(root, cache):
    class_folders(root / "train", {"cat": 10, "dog": 10})
    flat(root / "docs", 1)
    for prefix in ("", "folder:"):
        assert resolved(root, cache, prefix).classes == ("cat", "dog")


def test_flat_train_and_test_are_no_two_classes(root, cache):
    flat(root / "train", 8)
    flat(root / "test1", 8)
    with pytest.raises(DataError, match="'train' may be a split or a class: 'test1' beside it"):
        resolved(root, cache)


def test_classes_whose_names_hold_the_word_of_a_split_are_classes(root, cache):
    class_folders(root, {"bullet_train": 4, "freight_train": 4, "car": 4})
    assert resolved(root, cache).classes == ("bullet_train", "car", "freight_train")
    class_folders(root, {"test_tube": 4})
    with pytest.raises(DataError, match="look like splits"):
        resolved(root, cache)
    assert len(resolved(root, cache, "folder:").classes) == 4


def test_a_class_that_is_called_train_is_a_class_among_its_like(root, cache):
    for name in ("bus", "car", "train"):
        flat(root / name, 10)
    spec = resolved(root, cache)
    assert spec.classes == ("bus", "car", "train") and sum(count for _, count in spec.sizes) == 30


def test_where_train_may_be_either_both_readings_are_named_and_a_prefix_settles_it(root, cache):
    class_folders(root / "train", {"diesel": 5, "steam": 5})
    flat(root / "bus" / "city", 5)
    flat(root / "car" / "sports", 5)
    with pytest.raises(DataError, match="'train' may be a split or a class: 'bus', 'car' beside it hold") as error:
        resolved(root, cache)
    assert f"--data folder:{root}" in str(error.value.hint)
    assert resolved(root, cache, "folder:").classes == ("bus", "car", "train")


def test_classes_that_differ_in_case_alone_are_refused(root, cache):
    class_folders(root / "train", {"cat": 2, "dog": 2})
    class_folders(root / "test", {"Cat": 2, "dog": 2})
    with pytest.raises(DataError, match="the classes 'Cat' and 'cat' differ in case"):
        resolved(root, cache)
    for split in ("train", "test"):
        class_folders(root.parent / "letters" / split, {"A": 2, "a": 2})
    assert resolved(root.parent / "letters", cache).classes == ("A", "a")


def yolo_beside(root):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            flat(root / split / name)
            for index in range(4):
                (root / split / name / f"{index}.txt").write_text("0 0.5 0.5 0.3 0.4\n")


def masks_of_other_pictures(root, pictures="images", labels="labels"):
    mask_folders(root, {"train": 4, "test": 4})
    for split in ("train", "test"):
        (root / split / "images").rename(root / split / pictures) if pictures != "images" else None
        (root / split / "masks").rename(root / split / labels)
        for path in (root / split / labels).iterdir():
            path.rename(path.with_name(f"of_{path.name}"))


def masks_of_other_names(root):
    mask_folders(root, {"train": 4, "test": 4})
    for split in ("train", "test"):
        (root / split / "images").rename(root / split / "left")
        (root / split / "masks").rename(root / split / "right")


def masks_in_classes(root):
    for name in ("benign", "malignant"):
        flat(root / name)
        for index in range(4):
            mask(index).save(root / name / f"{index}_mask.png")


def coco_of_another_name(root):
    coco_folder(root, {"train": coco_content(6)})
    (root / "train.json").rename(root / "export.json")
    for name in ("a", "b"):
        flat(root / "train" / name)


def domains(root):
    for name in ("art", "photo", "sketch"):
        class_folders(root / name, {"dog": 3, "house": 3})


def splits_within_classes(root):
    for name in ("dog", "house"):
        class_folders(root / name, {"train": 3, "test": 3})


KINDS = {
    "domains": (domains, "each of them holds the folders dog, house: these look like the classes of several domains"),
    "splits within classes": (splits_within_classes, "each of them holds the splits test, train"),
    "yolo_beside": (yolo_beside, r"files \.txt of the same names: these look like boxes in YOLO"),
    "labels": (masks_of_other_pictures, "'images' and 'labels' look like pictures and their masks"),
    "img and mask": (lambda root: masks_of_other_pictures(root, "img", "mask"), "'img' and 'mask' look like pictures"),
    "annotations": (lambda root: masks_of_other_pictures(root, "imgs", "annotations"), "'imgs' and 'annotations' look"),
    "masks among pictures": (masks_in_classes, r"8 of its pictures are called as masks of others"),
    "other names": (masks_of_other_names, "each picture in 'right' holds few grey levels"),
    "coco": (coco_of_another_name, r"'export.json' holds annotations in COCO's format"),
}


def test_folders_within_a_class_are_no_domains_where_the_classes_differ_in_them(root, cache):
    class_folders(root / "dog", {"puppies": 6, "old": 6})
    class_folders(root / "house", {"old": 6, "new": 6})
    assert resolved(root, cache).classes == ("dog", "house")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_looks_like_something_else_is_refused_with_both_readings(root, cache, kind):
    make, reading = KINDS[kind]
    make(root)
    with pytest.raises(DataError, match=reading) as error:
        resolved(root, cache)
    assert "could be read as folders of the classes" in error.value.message
    assert f"folder:{root}" in str(error.value.hint)
    assert resolved(root, cache, "folder:").kind == "imagefolder"
    assert resolve_dataset(str(root), cache_dir=cache, labelled=False).kind == "imagefolder"


def test_classes_with_equal_names_and_palette_pictures_stay_classes(root, cache):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for index in range(4):
                mask(index).save(root / split / name / f"{index}.png")
    (root / "readme.json").write_text(json.dumps({"file_name": "of this data set", "license": "CC0"}))
    (root / "notes.csv").write_text("what,why\na,b\n")
    Image.new("RGB", (8, 8)).save(root / "cover.png")
    assert resolved(root, cache).classes == ("cat", "dog")


def test_lists_of_classes_as_inaturalist_has_them_are_no_boxes(root, cache):
    for split in ("train", "val"):
        class_folders(root / split, {"bee": 4, "fly": 4})
        listed = {"images": [{"file_name": "bee/000.jpg"}], "annotations": [{"category_id": 1}]}
        (root / f"{split}.json").write_text(json.dumps(listed))
    assert resolved(root, cache).classes == ("bee", "fly")


def test_a_folder_around_the_folder_of_classes_is_told_from_one_class(root, cache):
    class_folders(root / "images", {"cat": 4, "dog": 4})
    with pytest.raises(DataError, match="only class folder is called 'images'") as error:
        resolved(root, cache)
    assert str(root / "images") in str(error.value.hint)
    assert resolved(root / "images", cache).classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        *(("hf:owner/name", False), ("huggingface:owner/name", False), ("hf:./folder", True), ("hf:/folder", True)),
        *(("coco:sets/cells", True), ("folder:~/pets", True), ("a/b", True)),
        *(("pets", False), ("scenes:domain=night", False)),
    ],
)
def test_a_name_on_the_hub_is_no_path(text, path):
    assert is_path(text) is path
