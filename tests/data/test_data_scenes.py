"""The embedded scenes: frozen bytes, and labels, boxes, masks and maps that agree with each other."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from bob.core.errors import ConfigError
from bob.data import scenes
from bob.data.pictures import open_split
from bob.data.resolve import resolve_dataset

SAMPLE = [("train", index) for index in range(12)] + [("val", 3), ("test", 7)]


def _hash(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


GOLDEN = {
    ("train", 0, "clean"): ("7e9f5eb29f82b768", "772557701110ae12"),
    ("train", 17, "clean"): ("4334afa1d2a62e07", "53d8f539ef0eaa44"),
    ("val", 5, "sketch"): ("1be552e89bbdcc40", "af565aebfc1963dd"),
    ("test", 123, "fog"): ("f7c19d6a304f489b", "9317f3aeed737894"),
    ("test", 399, "painting"): ("61dac0e81d73eb91", "a712062a38eb4a9c"),
}


@pytest.mark.parametrize(("split", "index", "domain"), GOLDEN)
def test_scenes_1_is_frozen(split, index, domain):
    scene = scenes.render(split, index, domain=domain)
    assert scenes.VERSION == "scenes-1"
    assert (_hash(scene.image), _hash(scene.masks)) == GOLDEN[split, index, domain]


def test_an_unseen_scene_is_frozen_and_shows_only_unseen_classes():
    scene = scenes.render("test", 2, unseen=True)
    assert scene.label == scenes.label_of("test", 2, unseen=True) == 12
    assert scene.categories.min() >= len(scenes.CLASSES)
    assert _hash(scene.image) == "fbaefd496a1a04ad"


def test_another_process_renders_the_same_bytes():
    code = (
        "import hashlib; from bob.data import scenes;"
        "print(hashlib.sha256(scenes.render('val', 11).image.tobytes()).hexdigest()[:16])"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.strip() == _hash(scenes.render("val", 11).image)


@pytest.mark.parametrize(("split", "index"), SAMPLE)
def test_labels_boxes_masks_and_map_agree(split, index):
    scene = scenes.render(split, index)
    assert scene.image.shape == (160, 160, 3) and scene.image.dtype == np.uint8
    assert scene.label == scene.categories[0] == scenes.label_of(split, index) == index % 10
    assert len(scene.boxes) == len(scene.categories) == len(scene.masks) >= 1
    assert scene.masks.sum(axis=0).max() == 1
    for box, category, mask in zip(scene.boxes.astype(int), scene.categories, scene.masks, strict=True):
        left, top, right, bottom = box
        assert mask.sum() == mask[top:bottom, left:right].sum() > 0
        assert mask[top].any() and mask[bottom - 1].any() and mask[:, left].any() and mask[:, right - 1].any()
        assert (scene.semantic[mask] == category + 1).all()
    assert ((scene.semantic > 0) == scene.masks.any(axis=0)).all()


def test_the_main_object_has_the_longest_side_and_distractors_other_classes():
    several = [scenes.render("train", index) for index in range(40)]
    crowded = [scene for scene in several if len(scene.categories) > 1]
    assert len(crowded) > 10
    for scene in crowded:
        assert (scene.categories[1:] != scene.label).all()
    extents = [(scene.boxes[:, 2:] - scene.boxes[:, :2]).max(axis=1) for scene in crowded]
    assert np.mean([extent.argmax() == 0 for extent in extents]) > 0.9


def test_the_colour_alone_does_not_tell_the_class():
    means = np.array([scenes.render("train", index).image.mean(axis=(0, 1)) for index in range(100)])
    labels = np.arange(100) % 10
    centres = np.stack([means[:50][labels[:50] == label].mean(axis=0) for label in range(10)])
    guesses = ((means[50:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    assert (guesses == labels[50:]).mean() < 0.35


@pytest.mark.parametrize("domain", scenes.DOMAINS[1:])
def test_a_domain_changes_the_pixels_and_no_label(domain):
    clean, shifted = scenes.render("test", 4), scenes.render("test", 4, domain=domain)
    assert (clean.masks == shifted.masks).all() and (clean.boxes == shifted.boxes).all()
    assert clean.label == shifted.label
    assert np.abs(clean.image.astype(int) - shifted.image).mean() > 8


def test_splits_and_indices_give_different_scenes_and_sizes_the_same_layout():
    images = {_hash(scenes.render(split, index).image) for split in ("train", "val", "test") for index in range(4)}
    assert len(images) == 12
    small, large = scenes.render("train", 5, size=80), scenes.render("train", 5, size=160)
    assert small.image.shape == (80, 80, 3)
    assert np.abs(small.boxes[0] * 2 - large.boxes[0]).max() <= 4


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("trian", 0, {}), "train"),
        (("train", -1, {}), "-1"),
        (("train", 0, {"domain": "fogg"}), "Did you mean 'fog'"),
        (("train", 0, {"size": 8}), "8"),
    ],
)
def test_a_wrong_argument_is_named(arguments, word):
    split, index, more = arguments
    with pytest.raises(ConfigError, match=word):
        scenes.render(split, index, **more)


def test_unseen_scenes_are_a_set_of_their_own_with_classes_of_their_own(tmp_path):
    unseen, seen = (resolve_dataset(text, cache_dir=tmp_path) for text in ("scenes:test=6,unseen", "scenes:test=6"))
    assert unseen.name == "scenes-unseen" and unseen.fingerprint != seen.fingerprint
    assert set(unseen.classes).isdisjoint(seen.classes) and unseen.annotations == ("label",)
    pictures = open_split(unseen, "test", cache_dir=tmp_path)
    assert set(pictures.labels.tolist()) <= set(range(len(unseen.classes)))
    other = open_split(seen, "test", cache_dir=tmp_path)
    assert np.asarray(pictures.load(0)).tolist() != np.asarray(other.load(0)).tolist()
