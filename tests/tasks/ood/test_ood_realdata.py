"""On real photographs of clothes, street scenes and blood cells are told apart, better than by a random backbone."""

from __future__ import annotations

import json

import pytest
from classification_jobs import CONTROL, LITE0, context_of, job_of, other_of

from bob.jobs.job import Budget
from bob.tasks.ood.detection import ood_detection_protocols as ood_detection
from bob.tasks.ood.detection.ood_detection_spec import OOD_DETECTION

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(3600)]
SETS = (("camvid", "near"), ("bccd", "far"))


def test_clothes_are_told_from_streets_and_blood_cells_better_than_by_chance(realdata, tmp_path):
    context = context_of(tmp_path)
    budget = Budget(max_train=400, max_val=100, max_test=200)
    others = [other_of(realdata / name, context, role) for name, role in SETS]
    settings = {"size": 128, "budget": budget, "task": OOD_DETECTION, "others": others}
    pretrained, control = (
        ood_detection.linear(job_of(realdata / "clothing", context, "linear", backbone=backbone, **settings), context)
        for backbone in (LITE0, CONTROL)
    )
    assert pretrained.score >= 0.93
    assert pretrained.score_low > control.score_high
    for name, sets in json.loads(pretrained.notes["per_set"]).items():
        assert set(sets) == {"camvid", "bccd"}
        assert all(found["auroc"] > 0.5 for found in sets.values()), (name, sets)
    assert pretrained.metrics["auroc_vim"] >= 0.98 and pretrained.metrics["auroc_knn"] >= 0.93
