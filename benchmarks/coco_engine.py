"""COCO's box AP of 2,000 pictures: pycocotools against BoB's engine, from the same arrays, in one process.

Run ``python -m benchmarks.coco_engine [PICTURES]``. Both sides start from boxes as arrays and end with the twelve
numbers; they take turns, so that a busy host slows both. The bootstrap of the AP is timed apart.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bob.data.annotations import Detections, Instances
from bob.metrics.detection_metrics import CocoScores, coco_scores
from bob.metrics.resampling import RESAMPLES

PICTURES, CLASSES, OBJECTS, FOUND, ROUNDS = 2000, 80, 7.3, 100, 3
HEIGHT, WIDTH = 480, 640

TestSet = tuple[list[Instances], list[Detections], np.ndarray]


def draw(pictures: int, *, seed: int = 0) -> TestSet:
    """Return truth and detections as of COCO: few classes a picture, some far more frequent than others."""
    rng = np.random.default_rng(seed)
    pairs = [_draw_picture(rng) for _ in range(pictures)]
    return [truth for truth, _ in pairs], [found for _, found in pairs], np.tile((HEIGHT, WIDTH), (pictures, 1))


def _draw_picture(rng: np.random.Generator) -> tuple[Instances, Detections]:
    frequency = 1 / np.arange(1, CLASSES + 1)
    frequency /= frequency.sum()
    count = 1 + rng.poisson(OBJECTS - 1)
    side = np.exp(rng.uniform(np.log(8), np.log(300), (count, 2)))
    corner = rng.random((count, 2)) * [WIDTH - 300, HEIGHT - 300]
    boxes = np.concatenate([corner, corner + side], axis=1)
    labels = rng.choice(rng.choice(CLASSES, 3, p=frequency), count)
    crowd, area = rng.random(count) < 0.01, side.prod(axis=1) * rng.uniform(0.5, 1, count)
    source = rng.integers(0, count, FOUND)
    moved = boxes[source] + np.tile(side[source], 2) * rng.normal(
        0, rng.choice([0.03, 0.1, 0.5], (FOUND, 1)), (FOUND, 4)
    )
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
    named = np.where(rng.random(FOUND) < 0.5, labels[source], rng.choice(CLASSES, FOUND, p=frequency))
    return (
        Instances(boxes=boxes, labels=labels, crowd=crowd, area=area),
        Detections(boxes=moved, scores=rng.random(FOUND) ** 3, labels=named),
    )


def by_pycocotools(truth: list[Instances], found: list[Detections], sizes: np.ndarray) -> np.ndarray:
    """Return pycocotools' twelve numbers; its prints are swallowed."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {
            "images": [{"id": i + 1, "height": int(h), "width": int(w)} for i, (h, w) in enumerate(sizes)],
            "categories": [{"id": index + 1} for index in range(CLASSES)],
            "annotations": _annotations(truth),
        }
        ground.createIndex()
        engine = COCOeval(ground, ground.loadRes(_rows(found)), "bbox")
        engine.evaluate()
        engine.accumulate()
        engine.summarize()
    return np.array(engine.stats)


def _rows(found: list[Detections]) -> np.ndarray:
    parts = []
    for index, one in enumerate(found):
        sides = one.boxes[:, 2:] - one.boxes[:, :2]
        ids = np.full(len(one), index + 1.0)
        parts.append(np.column_stack([ids, one.boxes[:, :2], sides, one.scores, one.labels + 1.0]))
    return np.concatenate(parts)


def _annotations(truth: list[Instances]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for picture, one in enumerate(truth):
        boxes = np.concatenate([one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]], axis=1)
        columns = (boxes.tolist(), one.labels.tolist(), one.crowd.tolist(), one.area.tolist())
        for box, label, crowd, area in zip(*columns, strict=True):
            row = {"id": len(rows) + 1, "image_id": picture + 1, "category_id": label + 1}
            rows.append({**row, "bbox": box, "iscrowd": int(crowd), "area": area})
    return rows


def by_bob(truth: list[Instances], found: list[Detections], sizes: np.ndarray, resamples: int = 0) -> CocoScores:
    """Return BoB's scores."""
    return coco_scores(truth, found, sizes, classes=CLASSES, kind="box", resamples=resamples)


def _timed(call: Callable[..., object], test_set: TestSet, **options: int) -> tuple[float, object]:
    start = time.perf_counter()
    result = call(*test_set, **options)
    return time.perf_counter() - start, result


def measure(pictures: int) -> dict[str, float]:
    """Return seconds of each, the ratio round by round, and the largest difference of the twelve numbers."""
    test_set = draw(pictures)
    by_bob(*draw(10))  # the import is not the engine's speed
    seconds, worst = [], 0.0
    for _ in range(ROUNDS):
        reference_s, stats = _timed(by_pycocotools, test_set)
        bob_s, scores = _timed(by_bob, test_set)
        assert isinstance(stats, np.ndarray) and isinstance(scores, CocoScores)
        ours = np.array([-1 if value is None else value for value in scores.metrics.values()])
        worst = max(worst, float(np.abs(ours - stats).max()))
        seconds.append((reference_s, bob_s))
    whole_s, _ = _timed(by_bob, test_set, resamples=RESAMPLES)
    columns = np.array(seconds)
    ratios = columns[:, 0] / columns[:, 1]
    return {
        "pictures": float(pictures),
        "detections": float(sum(map(len, test_set[1]))),
        "pycocotools_s": float(np.median(columns[:, 0])),
        "bob_s": float(np.median(columns[:, 1])),
        "times_faster": float(np.median(ratios)),
        "times_faster_least": float(ratios.min()),
        "largest_difference": worst,
        f"bootstrap_{RESAMPLES}_s": whole_s - float(np.median(columns[:, 1])),
    }


def main() -> None:
    """Measure and print the figures as JSON."""
    figures = measure(int(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
