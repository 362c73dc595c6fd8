"""Random truth and detections for the tests of COCO's metrics, and pycocotools' own numbers for them."""

from __future__ import annotations

import contextlib
import io

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bob.data.annotations import Detections, Instances

HEIGHT, WIDTH = 120, 160
EDGE_AREAS = (0.0, 32.0**2, 96.0**2)


def instances(boxes, labels, *, crowd=None, area=None, masks=None) -> Instances:
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    sides = boxes[:, 2:] - boxes[:, :2]
    return Instances(
        boxes=boxes,
        labels=np.asarray(labels, dtype=np.int64),
        crowd=np.zeros(len(boxes), bool) if crowd is None else np.asarray(crowd, bool),
        area=sides.prod(axis=1) if area is None else np.asarray(area, np.float64),
        masks=masks,
    )


def detections(boxes, scores, labels, *, masks=None) -> Detections:
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return Detections(boxes=boxes, scores=np.asarray(scores, float), labels=np.asarray(labels, np.int64), masks=masks)


def draw_test_set(
    pictures, classes, seed, *, kind="box", objects=5.0, found=20.0, present=None, ties=False, whole=False
):
    """Return (truth, found, sizes): crowds, areas on the borders of the size ranges, pictures without anything.

    ``present`` classes occur in truth; ``ties`` makes many scores equal, ``whole`` puts boxes on whole pixels.
    """
    rng = np.random.default_rng(seed)
    pairs = [
        _draw_picture(rng, classes, present or classes, kind, objects, found, ties, whole) for _ in range(pictures)
    ]
    return [truth for truth, _ in pairs], [found for _, found in pairs], np.tile((HEIGHT, WIDTH), (pictures, 1))


def _draw_picture(rng, classes, present, kind, objects, found, ties, whole):
    count = rng.poisson(objects)
    corner = rng.random((count, 2)) * [WIDTH * 0.7, HEIGHT * 0.7]
    side = np.exp(rng.uniform(np.log(5), np.log(115), (count, 2)))
    boxes = np.concatenate([corner, np.minimum(corner + side, [WIDTH, HEIGHT])], axis=1)
    boxes = np.round(boxes) if whole else boxes
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.6, 1, count)
    area = np.where(rng.random(count) < 0.15, rng.choice(EDGE_AREAS, count), area)
    labels, crowd = rng.integers(0, present, count), rng.random(count) < 0.1
    truth = instances(boxes, labels, crowd=crowd, area=area, masks=_masks(rng, boxes, kind))
    guesses = 0 if rng.random() < 0.1 else rng.poisson(found)
    source = rng.integers(0, max(count, 1), guesses)
    base = boxes[source] if count else np.tile([5.0, 5.0, 40.0, 50.0], (guesses, 1))
    moved = base + rng.normal(0, rng.choice([0.5, 3, 15], (guesses, 1)), (guesses, 4))
    low, high = np.minimum(moved[:, :2], moved[:, 2:]), np.maximum(moved[:, :2], moved[:, 2:])
    guessed = np.concatenate([low.clip(0, [WIDTH - 2, HEIGHT - 2]), high.clip(2, [WIDTH, HEIGHT])], axis=1)
    guessed[:, 2:] = np.maximum(guessed[:, 2:], guessed[:, :2] + 1)
    guessed = np.round(guessed) if whole else guessed
    right = labels[source] if count else np.zeros(guesses, np.int64)
    named = np.where(rng.random(guesses) < 0.8, right, rng.integers(0, classes, guesses))
    scores = rng.random(guesses)
    scores = np.round(scores, 1) if ties else scores
    return truth, detections(guessed, scores, named, masks=_masks(rng, guessed, kind))


def _masks(rng, boxes, kind):
    return tuple(striped_mask(box, int(rng.integers(3, 9))) for box in boxes) if kind == "mask" else None


def striped_mask(box, step):
    """Return the run lengths of a box with every ``step``-th diagonal missing."""
    left, top, right, bottom = (int(value) for value in box)
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    mask[top : max(bottom, top + 1), left : max(right, left + 1)] = 1
    mask[np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % step == 0] = 0
    return rle.encode(mask)


def pycocotools_evaluation(truth, found, sizes, *, classes, kind) -> COCOeval:
    """Evaluate with pycocotools, its prints swallowed; it raises if nothing was found."""
    ground, results = COCO(), _results(found, kind)
    ground.dataset = {
        "images": [{"id": i + 1, "height": int(h), "width": int(w)} for i, (h, w) in enumerate(sizes)],
        "categories": [{"id": index + 1, "name": str(index)} for index in range(classes)],
        "annotations": _annotations(truth, kind),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        ground.createIndex()
        engine = COCOeval(ground, ground.loadRes(results), {"box": "bbox", "mask": "segm"}[kind])
        engine.evaluate()
        engine.accumulate()
        engine.summarize()
    return engine


def _corner_and_size(box):
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _annotations(truth, kind):
    rows = []
    for picture, one in enumerate(truth):
        for index in range(len(one)):
            row = {"id": len(rows) + 1, "image_id": picture + 1, "category_id": int(one.labels[index]) + 1}
            row |= {"area": float(one.area[index]), "iscrowd": int(one.crowd[index])}
            row |= {"bbox": _corner_and_size(one.boxes[index])}
            rows.append(row | ({"segmentation": one.masks[index]} if kind == "mask" else {}))
    return rows


def _results(found, kind):
    rows = []
    for picture, one in enumerate(found):
        for index in range(len(one)):
            row = {"image_id": picture + 1, "category_id": int(one.labels[index]) + 1}
            row |= {"score": float(one.scores[index])}
            box = {"bbox": _corner_and_size(one.boxes[index])}
            rows.append(row | ({"segmentation": one.masks[index]} if kind == "mask" else box))
    return rows
