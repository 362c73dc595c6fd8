"""The embedded scenes as dense data: annotations agree with the render, are kept, and cost one rendering."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from bob.data import scenes
from bob.data.dense_pictures import open_dense
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset

TEXT = "scenes:train=12,val=3,test=4"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def test_annotations_are_those_of_the_render(cache):
    from pycocotools.mask import decode

    spec = resolve_dataset(TEXT, cache_dir=cache)
    assert spec.annotations == ("label", "boxes", "instances", "semantic", "multilabel")
    objects = open_dense(spec, "test", annotation="instances", cache_dir=cache)
    maps = open_dense(spec, "test", annotation="semantic", cache_dir=cache)
    assert objects.classes == scenes.CLASSES and maps.classes == ("background", *scenes.CLASSES)
    assert objects.ids == maps.ids == open_split(spec, "test", cache_dir=cache).ids
    for index in range(4):
        scene, found = scenes.render("test", index), objects.instances(index)
        assert (np.asarray(objects.load(index)) == scene.image).all()
        assert (found.boxes == scene.boxes).all() and found.boxes.dtype == np.float64
        assert (found.labels == scene.categories).all() and not found.crowd.any()
        assert (found.area == scene.masks.sum(axis=(1, 2))).all()
        assert (np.stack([decode(mask) for mask in found.masks]) == scene.masks).all()
        assert maps.semantic(index).dtype == np.uint8 and (maps.semantic(index) == scene.semantic).all()
    assert objects.sizes.tolist() == [[scenes.SIZE, scenes.SIZE]] * 4
    assert open_dense(spec, "test", annotation="boxes", cache_dir=cache).instances(0).masks is None


def test_annotations_are_kept_for_all_domains_and_made_anew_where_damaged(cache, monkeypatch):
    first = open_dense(resolve_dataset(TEXT, cache_dir=cache), "val", annotation="instances", cache_dir=cache)
    kept = [first.instances(index) for index in range(3)]
    path = next((cache / scenes.VERSION).rglob("000001.json"))
    path.write_text("{half a fi")
    assert first.instances(1).masks == kept[1].masks

    def refuse(*arguments, **options):
        raise AssertionError("a scene was rendered again")

    monkeypatch.setattr(scenes, "render", refuse)
    fog = resolve_dataset(TEXT + ",domain=fog", cache_dir=cache)
    again = open_dense(fog, "val", annotation="instances", cache_dir=cache)
    assert [again.instances(index).masks for index in range(3)] == [one.masks for one in kept]
    with pytest.raises(AssertionError, match="rendered again"):
        again.load(0)


def test_a_cap_is_balanced_over_the_main_objects_classes(cache):
    spec = resolve_dataset("scenes:train=40", cache_dir=cache)
    capped = open_dense(spec, "train", annotation="boxes", cap=10, cache_dir=cache)
    assert sorted(capped.instances(index).labels[0] for index in range(10)) == list(range(10))


def test_dense_pictures_cross_a_process_border(cache):
    spec = resolve_dataset(TEXT, cache_dir=cache)
    for annotation in ("boxes", "semantic"):
        pictures = open_dense(spec, "train", annotation=annotation, cache_dir=cache)
        copy = pickle.loads(pickle.dumps(pictures))
        assert copy.load(2).tobytes() == pictures.load(2).tobytes() and copy.ids == pictures.ids


@pytest.mark.parametrize("annotation", ["boxes", "instances", "semantic"])
def test_planning_and_reading_import_nothing_heavy(cache, annotation):
    code = f"""
import sys
from pathlib import Path
from bob.data.resolve import resolve_dataset
from bob.data.dense_pictures import open_dense
cache = Path({str(cache)!r})
pictures = open_dense(resolve_dataset({TEXT!r}, cache_dir=cache), "val", annotation={annotation!r}, cache_dir=cache)
pictures.semantic(0) if {annotation!r} == "semantic" else pictures.instances(0)
print([name for name in ("torch", "pandas", "pyarrow", "scipy", "timm", "matplotlib") if name in sys.modules])
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"
