"""Pictures and maps of classes as people keep them: each layout is told from its names, and never two at once."""

from __future__ import annotations

import logging

import pytest
from data_helpers import class_folders, first_seed, mask, picture

from bob.core.errors import DataError
from bob.data import mask_layouts
from bob.data.dense_pictures import open_dense
from bob.data.file_names import is_picture
from bob.data.mask_layouts import is_masks
from bob.data.resolve import resolve_dataset

SIZES = {"train": 4, "val": 2, "test": 3}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "set"


def pairs(pictures, masks, count=4, *, picture_end=".jpg", mask_end=".png", start=0):
    """Write pictures into one folder and their masks into another (or the same)."""
    for folder in (pictures, masks):
        folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + count):
        picture(first_seed(*pictures.parts[-2:]) + index).save(pictures / f"p{index}{picture_end}")
        mask(index).save(masks / f"p{index}{mask_end}")


def resolved(root, cache, prefix=""):
    return resolve_dataset(f"{prefix}{root}", cache_dir=cache)


def maps_are_right(root, cache, splits=SIZES):
    """Tell whether every picture comes with its own mask, and no other."""
    spec = resolved(root, cache)
    assert spec.kind == "masks" and spec.classes == ("0", "1", "2")
    for split in splits:
        part = open_dense(spec, split, annotation="semantic", cache_dir=cache)
        assert part.dropped == ()
        for index, name in enumerate(part.ids):
            number = int("".join(letter for letter in name.rpartition("/")[2] if letter.isdigit()))
            assert (part.semantic(index) == mask(number)).all(), name
    return dict(spec.sizes)


@pytest.mark.parametrize("names", ["images labels", "img gt", "JPEGImages SegmentationClass", "photos ground_truth"])
@pytest.mark.parametrize("nested", ["split first", "parts first", "undivided"])
def test_folders_of_pictures_and_of_maps_are_known_by_their_usual_names(root, cache, names, nested):
    first, second = names.split()
    if nested == "undivided":
        pairs(root / first, root / second, 10)
        assert sum(maps_are_right(root, cache).values()) == 10
        return
    for split, count in SIZES.items():
        if nested == "split first":
            pairs(root / split / first, root / split / second, count)
        else:
            pairs(root / first / split, root / second / split, count)
    assert maps_are_right(root, cache) == SIZES


@pytest.mark.parametrize("form", ["{}annot", "{}_labels", "{}_masks", "{}-mask", "{} gt"])
def test_masks_beside_the_folder_of_a_split(root, cache, form):
    for split, count in SIZES.items():
        pairs(root / split, root / form.format(split), count)
    assert maps_are_right(root, cache) == SIZES


@pytest.mark.parametrize(
    "end", ["_mask.png", "_L.png", "_label.png", "_gt.tif", "_seg.bmp", "_mask.gif", "-labels.png"]
)
@pytest.mark.parametrize("place", ["one folder", "masks apart", "beside", "one folder in all", "satellites"])
def test_masks_whose_names_end_otherwise_than_those_of_their_pictures(root, cache, end, place):
    if place == "one folder in all":
        pairs(root, root, 10, mask_end=end)
        assert sum(maps_are_right(root, cache).values()) == 10
        return
    for split, count in SIZES.items():
        picture_end = "_sat.jpg" if place == "satellites" else ".jpg"
        masks = {"masks apart": root / split / "masks", "beside": root / f"{split}_masks"}.get(place, root / split)
        pictures = root / split / "images" if place == "masks apart" else root / split
        pairs(pictures, masks, count, picture_end=picture_end, mask_end=end)
    assert maps_are_right(root, cache) == SIZES


def test_pictures_in_the_same_format_as_their_masks_are_told_apart_by_the_ending(root, cache):
    pairs(root, root, 10, picture_end=".png", mask_end="_mask.png")
    assert sum(maps_are_right(root, cache).values()) == 10


def test_ade20k_is_found_in_its_parent_and_other_sets_are_not_taken_for_it(root, cache):
    for split in ("training", "validation"):
        folder = root / "ADEChallengeData2016"
        pairs(folder / "images" / split, folder / "annotations" / split)
        pairs(root.parent / "own" / "images" / split, root.parent / "own" / "annotations" / split)
    spec = resolved(root, cache)
    assert spec.kind == "ade20k" and spec == resolved(folder, cache) == resolved(root, cache, "ade20k:")
    assert resolved(root.parent / "own", cache).kind == "masks"


def test_two_folders_of_masks_are_refused_by_name(root, cache):
    pairs(root / "images", root / "masks", 10)
    pairs(root / "images", root / "gt", 10)
    with pytest.raises(DataError, match="'gt' and 'masks' may each hold the masks") as error:
        resolved(root, cache)
    assert "rename" in str(error.value.hint)


def test_masks_of_two_endings_are_refused_by_name(root, cache):
    pairs(root, root, 10, mask_end="_mask.png")
    pairs(root, root, 10, mask_end="_seg.png")
    with pytest.raises(DataError, match="with '_mask' and with '_seg'"):
        resolved(root, cache)


def test_labels_that_hold_maps_and_boxes_are_refused_and_a_prefix_settles_it(root, cache):
    pairs(root / "images", root / "labels", 10)
    for index in range(10):
        (root / "labels" / f"p{index}.txt").write_text("0 .5 .5 .1 .1\n")
    with pytest.raises(DataError, match=r"holds .*\.png, as maps of classes are, and .*\.txt, as boxes") as error:
        resolved(root, cache)
    assert f"masks:{root}" in str(error.value.hint)
    assert len(resolved(root, cache, "masks:").classes) == 3


def test_labels_of_text_alone_are_no_maps(root):
    pairs(root / "images", root / "labels", 10)
    for index in range(10):
        (root / "labels" / f"p{index}.png").rename(root / "labels" / f"p{index}.txt")
    assert not is_masks(root)


def test_lists_of_splits_are_not_passed_over(root, cache):
    pairs(root / "JPEGImages", root / "SegmentationClass", 10)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    with pytest.raises(DataError, match="lists of splits in ImageSets"):
        resolved(root, cache)
    assert resolved(root, cache, "masks:").kind == "masks"


def test_two_folders_of_one_split_are_refused(root, cache):
    for split in ("train", "val", "valid"):
        pairs(root / split / "images", root / split / "masks")
    with pytest.raises(DataError, match="both mean the split val"):
        resolved(root, cache)


def test_a_split_without_masks_is_said_to_be_left_out(root, cache, caplog):
    for split in ("train", "val"):
        pairs(root / split, root / f"{split}_masks")
    class_folders(root, {"test": 3})
    with caplog.at_level(logging.WARNING, logger="bob"):
        spec = resolved(root, cache)
    assert f"{root / 'test'} has pictures and no masks" in caplog.text and dict(spec.sizes)["test"] == 4


def test_one_split_whose_masks_are_called_otherwise_is_an_error_not_left_out(root, cache):
    for split in ("train", "test"):
        pairs(root / split / "images", root / split / "labels")
    for path in (root / "test" / "labels").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(DataError, match="no picture has a mask of the same name"):
        resolved(root, cache)


def test_classes_of_pictures_stay_classes(root, cache):
    class_folders(root / "train", {"label": 4, "dog": 4, "train_track": 4})
    class_folders(root / "test", {"label": 4, "dog": 4, "train_track": 4})
    assert resolved(root, cache).kind == "imagefolder"
    class_folders(root.parent / "faces", {"mask": 4, "no_mask": 4})
    assert resolved(root.parent / "faces", cache).classes == ("mask", "no_mask")


def test_a_few_names_tell_the_layout_however_many_files_there_are(root, monkeypatch):
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
        for index in range(2000):
            (root / folder / f"{index}.png").touch()
    asked = []
    monkeypatch.setattr(mask_layouts, "is_picture", lambda name: asked.append(name) or is_picture(name))
    assert is_masks(root) and len(asked) < 1000
