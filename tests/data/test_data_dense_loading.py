"""Dense batches depend on seed, epoch and step alone; objects that a crop takes away do not train."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bob.backbones.backbone import InputConfig
from bob.data.annotations import IGNORE, Instances
from bob.data.dense_loading import DenseBatches
from bob.data.dense_pictures import open_dense
from bob.data.dense_views import Augmentation, instance_target
from bob.data.placement import Placement
from bob.data.resolve import resolve_dataset

INPUT = InputConfig(image_size=64, mean=(0.5,) * 3, std=(0.25,) * 3, interpolation="bilinear", crop_pct=1.0)
CANVAS = (64, 96)
LSJ = Augmentation(scale=(0.1, 2.0), jitter=0.2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def batches(cache, annotation, *, augmentation=LSJ, seed=0, **kwargs):
    spec = resolve_dataset("scenes:train=10,val=4,test=4", cache_dir=cache)
    pictures = open_dense(spec, "train", annotation=annotation, cache_dir=cache)
    return DenseBatches(
        pictures,
        INPUT,
        canvas=CANVAS,
        batch_size=4,
        augmentation=augmentation,
        seed=seed,
        device=torch.device("cpu"),
        **kwargs,
    )


def drawn(loaded, count, first=0):
    with loaded:
        stream = loaded.training(first)
        return [next(stream) for _ in range(count)]


def same(one, other):
    images, targets = one
    return torch.equal(images, other[0]) and all(
        all(torch.equal(value, b[name]) for name, value in a.items()) for a, b in zip(targets, other[1], strict=True)
    )


@pytest.mark.parametrize("annotation", ["boxes", "instances", "semantic"])
def test_a_batch_is_the_same_whoever_makes_it_and_wherever_one_starts(cache, annotation):
    whole = drawn(batches(cache, annotation), 5)
    threads = drawn(batches(cache, annotation, threads=3), 5)
    processes = drawn(batches(cache, annotation, loader_workers=2), 5)
    later = drawn(batches(cache, annotation), 2, first=3)
    assert all(same(a, b) for a, b in zip(whole, threads, strict=True))
    assert all(same(a, b) for a, b in zip(whole, processes, strict=True))
    assert all(same(a, b) for a, b in zip(whole[3:], later, strict=True))
    assert not same(whole[0], drawn(batches(cache, annotation, seed=1), 1)[0])


def test_a_target_lies_on_the_canvas_with_a_mask_for_each_box(cache):
    for images, targets in drawn(batches(cache, "instances"), 5):
        assert images.shape == (4, 3, *CANVAS)
        for target in targets:
            boxes, masks = target["boxes"], target["masks"]
            assert (boxes >= 0).all()
            assert (boxes[:, 2] <= CANVAS[1]).all() and (boxes[:, 3] <= CANVAS[0]).all()
            assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
            assert masks.shape == (len(boxes), *CANVAS)
            assert target["labels"].dtype == torch.int64
            for box, mask in zip(boxes, masks, strict=True):
                rows, columns = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
                # Its ends may be too thin for the canvas, but no pixel lies outside the box.
                assert columns[0] >= box[0] - 1 and rows[0] >= box[1] - 1
                assert columns[-1] + 1 <= box[2] + 1 and rows[-1] + 1 <= box[3] + 1


def test_padding_is_ignored_and_shows_the_models_mean(cache):
    small = Augmentation(scale=(0.5, 0.5), flip=False)
    images, targets = drawn(batches(cache, "semantic", augmentation=small), 1)[0]
    for image, target in zip(images, targets, strict=True):
        assert (target["map"][32:] == IGNORE).all()
        assert image[:, 32:].abs().max() < 0.02
        assert (target["map"][:32, :32] != IGNORE).all()


def test_evaluation_shows_every_picture_once_in_order_without_change(cache):
    with batches(cache, "boxes") as loaded:
        seen = list(loaded.evaluation())
    assert np.concatenate([indices for _, indices, _ in seen]).tolist() == list(range(10))
    assert all(p.scaled == (64, 64) and not p.flip for _, _, placements in seen for p in placements)


def test_crowds_and_what_is_cropped_away_do_not_train():
    boxes = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 40, 40], [31.5, 0, 50, 20]])
    instances = Instances(
        boxes=boxes,
        labels=np.array([3, 1, 2, 0]),
        crowd=np.array([False, False, True, False]),
        area=np.full(4, 100.0),
    )
    corner = Placement(size=(64, 64), scaled=(64, 64), canvas=(32, 32))
    target = instance_target(instances, corner, with_masks=False)
    assert target["labels"].tolist() == [3], "one outside, one crowd, one with half a pixel left"
    assert target["boxes"].tolist() == [[0, 0, 10, 10]]
