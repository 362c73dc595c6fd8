"""On real photographs of clothes a probe gets worse with every severity, and pretraining helps."""

from __future__ import annotations

import json

import pytest
from classification_jobs import CONTROL, LITE0, context_of, job_of

from bob.jobs.job import Budget
from bob.tasks.ood.generalization import ood_generalization_protocols as ood_generalization
from bob.tasks.ood.generalization.ood_generalization_spec import OOD_GENERALIZATION

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(3600)]
HARM = ("gaussian_noise", "defocus_blur", "contrast", "jpeg_compression")


def test_accuracy_on_clothes_falls_with_every_severity_and_pretraining_helps(realdata, tmp_path):
    context = context_of(tmp_path)
    budget = Budget(max_train=300, max_val=60, max_test=100)
    settings = {"size": 96, "budget": budget, "task": OOD_GENERALIZATION, "corruptions": HARM}
    pretrained, control = (
        ood_generalization.linear(
            job_of(realdata / "clothing", context, "linear", backbone=backbone, **settings), context
        )
        for backbone in (LITE0, CONTROL)
    )
    severity = json.loads(pretrained.notes["per_shift"])["severity"]
    values = [severity[str(level)] for level in range(1, 6)]
    assert values == sorted(values, reverse=True) and values[0] - values[4] > 0.05
    assert pretrained.metrics["source_top1"] > values[0]
    assert pretrained.score > control.score and pretrained.score_low > control.score_high
