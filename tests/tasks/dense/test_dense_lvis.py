"""A detector on data in LVIS' format is scored by its federated AP; what compares APs of COCO refuses them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from classification_jobs import context_of, other_of
from dense_jobs import dense_job
from lvis_samples import lvis_folder

from bob.core.errors import DataError
from bob.data.annotations import Detections
from bob.jobs.row import BY_NAME
from bob.tasks.dense.detection.detection_protocols import DetectionWork
from bob.tasks.dense.generalization.dense_generalization_spec import check_job
from bob.tasks.setup import Setup
from bob.tasks.spec import TASKS

OWL = 1  # of which half of the pictures say nothing, and the other half that they have none


def found(work, split):
    """Find every object, and surer than those an owl in each picture."""
    pictures = work.pictures[split]
    each = [pictures.instances(index) for index in range(len(pictures))]
    return [
        Detections(
            boxes=np.concatenate([one.boxes, [[5, 20, 15, 28]]]),
            scores=np.array([0.5] * len(one) + [0.9]),
            labels=np.append(one.labels, OWL),
            masks=None if one.masks is None else (*one.masks, one.masks[-1]),
        )
        for one in each
    ]


@pytest.mark.parametrize("task", ["detection", "instance_segmentation"])
def test_the_score_is_lvis_ap_with_that_of_each_frequency(task, tmp_path, monkeypatch):
    def owls(train, val):
        for made in (train, val):
            made["annotations"][0] |= {"category_id": 5, "iscrowd": 0}

    root, context = lvis_folder(tmp_path / "set", owls), context_of(tmp_path)
    with ExitStack() as stack:
        work = DetectionWork(Setup.of(dense_job(task, context, data=root), context), stack, frozen=True)
        monkeypatch.setattr(work, "detections", lambda model, split: found(work, split))
        tested = work.test(None)
    kind = "mask" if task == "instance_segmentation" else "box"
    metrics = tested["metrics"]
    assert metrics[f"{kind}_ap_common"] == metrics[f"{kind}_ap_frequent"] == pytest.approx(1.0)
    # Of the six owls that are found without truth, three lie in pictures that are known to have none.
    assert 0 < metrics[f"{kind}_ap_rare"] < 0.5 and f"{kind}_ar100" not in metrics
    assert tested["score"] == metrics[f"{kind}_ap"] == pytest.approx((2 + metrics[f"{kind}_ap_rare"]) / 3)
    assert set(metrics) <= set(TASKS.get(task).metrics) <= set(BY_NAME) and np.isfinite(tested["replicates"]).all()
    assert set(json.loads(work.said["per_class"])) == {"cat", "dog", "owl"}


def test_shifts_are_not_compared_with_it(tmp_path):
    root, context = lvis_folder(tmp_path / "set"), context_of(tmp_path)
    own = dense_job("detection", context, data=root)
    plain = dense_job("detection", context)
    shifts = (other_of(root, context, "shifts"),)
    for job in (replace(own, others=()), replace(plain, others=shifts)):
        with pytest.raises(DataError, match="has some classes alone annotated in each picture"):
            check_job(replace(job, task="dense_generalization"))
