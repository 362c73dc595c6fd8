"""mIoU and pixel accuracies equal torchmetrics and scikit-learn to 1e-6, also at the edges; replicates are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_jaccard_index

from bob.core.errors import DataError
from bob.data.annotations import IGNORE
from bob.metrics.resampling import RESAMPLES, resampled_counts
from bob.metrics.segmentation_metrics import areas, segmentation_scores

CLOSE = {"abs": 1e-6, "rel": 0}


def draw(pictures, classes, seed, *, present=None, ignored=0.1, right=0.6):
    """Return predictions and masks of pictures of different sizes."""
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(pictures):
        shape = tuple(rng.integers(5, 40, 2))
        truth = rng.integers(0, present or classes, shape).astype(np.uint8)
        prediction = np.where(rng.random(shape) < right, truth, rng.integers(0, classes, shape))
        truth[rng.random(shape) < ignored] = IGNORE
        pairs.append((prediction, truth))
    return pairs


def scored(pairs, classes, **options):
    return segmentation_scores(np.stack([areas(*pair, classes=classes) for pair in pairs]), **options)


def flat(pairs):
    return tuple(np.concatenate([pair[side].ravel() for pair in pairs]).astype(np.int64) for side in (0, 1))


@pytest.mark.parametrize(
    ("pictures", "classes", "options"),
    [
        (1, 2, {}),
        (9, 5, {}),
        (9, 30, {"present": 12}),
        (5, 255, {}),
        (4, 3, {"ignored": 0.0}),
        (4, 6, {"right": 1.0, "present": 3}),
    ],
    ids=["one picture", "many", "classes never true", "255 classes", "nothing ignored", "absent from both"],
)
def test_every_number_equals_torchmetrics_and_scikit_learn(pictures, classes, options):
    pairs = draw(pictures, classes, 1, **options)
    scores = scored(pairs, classes, resamples=0)
    prediction, truth = (torch.from_numpy(side) for side in flat(pairs))
    common = {"num_classes": classes, "ignore_index": IGNORE}
    miou = multiclass_jaccard_index(prediction, truth, average="macro", **common)
    accuracy = multiclass_accuracy(prediction, truth, average="micro", **common)
    assert scores.metrics["miou"] == pytest.approx(float(miou), **CLOSE)
    assert scores.metrics["pixel_accuracy"] == pytest.approx(float(accuracy), **CLOSE)
    kept = truth != IGNORE
    matrix = confusion_matrix(truth[kept], prediction[kept], labels=range(classes))
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - matrix.diagonal()
    for index in range(classes):
        expected = pytest.approx(matrix[index, index] / union[index], **CLOSE) if union[index] else None
        assert scores.per_class[index] == expected
    recall = matrix.diagonal()[matrix.any(axis=1)] / matrix.sum(axis=1)[matrix.any(axis=1)]
    assert scores.metrics["mean_accuracy"] == pytest.approx(recall.mean(), **CLOSE)


def test_mean_accuracy_is_that_of_torchmetrics_where_every_class_is_true_and_scikit_learns_balanced_one():
    pairs = draw(6, 7, 3)
    prediction, truth = flat(pairs)
    value = scored(pairs, 7, resamples=0).metrics["mean_accuracy"]
    sides = (torch.from_numpy(prediction), torch.from_numpy(truth))
    reference = multiclass_accuracy(*sides, num_classes=7, ignore_index=IGNORE, average="macro")
    assert value == pytest.approx(float(reference), **CLOSE)
    kept = truth != IGNORE
    assert value == pytest.approx(balanced_accuracy_score(truth[kept], prediction[kept]), **CLOSE)


def test_a_class_in_neither_truth_nor_prediction_is_left_out_and_one_only_predicted_counts_as_0():
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    without = scored([(np.array([[0, 0, 1, 1]]), truth)], 4, resamples=0)
    assert without.metrics["miou"] == 1.0 and without.per_class == {0: 1.0, 1: 1.0, 2: None, 3: None}
    guessed = scored([(np.array([[0, 0, 1, 3]]), truth)], 4, resamples=0)
    assert guessed.metrics["miou"] == pytest.approx((1 + 0.5 + 0) / 3) and guessed.per_class[3] == 0.0


def test_ignored_pixels_are_in_no_area_whatever_is_predicted_there():
    truth = np.array([[0, IGNORE, IGNORE]], np.uint8)
    counted = areas(np.array([[0, 1, 2]]), truth, classes=3)
    assert counted.dtype == np.int64 and counted.tolist() == [[1, 0, 0]] * 3


def test_a_picture_without_labelled_pixels_counts_nothing_and_a_test_set_of_them_is_refused():
    blank = (np.zeros((3, 3), int), np.full((3, 3), IGNORE, np.uint8))
    pairs = draw(4, 3, 2)
    assert scored([*pairs, blank], 3, resamples=0).metrics == scored(pairs, 3, resamples=0).metrics
    for empty in (np.zeros((2, 3, 3), int), np.zeros((0, 3, 3), int)):
        with pytest.raises(DataError, match="labelled pixel"):
            segmentation_scores(empty)


def test_labels_and_shapes_that_do_not_fit_are_refused():
    truth = np.array([[0, 7]], np.uint8)
    with pytest.raises(DataError, match="label 7: expected 0 to 2, or 255"):
        areas(np.zeros((1, 2), int), truth, classes=3)
    with pytest.raises(ValueError, match="got 0 to 3"):
        areas(np.array([[0, 3]]), np.zeros((1, 2), np.uint8), classes=3)
    with pytest.raises(ValueError, match="differ in shape"):
        areas(np.zeros((1, 3), int), truth, classes=8)
    with pytest.raises(ValueError, match="pictures, 3, classes"):
        segmentation_scores(np.zeros((3, 4)))


def test_replicates_are_the_scores_of_the_pictures_repeated_literally():
    pairs = draw(8, 6, 4, present=5, ignored=0.4)
    replicates = scored(pairs, 6).replicates
    assert replicates.shape == (RESAMPLES,) and replicates.dtype == np.float64
    counts = np.concatenate(list(resampled_counts(8, resamples=40)))
    for drawn, replicate in zip(counts, replicates, strict=False):
        repeated = [pairs[i] for i in np.repeat(np.arange(8), drawn)]
        assert replicate == pytest.approx(scored(repeated, 6, resamples=0).metrics["miou"], abs=1e-12)


def test_a_resampled_test_set_without_labelled_pixels_is_not_a_number():
    blank = np.zeros((3, 2), np.int64)
    picture = areas(np.array([[0, 1]]), np.array([[0, 0]], np.uint8), classes=2)
    replicates = segmentation_scores(np.stack([picture, blank]), resamples=50).replicates
    (counts,) = resampled_counts(2, resamples=50)
    assert np.array_equal(np.isnan(replicates), counts[:, 0] == 0) and np.isnan(replicates).any()
