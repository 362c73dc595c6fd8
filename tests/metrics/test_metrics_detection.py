"""COCO's numbers equal pycocotools' to 1e-6 on boxes and masks, also at the edges; replicates are exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from detection_samples import detections, draw_test_set, instances, pycocotools_evaluation, striped_mask

from bob.core.errors import DataError, NumericalError
from bob.metrics.detection_metrics import coco_scores
from bob.metrics.resampling import RESAMPLES, resampled_counts

CLOSE = {"abs": 1e-6, "rel": 0}
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
NAMES += ("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")
SIZES = np.tile((120, 160), (2, 1))
NOTHING_TRUE, NOTHING_FOUND = instances([], []), detections([], [], [])


def assert_equals_pycocotools(truth, found, sizes, classes, kind):
    scores = coco_scores(truth, found, sizes, classes=classes, kind=kind, resamples=0)
    reference = pycocotools_evaluation(truth, found, sizes, classes=classes, kind=kind)
    assert tuple(scores.metrics) == tuple(f"{kind}_{name}" for name in NAMES)
    assert [-1 if value is None else value for value in scores.metrics.values()] == pytest.approx(
        list(reference.stats), **CLOSE
    )
    for index in range(classes):
        precision = reference.eval["precision"][:, :, index, 0, 2]
        expected = precision[precision > -1].mean() if (precision > -1).any() else None
        assert scores.per_class[index] == (None if expected is None else pytest.approx(expected, **CLOSE))
    return scores


@pytest.mark.parametrize("kind", ["box", "mask"])
@pytest.mark.parametrize(
    ("pictures", "classes", "options"),
    [
        (1, 1, {}),
        (12, 3, {}),
        (8, 10, {"present": 4}),
        (10, 3, {"objects": 0.5, "found": 2.0}),
        (8, 3, {"ties": True}),
        (8, 2, {"whole": True, "ties": True}),
        (30, 5, {"objects": 9.0, "found": 40.0}),
    ],
    ids=["one picture", "many", "absent classes", "sparse", "equal scores", "whole pixels", "dense"],
)
def test_every_number_equals_pycocotools(kind, pictures, classes, options):
    for seed in range(4):
        truth, found, sizes = draw_test_set(pictures, classes, seed, kind=kind, **options)
        if any(map(len, found)):
            assert_equals_pycocotools(truth, found, sizes, classes, kind)


@pytest.mark.parametrize("classes", [1, 2])
def test_more_than_100_detections_of_a_picture_are_cut_as_pycocotools_cuts_them(classes):
    truth, found, sizes = draw_test_set(4, classes, 7, found=330.0, objects=12.0)
    assert max(map(len, found)) > 250
    assert_equals_pycocotools(truth, found, sizes, classes, "box")


def test_crowds_neither_count_nor_punish():
    truth = [instances([[0, 0, 40, 40], [50, 50, 110, 110]], [0, 0], crowd=[False, True])] * 2
    found = [detections([[0, 0, 40, 40], [55, 55, 80, 80], [80, 80, 105, 105]], [0.5, 0.9, 0.8], [0, 0, 0])] * 2
    scores = assert_equals_pycocotools(truth, found, SIZES, 1, "box")
    assert scores.metrics["box_ap"] == pytest.approx(1.0)


def test_objects_of_exactly_32_and_96_pixels_a_side_belong_to_both_sizes_as_in_pycocotools():
    boxes = [[0, 0, 32, 32], [10, 10, 106, 106]]
    truth, found = [instances(boxes, [0, 0])] * 2, [detections([boxes[0]], [0.9], [0])] * 2
    scores = assert_equals_pycocotools(truth, found, SIZES, 1, "box")
    shown = [scores.metrics[f"box_ap_{size}"] for size in ("small", "medium", "large")]
    assert shown == pytest.approx([1.0, 51 / 101, 0.0])


def test_sizes_of_detected_objects_are_those_of_their_masks():
    box = (0, 0, 40, 40)
    mask = (striped_mask(box, 2),)
    truth = [instances([box], [0], area=[800], masks=mask)] * 2
    stray = detections([(60, 60, 100, 100)], [0.9], [0], masks=(striped_mask((60, 60, 100, 100), 2),))
    found = [detections([box], [0.5], [0], masks=mask), stray]
    scores = assert_equals_pycocotools(truth, found, SIZES, 1, "mask")
    assert scores.metrics["mask_ap_small"] is not None and scores.metrics["mask_ap_large"] is None


@pytest.mark.parametrize("kind", ["box", "mask"])
def test_no_detection_at_all_scores_0_where_there_is_truth_and_nothing_elsewhere(kind):
    masks = (striped_mask((0, 0, 40, 40), 3),)
    truth = [instances([[0, 0, 40, 40]], [1], masks=masks), instances([], [], masks=())]
    nothing = detections([], [], [], masks=())
    scores = coco_scores(truth, [nothing] * 2, SIZES, classes=3, kind=kind, resamples=5)
    named = {name.removeprefix(f"{kind}_"): value for name, value in scores.metrics.items()}
    assert named == {name: None if name.endswith(("small", "large")) else 0.0 for name in NAMES}
    assert scores.per_class == {0: None, 1: 0.0, 2: None}
    assert set(scores.replicates[~np.isnan(scores.replicates)]) == {0.0}


def test_no_truth_at_all_gives_no_number():
    found = [detections([[0, 0, 9, 9]], [0.5], [0])] * 2
    for guesses in (found, [NOTHING_FOUND] * 2):
        scores = coco_scores([NOTHING_TRUE] * 2, guesses, SIZES, classes=2, kind="box", resamples=5)
        assert set(scores.metrics.values()) == set(scores.per_class.values()) == {None}
        assert np.isnan(scores.replicates).all()
    assert_equals_pycocotools([NOTHING_TRUE] * 2, found, SIZES, 2, "box")


def test_only_crowds_give_no_number_as_in_pycocotools():
    truth = [instances([[0, 0, 50, 50]], [0], crowd=[True])] * 2
    found = [detections([[0, 0, 9, 9]], [0.5], [0])] * 2
    scores = assert_equals_pycocotools(truth, found, SIZES, 1, "box")
    assert set(scores.metrics.values()) == {None}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(value):
    truth, found = [instances([[0, 0, 9, 9]], [0])] * 2, [detections([[0, 0, 9, 9]], [0.5], [0])] * 2
    odd_box = np.array([[0, 0, 9, value]])
    for wrong in (
        {"found": [found[0], dataclasses.replace(found[0], scores=np.array([value]))]},
        {"found": [found[0], dataclasses.replace(found[0], boxes=odd_box)]},
        {"truth": [truth[0], dataclasses.replace(truth[0], boxes=odd_box)]},
        {"truth": [truth[0], dataclasses.replace(truth[0], area=np.array([value]))]},
    ):
        sides = {"truth": truth, "found": found} | wrong
        with pytest.raises(NumericalError, match="1 of 2 pictures"):
            coco_scores(sides["truth"], sides["found"], SIZES, classes=1, kind="box")


def test_arguments_that_do_not_fit_are_refused():
    truth, found = [instances([[0, 0, 9, 9]], [1])] * 2, [detections([[0, 0, 9, 9]], [0.5], [0])] * 2
    with pytest.raises(ValueError, match="0 to 0, got 1 to 1"):
        coco_scores(truth, found, SIZES, classes=1, kind="box")
    with pytest.raises(ValueError, match="2, 1 and 2 pictures"):
        coco_scores(truth, found[:1], SIZES, classes=2, kind="box")
    with pytest.raises(ValueError, match="one mask per object"):
        coco_scores(truth, found, SIZES, classes=2, kind="mask")
    with pytest.raises(DataError, match="no test picture"):
        coco_scores([], [], np.empty((0, 2)), classes=2, kind="box")


def test_a_test_set_with_each_picture_once_has_exactly_the_score(monkeypatch):
    monkeypatch.setattr(
        "bob.metrics.detection_metrics.resampled_counts", lambda n, **_: iter([np.ones((1, n), np.int64)])
    )
    for seed in range(6):
        kind = ("box", "mask")[seed % 2]
        truth, found, sizes = draw_test_set(10, 4, seed, kind=kind, present=3, ties=seed > 3)
        scores = coco_scores(truth, found, sizes, classes=4, kind=kind, resamples=1)
        assert scores.replicates == pytest.approx([scores.metrics[f"{kind}_ap"]], abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("box", {}), ("mask", {}), ("box", {"objects": 0.4, "found": 3.0}), ("box", {"found": 260.0})],
    ids=["box", "mask", "sparse", "more than 100"],
)
def test_replicates_are_the_scores_of_the_pictures_repeated_literally(kind, options):
    n, resamples = 7, 12
    truth, found, sizes = draw_test_set(n, 4, 11, kind=kind, present=3, **options)
    scores = coco_scores(truth, found, sizes, classes=4, kind=kind, resamples=resamples)
    assert scores.replicates.shape == (resamples,) and len(set(scores.replicates)) > 2
    (counts,) = resampled_counts(n, resamples=resamples)
    for drawn, replicate in zip(counts, scores.replicates, strict=True):
        again = np.repeat(np.arange(n), drawn)
        repeated = coco_scores(
            [truth[i] for i in again], [found[i] for i in again], sizes[again], classes=4, kind=kind, resamples=0
        )
        expected = repeated.metrics[f"{kind}_ap"]
        assert replicate == pytest.approx(np.nan if expected is None else expected, abs=1e-12, nan_ok=True)


def test_large_classes_are_resampled_in_blocks_with_the_same_result(monkeypatch):
    truth, found, sizes = draw_test_set(7, 3, 5)
    whole = coco_scores(truth, found, sizes, classes=3, kind="box", resamples=30).replicates
    monkeypatch.setattr("bob.metrics.detection_matching._BLOCK_CELLS", 100)
    assert np.array_equal(coco_scores(truth, found, sizes, classes=3, kind="box", resamples=30).replicates, whole)


def test_resamples_depend_on_the_number_of_pictures_and_the_seed_alone():
    first = np.concatenate(list(resampled_counts(20)))
    assert first.shape == (RESAMPLES, 20) and (first.sum(axis=1) == 20).all()
    assert np.array_equal(first, np.concatenate(list(resampled_counts(20))))
    assert np.array_equal(first[:150], np.concatenate(list(resampled_counts(20, resamples=150))))
    assert not np.array_equal(first, np.concatenate(list(resampled_counts(20, seed=1))))
    assert first.mean(axis=0) == pytest.approx(np.ones(20), abs=0.15)
    with pytest.raises(DataError, match="no test sample"):
        next(resampled_counts(0))
