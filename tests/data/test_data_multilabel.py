"""Which classes a picture shows, as its objects say it: there, absent, or not known."""

from __future__ import annotations

import numpy as np
import pytest
from data_helpers import coco_content, coco_folder

from bob.core.errors import DataError
from bob.data import scenes
from bob.data.class_presence import contrasted, presence
from bob.data.dataset import DatasetSpec
from bob.data.dense_pictures import open_dense
from bob.data.multilabel_pictures import open_whole
from bob.data.pictures import open_split
from bob.data.readers import READERS
from bob.data.readers.base import Samples
from bob.data.resolve import resolve_dataset

NAN = np.nan


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def opened(spec, cache, split="test", cap=None):
    return open_whole(spec, split, annotation="multilabel", cap=cap, cache_dir=cache)


def test_an_object_is_there_a_crowd_alone_is_unknown_and_the_rest_absent():
    at, labels = np.array([0, 0, 1, 2, 2]), np.array([0, 0, 1, 2, 0])
    found = presence(at, labels, np.array([False, True, True, False, True]), shape=(4, 3), doubtful={2})
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[1, 0, 0], [0, NAN, 0], [NAN, NAN, 1], [0, 0, 0]])
    assert contrasted(found) == 2 and contrasted(found[:, 1:2]) == 0


def test_cocos_pictures_show_what_has_boxes_and_nobody_knows_of_what_was_left_out(tmp_path, cache):
    content = coco_content(40, objects=1)
    for one in content["annotations"]:
        one["category_id"] = (7, 3)[one["image_id"] % 2]  # dog, cat: cat is class 0
    second, third = content["annotations"][1:3]
    content["annotations"][3:] = [one for one in content["annotations"][3:] if one["image_id"] % 4]
    second["iscrowd"] = 1
    third["bbox"] = [2, 4, 0, 0]
    root = coco_folder(tmp_path / "set", {"train": coco_content(8), "val": coco_content(4), "test": content})
    spec = resolve_dataset(str(root), cache_dir=cache)
    pictures = opened(spec, cache)
    boxes = open_dense(spec, "test", annotation="boxes", cache_dir=cache)
    assert (pictures.ids, pictures.classes, pictures.values.shape) == (boxes.ids, boxes.classes, (40, 2))
    np.testing.assert_array_equal(pictures.values[:3], [[1, 0], [0, NAN], [NAN, NAN]])
    for index in range(3, 40):
        there = set(boxes.instances(index).labels.tolist())
        assert set(np.flatnonzero(pictures.values[index]).tolist()) == there
    assert not pictures.values[3:].all(axis=1).any() and (pictures.values[3:].sum(axis=1) == 0).any()
    assert (pictures.labels == (pictures.values == 1).argmax(axis=1)).all()
    assert dict(spec.contrasted) == {"train": 0, "val": 0, "test": 2}  # both classes are in all of train
    assert np.asarray(pictures.load(3)).shape == (30, 40, 3)


def test_a_cap_balances_the_first_class_and_leaves_the_split_as_it_is(tmp_path, cache):
    content = coco_content(30, objects=1)
    for one in content["annotations"]:
        one["category_id"] = content["categories"][0 if one["image_id"] % 10 else 1]["id"]
    root = coco_folder(tmp_path / "set", {"train": content})  # val and test are split off
    spec = resolve_dataset(str(root), cache_dir=cache)
    whole = [opened(spec, cache, split) for split in ("train", "val", "test")]
    assert [len(each) for each in whole] == list(dict(spec.sizes).values())
    dense = [open_dense(spec, split, annotation="boxes", cache_dir=cache).ids for split in ("train", "val", "test")]
    assert [each.ids for each in whole] == dense
    rare = int((whole[0].labels == 1).sum())
    capped = opened(spec, cache, "train", cap=2 * rare)
    assert (capped.labels == 1).sum() == rare and set(capped.ids) <= set(whole[0].ids)


def test_scenes_show_the_classes_of_their_objects(cache):
    spec = resolve_dataset("scenes:train=12,val=3,test=8", cache_dir=cache)
    pictures = opened(spec, cache)
    for index in range(8):
        there = sorted(set(scenes.render("test", index).categories.tolist()))
        assert np.flatnonzero(pictures.values[index]).tolist() == there
    assert pictures.values.sum(axis=1).max() > 1 and not np.isnan(pictures.values).any()
    assert "multilabel" not in resolve_dataset("scenes:unseen", cache_dir=cache).annotations
    # What other tasks see of them stays as it was.
    assert open_split(spec, "test", cache_dir=cache).values is None


class Native:
    """A reader whose pictures come with their values."""

    def __init__(self, values):
        self.values = values

    def open(self, spec, *, cache_dir):
        ids, labels = ("a", "b"), np.zeros(2, dtype=np.int64)
        return {"test": Samples(ids=ids, labels=labels, read=str, trusted=True, values=self.values)}


@pytest.mark.parametrize("values", [None, [[1], [0]], [[1, 2], [0, 0]]])
def test_a_reader_says_values_itself_and_wrong_ones_are_refused(values, cache, monkeypatch):
    spec = DatasetSpec(
        name="n",
        kind="native",
        root=None,
        fingerprint="f",
        classes=("x", "y"),
        sizes=(("test", 2),),
        annotations=("multilabel",),
    )
    monkeypatch.setitem(READERS._entries, "native", Native(np.array([[1, NAN], [0, 1]])))
    assert opened(spec, cache).values.dtype == np.float32
    monkeypatch.setitem(READERS._entries, "native", Native(None if values is None else np.array(values)))
    with pytest.raises(DataError, match="expected 1, 0 or NaN of shape"):
        opened(spec, cache)
