"""On real pictures a pretrained backbone under a small head is clearly better than a random one, within minutes."""

from __future__ import annotations

import pytest
from classification_jobs import context_of
from dense_jobs import dense_job

from bob.tasks.dense.detection import detection_protocols as detection
from bob.tasks.dense.segmentation import segmentation_protocols as segmentation

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(1800)]
CELLS = {
    "head": "faster_rcnn",
    "channels": 64,
    "anchor_scale": 4.0,
    "proposals": 200,
    "roi_batch": 64,
    "box_width": 256,
}
STREETS = {"channels": 64, "lrs": (2e-3,)}


def both(task, run, realdata, tmp_path, **params):
    """Return the frozen results of the packaged lite0 and of its random control."""
    context = context_of(tmp_path)
    names = ("tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0.random")
    return [run(dense_job(task, context, backbone=name, **params), context) for name in names]


def test_frozen_detection_of_blood_cells_needs_pretrained_features(realdata, tmp_path):
    pretrained, control = both(
        "detection",
        detection.frozen,
        realdata,
        tmp_path,
        data=realdata / "bccd",
        size=160,
        seen=410,
        lrs=(2e-3,),
        **CELLS,
    )
    assert pretrained.metrics["box_ap50"] > 0.4
    assert pretrained.score_low > control.score_high
    assert pretrained.notes["dropped_annotations"] == 0


def test_frozen_segmentation_of_streets_needs_pretrained_features(realdata, tmp_path):
    pretrained, control = both(
        "semantic_segmentation",
        segmentation.frozen,
        realdata,
        tmp_path,
        data=realdata / "camvid",
        size=96,
        seen=360,
        **STREETS,
    )
    assert pretrained.score > 0.25
    assert pretrained.score_low > control.score_high
    assert pretrained.notes["n_classes"] == 11
