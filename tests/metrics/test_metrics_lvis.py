"""LVIS' federated AP equals lvis-api's to 1e-6, on boxes and masks, and its replicates are exact.

The constants are what lvis 0.5.3 says. To have them anew, install it where nothing else is, and run with this folder
and ``tests/helpers`` on the path ("many" is ``case(guesses=400)`` of boxes):

    import json, sys, types, numpy
    numpy.float = float  # lvis 0.5.3 is older than numpy 1.24
    sys.modules["cv2"] = types.ModuleType("cv2")  # which draws
    from lvis import LVIS, LVISEval, LVISResults
    from test_metrics_lvis import as_lvis, case
    for kind, name in (("box", "bbox"), ("mask", "segm")):
        content, results = as_lvis(*case(), kind)
        json.dump(content, open("truth.json", "w"))
        truth = LVIS("truth.json")
        engine = LVISEval(truth, LVISResults(truth, results), name)
        engine.run()
        print(kind, [round(float(value), 9) for value in list(engine.results.values())[:9]])
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from detection_samples import HEIGHT, WIDTH, detections, instances, striped_mask

from bob.metrics.detection_metrics import coco_scores
from bob.metrics.resampling import RESAMPLES, resampled_counts

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ap_rare", "ap_common", "ap_frequent")
REFERENCE = {  # -1: there is no object to find, which is None here
    "box": (
        0.178513496,
        0.242440534,
        0.196008129,
        0.18064977,
        0.235188047,
        -1,
        0.180605752,
        0.112069778,
        0.209643099,
    ),
    "mask": (0.067007634, 0.232531895, 0.0, 0.059329442, 0.100709667, -1, 0.068663292, 0.04446016, 0.076625714),
    "many": (0.009862654, 0.01785168, 0.010015088, 0.010169362, 0.013479632, 0.5, 0.007250612, 0.007904805, 0.01345362),
}
PICTURES, CLASSES = 14, 5
FREQUENCIES = ("rare", "common", "frequent", "rare", "frequent")


def numbers(seed):
    """Yield the same whole numbers on every machine."""
    state = seed
    while True:
        state = (1103515245 * state + 12345) % 2**31
        yield state >> 12


def box_from(draw):
    left, top = next(draw) % (WIDTH - 40), next(draw) % (HEIGHT - 40)
    return [left, top, left + 6 + next(draw) % (WIDTH - left - 6), top + 6 + next(draw) % (HEIGHT - top - 6)]


def case(*, guesses=25):
    """Return truth, detections and sizes: classes known to be absent, of which nothing is known, and not complete."""
    draw, truth, found = numbers(7), [], []
    for _ in range(PICTURES):
        boxes = [box_from(draw) for _ in range(1 + next(draw) % 5)]
        labels = [next(draw) % 3 + next(draw) % 3 for _ in boxes]
        others = sorted(set(range(CLASSES)) - set(labels))
        known = {"absent": others[: len(others) // 2], "partial": sorted(set(labels))[: next(draw) % 2] + others[-1:]}
        one = instances(boxes, labels, masks=tuple(striped_mask(box, 5) for box in boxes))
        truth.append(dataclasses.replace(one, **{name: np.array(said, np.int64) for name, said in known.items()}))
        found.append(_found(draw, boxes, labels, guesses))
    return truth, found, np.tile((HEIGHT, WIDTH), (PICTURES, 1))


def _found(draw, boxes, labels, guesses):
    near = [
        [left + next(draw) % 3, top + next(draw) % 3, right - next(draw) % 3, bottom - next(draw) % 3]
        for left, top, right, bottom in boxes
    ]
    found = near + [box_from(draw) for _ in range(guesses)]
    named = labels + [next(draw) % CLASSES for _ in range(guesses)]
    scores = [(next(draw) % 1000) / 1000 for _ in found]
    return detections(found, scores, named, masks=tuple(striped_mask(box, 7) for box in found))


def as_lvis(truth, found, sizes, kind):
    """Return the truth as LVIS' JSON has it, and the detections as a list of results."""
    images = [
        {
            **{"id": index + 1, "height": int(height), "width": int(width)},
            "neg_category_ids": (truth[index].absent + 1).tolist(),
            "not_exhaustive_category_ids": (truth[index].partial + 1).tolist(),
        }
        for index, (height, width) in enumerate(sizes)
    ]
    categories = [{"id": index + 1, "name": str(index), "frequency": name[0]} for index, name in enumerate(FREQUENCIES)]
    objects = _entries(truth, lambda one, i: float(one.area[i]), "area")
    annotations = [{"id": number + 1, **entry} for number, entry in enumerate(objects)]
    results = _entries(found, lambda one, i: float(one.scores[i]), "score")
    for entry in results:
        del entry["segmentation" if kind == "box" else "bbox"]
    return {"images": images, "categories": categories, "annotations": annotations}, results


def _entries(side, value, name):
    return [
        {
            **{"image_id": picture + 1, "category_id": int(one.labels[i]) + 1, name: value(one, i)},
            "bbox": [*one.boxes[i][:2].tolist(), *(one.boxes[i][2:] - one.boxes[i][:2]).tolist()],
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": one.masks[i]["counts"].decode()},
        }
        for picture, one in enumerate(side)
        for i in range(len(one))
    ]


def assert_equal(scores, reference):
    found = [-1 if value is None else value for value in scores.metrics.values()]
    assert found == pytest.approx(list(reference), abs=1e-6, rel=0)


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_every_number_equals_lvis_apis(kind):
    truth, found, sizes = case()
    scores = coco_scores(truth, found, sizes, classes=CLASSES, kind=kind, resamples=0, frequencies=FREQUENCIES)
    assert tuple(scores.metrics) == tuple(f"{kind}_{name}" for name in NAMES)
    assert_equal(scores, REFERENCE[kind])


def test_300_detections_of_a_picture_count():
    truth, found, sizes = case(guesses=400)
    scores = coco_scores(truth, found, sizes, classes=CLASSES, kind="box", resamples=0, frequencies=FREQUENCIES)
    assert_equal(scores, REFERENCE["many"])


def score(truth, found, **options):
    sizes = np.tile((HEIGHT, WIDTH), (len(truth), 1))
    return coco_scores(truth, found, sizes, classes=2, kind="box", **{"resamples": 0, **options}).metrics["box_ap"]


def test_what_nobody_looked_for_is_no_mistake_and_what_is_known_to_be_absent_is():
    box, other = [0, 0, 40, 40], [60, 60, 90, 90]
    one, nothing = instances([box], [0]), instances([], [])
    found = [detections([box, other], [0.5, 0.9], [0, 0])] + [detections([box], [0.9], [0])] * 2
    labels = {"none": np.array([], np.int64), "first": np.array([0])}
    cases = {("none", "none"): 0.5, ("first", "none"): 1.0, ("none", "first"): 0.25}
    for (partial, absent), expected in cases.items():
        truth = [dataclasses.replace(one, absent=labels["none"], partial=labels[partial])]
        truth += [dataclasses.replace(nothing, absent=labels[absent], partial=labels["none"])] * 2
        assert score(truth, found, frequencies=("rare", "common")) == pytest.approx(expected)


def test_replicates_are_the_ap_of_resampled_test_sets():
    truth, found, sizes = case()
    options = {"classes": CLASSES, "kind": "box", "frequencies": FREQUENCIES}
    scores = coco_scores(truth, found, sizes, **options, resamples=3)
    assert len(scores.replicates) == 3 < RESAMPLES
    for turn, counts in enumerate(np.concatenate(list(resampled_counts(PICTURES, resamples=3)))):
        drawn = np.repeat(np.arange(PICTURES), counts)
        again = coco_scores([truth[i] for i in drawn], [found[i] for i in drawn], sizes[drawn], **options, resamples=0)
        assert scores.replicates[turn] == pytest.approx(again.metrics["box_ap"], abs=1e-12)


def test_federated_truth_is_never_scored_as_cocos():
    truth, found, sizes = case()
    with pytest.raises(ValueError, match="go with frequencies"):
        coco_scores(truth, found, sizes, classes=CLASSES, kind="box")
    with pytest.raises(ValueError, match="for each of 5 classes"):
        coco_scores(truth, found, sizes, classes=CLASSES, kind="box", frequencies=("rare",))
    with pytest.raises(ValueError, match="go with frequencies"):
        score([instances([], [])], [detections([], [], [])], frequencies=("rare", "common"))
