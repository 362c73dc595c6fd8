"""LVIS: which classes each picture has annotated is read with the boxes, and reaches the score; else it is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from lvis_samples import lvis_folder

from bob.core.errors import DataError
from bob.data.dense_pictures import open_dense
from bob.data.pictures import require_annotation
from bob.data.resolve import resolve_dataset


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_what_lvis_says_of_classes_and_pictures_is_read(tmp_path, cache):
    spec = resolve_dataset(str(lvis_folder(tmp_path / "set")), cache_dir=cache)
    assert spec.annotations == ("boxes", "instances", "federated") and spec.classes == ("cat", "owl", "dog")
    assert dict(spec.sizes) == {"train": 21, "val": 3, "test": 6}
    for annotation in ("boxes", "instances"):
        test = open_dense(spec, "test", annotation=annotation, cache_dir=cache)
        assert test.ids[0] == "train2017/000000000024.jpg" and test.frequencies == ("common", "rare", "frequent")
        assert [test.instances(index).absent.tolist() for index in range(3)] == [[], [1], []]
        assert [test.instances(index).partial.tolist() for index in range(3)] == [[], [2], [0, 2]]
    with pytest.raises(DataError, match="classes that are not annotated for each picture, not a class"):
        require_annotation(spec, "label")


def test_data_that_are_annotated_throughout_say_nothing_of_it(tmp_path, cache):
    def plain(*files):
        for made in files:
            for entry in made["images"]:
                del entry["neg_category_ids"], entry["not_exhaustive_category_ids"]

    spec = resolve_dataset(str(lvis_folder(tmp_path / "set", plain)), cache_dir=cache)
    train = open_dense(spec, "train", annotation="boxes", cache_dir=cache)
    assert spec.annotations == ("boxes", "instances", "multilabel") and train.frequencies == ()
    assert train.instances(0).absent is None and train.instances(0).partial is None


def _image(**values):
    return lambda train, val: train["images"][3].update(values)


def _category(**values):
    return lambda train, val: val["categories"][0].update(values)


WRONG = {
    "no list": (_image(neg_category_ids=7), r"picture 4 has neg_category_ids 7; a list of category ids"),
    "nothing": (_image(neg_category_ids=None), r"picture 4 has neg_category_ids None"),
    "unknown": (_image(not_exhaustive_category_ids=[99]), r"not_exhaustive_category_ids \[99\]; a list"),
    "text": (_image(not_exhaustive_category_ids=["x"]), r"not_exhaustive_category_ids \['x'\]"),
    "nested": (_image(neg_category_ids=[[3]]), r"neg_category_ids \[\[3\]\]"),
    "no frequency": (_category(frequency=None), r"lvis_v1_val.json: category 7 has the frequency None; r, c or f"),
    "a list": (_category(frequency=["r"]), r"has the frequency \['r'\]; r, c or f is expected"),
    "two": (_category(frequency="r"), r"category 7 has the frequency 'r'; f is expected"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_scored_is_refused(tmp_path, cache, case):
    change, words = WRONG[case]
    with pytest.raises(DataError, match=words):
        resolve_dataset(str(lvis_folder(tmp_path / "set", change)), cache_dir=cache)


def test_files_of_both_formats_are_refused(tmp_path, cache):
    def plain(train, val):
        for entry in val["images"]:
            del entry["neg_category_ids"], entry["not_exhaustive_category_ids"]

    with pytest.raises(DataError, match=r"lvis_v1_train\.json says .* and .*lvis_v1_val\.json does not"):
        resolve_dataset(str(lvis_folder(tmp_path / "set", plain)), cache_dir=cache)


def test_a_fingerprint_tells_scores_as_lvis_from_those_as_coco(tmp_path, cache):
    root = lvis_folder(tmp_path / "set")
    spec = resolve_dataset(str(root), cache_dir=cache)
    assert replace(spec) == resolve_dataset(f"coco:{root}", cache_dir=cache)
    description = next((cache / "datasets").glob("objects-*/description.json"))
    assert json.loads(description.read_text())["reading"] == 4
