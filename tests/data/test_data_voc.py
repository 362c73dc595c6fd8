"""PASCAL VOC: boxes and class masks as the devkit means them; XML files are read with suspicion."""

from __future__ import annotations

import numpy as np
import pytest
from data_helpers import mask, picture
from PIL import Image

from bob.core.errors import DataError, DataMissingError
from bob.data.annotations import IGNORE
from bob.data.dense_pictures import open_dense
from bob.data.resolve import fetch_dataset, resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _object(name="dog", box=(3, 4, 10, 12), difficult=0):
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    named = f"<name>{name}</name><difficult>{difficult}</difficult>"
    return f"<object>{named}<bndbox>{corners}</bndbox>{part}</object>"


def _page(*objects, size=(40, 30)):
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><folder>VOC2012</folder>{stated}{''.join(objects)}</annotation>"


def _voc(root, *, train=40, val=6, masks=True):
    """Write VOC2012 with boxes for all pictures and masks for every other one."""
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    names = {"train": [f"2007_{n:06d}" for n in range(train)], "val": [f"2008_{n:06d}" for n in range(val)]}
    for index, name in enumerate(names["train"] + names["val"]):
        picture(index).save(root / "JPEGImages" / f"{name}.jpg")
        (root / "Annotations" / f"{name}.xml").write_text(_page(_object(), _object("cat", (1, 1, 40, 30), 1)))
        if masks and index % 2 == 0:
            image = mask(index, labels=21)
            values = np.asarray(image).copy()
            values[5] = IGNORE
            image = Image.fromarray(values)
            image.putpalette([index % 256 for index in range(768)])
            image.save(root / "SegmentationClass" / f"{name}.png")
    for split, listed in names.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(listed) + "\n")
        (root / "ImageSets" / "Main" / f"dog_{split}.txt").write_text("\n".join(f"{name} -1" for name in listed))
        with_masks = [name for name in listed if (root / "SegmentationClass" / f"{name}.png").is_file()]
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(with_masks))
    return root


def _open(spec, cache, annotation="boxes", split="train"):
    return open_dense(spec, split, annotation=annotation, cache_dir=cache)


def test_boxes_start_at_0_and_difficult_objects_are_crowds(tmp_path, cache):
    root = _voc(tmp_path / "data" / "VOCdevkit" / "VOC2012")
    spec = resolve_dataset("voc", cache_dir=cache, data_dir=tmp_path / "data")
    assert (spec.kind, spec.name, len(spec.classes)) == ("voc", "voc", 20)
    assert spec.annotations == ("boxes", "multilabel", "semantic")
    assert dict(spec.sizes) == {"train": 35, "val": 5, "test": 6}
    test = _open(spec, cache, split="test")
    assert test.ids[2] == "JPEGImages/2008_000002.jpg" and test.faults == {} and test.load(2).size == (40, 30)
    found = test.instances(2)
    assert found.boxes.tolist() == [[2, 3, 10, 12], [0, 0, 40, 30]] and found.crowd.tolist() == [False, True]
    assert [test.classes[label] for label in found.labels] == ["dog", "cat"] and found.area.tolist() == [72, 1200]
    for text in (root, root.parent, root.parent.parent, f"voc:{root}", f"voc:{root.parent}"):
        assert resolve_dataset(str(text), cache_dir=cache).fingerprint == spec.fingerprint


def test_class_masks_have_a_background_and_an_ignored_border(tmp_path, cache):
    root = _voc(tmp_path / "VOC2012")
    test = _open(resolve_dataset(str(root), cache_dir=cache), cache, "semantic", "test")
    assert len(test) == 3 and test.classes[:2] == ("background", "aeroplane") and len(test.classes) == 21
    with Image.open(root / "SegmentationClass" / "2008_000002.png") as stored:
        assert stored.mode == "P" and (test.semantic(1) == np.asarray(stored)).all()
    assert (test.semantic(1)[5] == IGNORE).all() and test.sizes.tolist() == [[30, 40]] * 3


def test_pictures_with_masks_are_counted_apart_from_those_with_boxes(tmp_path, cache):
    spec = resolve_dataset(str(_voc(tmp_path / "VOC2012")), cache_dir=cache)
    for annotation in ("boxes", "semantic"):
        counts = {split: len(_open(spec, cache, annotation, split)) for split in ("train", "val", "test")}
        assert spec.counts(annotation) == counts
    assert spec.counts("semantic") != spec.counts("boxes")


FAULTS = {
    "outside": (_object(box=(60, 4, 70, 12)), "a box outside its picture"),
    "no area": (_object(box=(10, 4, 5, 12)), "a box with no area"),
    "text": (_object(box=("a", 4, 5, 12)), "a box that is no four numbers"),
    "no box": ("<object><name>dog</name></object>", "a box that is no four numbers"),
    "no name": (_object(name=" "), "an object without a class name"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_an_object_that_cannot_be_right_is_left_out_named_and_counted(tmp_path, cache, caplog, case):
    text, reason = FAULTS[case]
    root = _voc(tmp_path / "VOC2012", masks=False)
    (root / "Annotations" / "2008_000001.xml").write_text(_page(_object(), text, *[_object()] * 20))
    test = _open(resolve_dataset(str(root), cache_dir=cache), cache, split="test")
    assert test.faults == {reason: 1} and len(test.instances(1)) == 21
    assert f"Annotations/2008_000001.xml, object 2: {reason}" in caplog.text


def test_pictures_without_a_page_of_another_size_or_missing_are_dropped_by_name(tmp_path, cache, caplog):
    root = _voc(tmp_path / "VOC2012", val=80)
    (root / "Annotations" / "2008_000001.xml").unlink()
    (root / "JPEGImages" / "2008_000002.jpg").unlink()
    (root / "Annotations" / "2008_000003.xml").write_text(_page(_object(), size=(50, 30)))
    (root / "Annotations" / "2008_000004.xml").write_text(_page(_object(), size=(0, 0)))
    spec = resolve_dataset(str(root), cache_dir=cache)
    test = _open(spec, cache, split="test")
    assert set(test.dropped) == {f"JPEGImages/2008_00000{n}.jpg" for n in (1, 2, 3)} and len(test) == 77
    assert "there are no annotations for it" in caplog.text and "its XML file says 50 x 30" in caplog.text
    assert test.sizes.tolist() == [[30, 40]] * 77


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Annotations/2007_000003.xml", _page(_object())[:60], r"2007_000003\.xml is cut off .* line 1, column"),
        ("Annotations/2007_000003.xml", "<html></html>", "holds <html>"),
        ("ImageSets/Main/val.txt", "2007_000001\n", r"2007_000001 is in both train\.txt and val\.txt"),
        ("ImageSets/Main/val.txt", "../../secret\n", "is no plain name"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_an_error_that_says_where(tmp_path, cache, name, content, words):
    root = _voc(tmp_path / "VOC2012")
    (root / name).write_text(content)
    with pytest.raises(DataError, match=words):
        resolve_dataset(str(root), cache_dir=cache)


def test_an_entity_bomb_is_refused(tmp_path, cache):
    root = _voc(tmp_path / "VOC2012")
    lines = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 20}">' for n in range(1, 12))
    bomb = (
        f'<!DOCTYPE annotation [<!ENTITY a0 "ha">{lines}]><annotation><object><name>&a11;</name></object></annotation>'
    )
    (root / "Annotations" / "2007_000003.xml").write_text(bomb)
    with pytest.raises(DataError, match=r"2007_000003\.xml defines entities"):
        resolve_dataset(str(root), cache_dir=cache)


def test_other_names_are_another_data_set_without_class_masks(tmp_path, cache):
    root = _voc(tmp_path / "VOC2012")
    (root / "Annotations" / "2007_000003.xml").write_text(_page(_object("wolf")))
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert (spec.classes, spec.annotations) == (("cat", "dog", "wolf"), ("boxes", "multilabel"))
    assert spec.overlaps == ()


def test_several_years_must_be_named_one_by_one(tmp_path, cache):
    for year in ("VOC2007", "VOC2012"):
        _voc(tmp_path / "VOCdevkit" / year, masks=False)
    with pytest.raises(DataError, match="found: VOC2007, VOC2012"):
        resolve_dataset(str(tmp_path / "VOCdevkit"), cache_dir=cache)
    alone = resolve_dataset(str(tmp_path / "VOCdevkit" / "VOC2007"), cache_dir=cache)
    assert alone.annotations == ("boxes", "multilabel")


def test_voc_is_downloaded_whole_or_not_at_all(tmp_path, cache, monkeypatch):
    def download(self, root, **options):
        assert options == {"year": "2012", "image_set": "trainval", "download": True}
        _voc(tmp_path / "fetched")
        (tmp_path / "fetched").rename(_made(root) / "VOC2012")

    def _made(root):
        from pathlib import Path

        folder = Path(root) / "VOCdevkit"
        folder.mkdir(parents=True)
        return folder

    monkeypatch.setattr("torchvision.datasets.VOCDetection.__init__", download)
    with pytest.raises(DataMissingError, match="'voc' is not on this machine"):
        resolve_dataset("voc", cache_dir=cache)
    spec = fetch_dataset("voc", cache_dir=cache)
    assert dict(spec.sizes)["train"] == 35 and "downloads" in str(spec.root)
