"""Folders of masks, ADE20K, Cityscapes and VOC: every layout is read as its authors mean it."""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
from data_helpers import age, mask, mask_folders, picture
from PIL import Image

from bob.core.errors import DataError, DataMissingError
from bob.data import mask_pictures as mask_files
from bob.data.annotations import IGNORE
from bob.data.dense_pictures import open_dense
from bob.data.pictures import open_split
from bob.data.resolve import fetch_dataset, resolve_dataset

THREE = {"train": 8, "val": 2, "test": 3}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _stored(path):
    with Image.open(path) as image:
        return np.asarray(image)


def _open(spec, cache, split="train", annotation="semantic"):
    return open_dense(spec, split, annotation=annotation, cache_dir=cache)


def test_split_folders_of_masks_are_read_with_the_names_of_classes_txt(tmp_path, cache):
    root = mask_folders(tmp_path / "set", THREE, labels=4, classes="sky\nroad\ncar\n")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert (spec.kind, spec.annotations, dict(spec.sizes)) == ("masks", ("semantic",), THREE)
    assert spec.classes == ("sky", "road", "car") and spec == resolve_dataset(f"masks:{root}", cache_dir=cache)
    train = _open(spec, cache)
    assert train.ids[3] == "train/images/003.jpg" and train.sizes.tolist() == [[30, 40]] * 8
    stored, found = _stored(root / "train" / "masks" / "003.png"), train.semantic(3)
    assert found.dtype == np.uint8 and (found[stored < 3] == stored[stored < 3]).all()
    assert (stored == 3).any() and (found[stored == 3] == IGNORE).all(), "the label after the last class is ignored"
    assert train.classes == spec.classes and train.dropped == () and train.load(3).size == (40, 30)
    with pytest.raises(DataError, match="has a class of each pixel for each picture, not a class"):
        open_split(spec, "train", cache_dir=cache)


@pytest.mark.parametrize(
    ("classes", "expected", "names"),
    [
        ("ignore\nroad\ncar\nsky", [255, 0, 1, 2], ("road", "car", "sky")),
        ("road\nIgnore\ncar\nsky", [0, 255, 1, 2], ("road", "car", "sky")),
        ("a\nb\nc\nd\n\n", [0, 1, 2, 3], ("a", "b", "c", "d")),
        (None, [0, 1, 2, 3], ("0", "1", "2", "3")),
    ],
)
def test_classes_txt_tells_which_labels_are_ignored(tmp_path, cache, classes, expected, names):
    root = mask_folders(tmp_path / "set", THREE, labels=4, classes=classes)
    values = np.full((30, 40), IGNORE, dtype=np.uint8)
    values[0, :4] = range(4)
    Image.fromarray(values).save(root / "train" / "masks" / "001.png")
    spec = resolve_dataset(str(root), cache_dir=cache)
    found = _open(spec, cache).semantic(1)
    assert spec.classes == names and found[0, :4].tolist() == expected and (found[1:] == IGNORE).all()


def test_a_label_that_is_ignored_without_a_word_is_said(tmp_path, cache, caplog):
    root = mask_folders(tmp_path / "set", THREE, labels=4, classes="sky\nroad\ncar\n")
    with caplog.at_level(logging.WARNING, logger="bob"):
        resolve_dataset(str(root), cache_dir=cache)
    assert "names 3 classes and no label to ignore: label 3 is ignored" in caplog.text


def test_masks_that_count_from_1_lose_no_class_to_the_ignored_label(tmp_path, cache):
    root = mask_folders(tmp_path / "set", THREE, labels=3)
    for path in root.glob("*/masks/*.png"):
        Image.fromarray(_stored(path) + 1).save(path)
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    with pytest.raises(DataError, match="names labels 0 to 2, but the masks hold 1 to 3: they count from 1") as error:
        resolve_dataset(str(root), cache_dir=cache)
    assert "Put a line 'ignore'" in str(error.value.hint)
    (root / "classes.txt").write_text("ignore\nsky\nroad\ncar\n")
    train = _open(resolve_dataset(str(root), cache_dir=cache), cache)
    assert (train.semantic(0) == _stored(root / "train" / "masks" / "000.png") - 1).all()


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ("a\n\nb\n", r"classes\.txt, line 2: a class without a name"),
        ("a\nb\na\n", "the name 'a' twice"),
        ("", "holds no class"),
        ("\n".join(map(str, range(300))), "300 classes; at most 253"),
    ],
)
def test_class_names_that_cannot_be_right_are_an_error(tmp_path, cache, classes, words):
    root = mask_folders(tmp_path / "set", THREE, classes=classes)
    with pytest.raises(DataError, match=words):
        resolve_dataset(str(root), cache_dir=cache)


def test_palette_masks_and_wide_grey_ones_are_class_numbers_whatever_their_colours(tmp_path, cache):
    root = mask_folders(tmp_path / "set", THREE, classes="a\nb\nc\n")
    expected = _stored(root / "train" / "masks" / "000.png")
    palette = Image.fromarray(expected)
    palette.putpalette([200, 3, 9, 0, 0, 0, 50, 60, 70])
    assert palette.mode == "P"
    palette.save(root / "train" / "masks" / "000.png")
    Image.fromarray(expected.astype(np.uint16)).save(root / "train" / "masks" / "001.png")
    train = _open(resolve_dataset(str(root), cache_dir=cache), cache)
    assert train.dropped == () and all((train.semantic(index) == expected).all() for index in (0, 1))


def test_the_other_nesting_and_undivided_folders_are_read_too(tmp_path, cache):
    root = mask_folders(tmp_path / "set", THREE, classes="a\nb\nc\n")
    turned = tmp_path / "turned"
    for split in THREE:
        for folder in ("images", "masks"):
            shutil.copytree(root / split / folder, turned / folder / split)
    assert dict(resolve_dataset(str(turned), cache_dir=cache).sizes) == THREE
    flat = shutil.copytree(root / "train", tmp_path / "flat")
    spec = resolve_dataset(str(flat), cache_dir=cache)
    assert dict(spec.sizes) == {"train": 5, "val": 1, "test": 2} and spec.classes == ("0", "1", "2")
    ids = [name for split in THREE for name in _open(spec, cache, split).ids]
    assert sorted(ids) == [f"images/{index:03d}.jpg" for index in range(8)]


def test_one_pixel_of_a_mask_or_a_line_of_classes_txt_changes_the_fingerprint(tmp_path, cache):
    root = mask_folders(tmp_path / "set", {"train": 2, "val": 1, "test": 1}, classes="a\nb\nc\n")
    size = (700, 600)
    picture(1, size).save(root / "train" / "images" / "000.jpg")
    mask(1, size).save(root / "train" / "masks" / "000.png")
    path = root / "train" / "masks" / "000.bmp"
    Image.open(root / "train" / "masks" / "000.png").save(path)
    (root / "train" / "masks" / "000.png").unlink()
    prints = [resolve_dataset(str(root), cache_dir=cache).fingerprint]
    content = bytearray(path.read_bytes())
    content[200_000] ^= 1
    path.write_bytes(bytes(content))
    prints.append(resolve_dataset(str(root), cache_dir=cache).fingerprint)
    (root / "classes.txt").write_text("a\nb\nd\n")
    prints.append(resolve_dataset(str(root), cache_dir=cache).fingerprint)
    assert len(content) > 2 * 131072 and len(set(prints)) == 3


def test_two_pictures_of_one_name_are_refused(tmp_path, cache):
    root = mask_folders(tmp_path / "set", THREE)
    picture(3).save(root / "train" / "images" / "002.png")
    with pytest.raises(DataError, match=r"002\.jpg and train/images/002\.png .* have the same name"):
        resolve_dataset(str(root), cache_dir=cache)


def test_sizes_are_read_once(tmp_path, cache, monkeypatch):
    root = mask_folders(tmp_path / "set", THREE, classes="a\nb\nc\n")
    age(root)
    spec = resolve_dataset(str(root), cache_dir=cache)
    first = _open(spec, cache)

    def refuse(self, index):
        raise AssertionError(f"{self.masks[index]} was opened again")

    monkeypatch.setattr(mask_files.MaskPairs, "size_or_problem", refuse)
    assert (_open(spec, cache).sizes == first.sizes).all()
    monkeypatch.undo()
    for path in (cache / "datasets").glob("sizes-*.npy"):
        path.write_bytes(path.read_bytes()[:-8])
    assert (_open(spec, cache).sizes == first.sizes).all()


def _ade20k(root):
    for place, (split, count) in enumerate((("training", 16), ("validation", 3))):
        (root / "images" / split).mkdir(parents=True)
        (root / "annotations" / split).mkdir(parents=True)
        for index in range(count):
            name = f"ADE_{split}_{index:08d}"
            picture(100 * place + index).save(root / "images" / split / f"{name}.jpg")
            mask(100 * place + index, labels=151).save(root / "annotations" / split / f"{name}.png")
    return root


def test_ade20k_ignores_label_0_and_counts_from_there(tmp_path, cache):
    root = _ade20k(tmp_path / "data" / "ADEChallengeData2016")
    rows = "".join(f"{n}\t0.1\t5\t5\t0\tthing{n}, synonym{n}\n" for n in range(1, 151))
    (root / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n" + rows)
    spec = resolve_dataset("ade20k", cache_dir=cache, data_dir=tmp_path / "data")
    assert dict(spec.sizes) == {"train": 14, "val": 2, "test": 3} and spec.annotations == ("semantic",)
    assert len(spec.classes) == 150 and spec.classes[0] == "thing1"
    test = _open(spec, cache, "test")
    stored = _stored(root / "annotations" / "validation" / "ADE_validation_00000001.png")
    found = test.semantic(1)
    assert (found[stored == 0] == IGNORE).all() and (found[stored > 0] == stored[stored > 0] - 1).all()
    for text in (str(root), f"ade20k:{root}"):
        assert resolve_dataset(text, cache_dir=cache) == spec
    (root / "objectInfo150.txt").unlink()
    assert resolve_dataset(str(root), cache_dir=cache).classes[149] == "class 150"
    (root / "objectInfo150.txt").write_text("1\t0\t0\t0\t0\twall\n")
    with pytest.raises(DataError, match="no name for the classes 2, 3"):
        resolve_dataset(str(root), cache_dir=cache)


def _cityscapes(root, end, labels):
    for place, (split, count) in enumerate((("train", 16), ("val", 3), ("test", 2))):
        for index in range(count):
            city, name = ("ulm", "bonn")[index % 2], f"{index:06d}_000019"
            for folder in ("leftImg8bit", "gtFine"):
                (root / folder / split / city).mkdir(parents=True, exist_ok=True)
            place_of = root / "leftImg8bit" / split / city / f"{city}_{name}_leftImg8bit.png"
            picture(100 * place + index).save(place_of)
            stem = f"{city}_{name}_gtFine_"
            mask(100 * place + index, labels=labels).save(root / "gtFine" / split / city / f"{stem}{end}.png")
            picture(1).save(root / "gtFine" / split / city / f"{stem}color.png")
            (root / "gtFine" / split / city / f"{stem}polygons.json").write_text("{}")
    return root


@pytest.mark.parametrize(("end", "labels"), [("labelIds", 34), ("labelTrainIds", 19)])
def test_cityscapes_has_19_classes_and_val_serves_as_test(tmp_path, cache, end, labels):
    root = _cityscapes(tmp_path / "data" / "cityscapes", end, labels)
    spec = resolve_dataset("cityscapes", cache_dir=cache, data_dir=tmp_path / "data")
    assert dict(spec.sizes) == {"train": 14, "val": 2, "test": 3} and len(spec.classes) == 19
    assert spec == resolve_dataset(str(root), cache_dir=cache)
    test = _open(spec, cache, "test")
    assert test.ids[0] == "leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png" and test.dropped == ()
    stored = _stored(root / "gtFine" / "val" / "bonn" / f"bonn_000001_000019_gtFine_{end}.png")
    found = test.semantic(0)
    if end == "labelTrainIds":
        assert (found == stored).all()
        return
    for label, expected in ((7, 0), (11, 2), (26, 13), (33, 18), (0, IGNORE), (29, IGNORE), (10, IGNORE)):
        assert (stored == label).any() and (found[stored == label] == expected).all()


@pytest.mark.parametrize("name", ["ade20k", "cityscapes"])
def test_what_cannot_be_fetched_says_how_to_get_it(name, tmp_path, cache):
    for ask in (resolve_dataset, fetch_dataset):
        with pytest.raises(DataMissingError, match=f"'{name}' is not on this machine.*with .*train.* in it"):
            ask(name, cache_dir=cache, data_dir=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not laid out as"):
        resolve_dataset(f"{name}:{tmp_path / 'empty'}", cache_dir=cache)


@pytest.mark.parametrize("text", ["masks", "masks:nowhere"])
def test_a_folder_of_masks_that_is_not_there_is_missing(text, cache):
    with pytest.raises(DataMissingError, match="SPLIT/images and SPLIT/masks"):
        resolve_dataset(text, cache_dir=cache)
