"""On real photographs a pretrained backbone reaches the stated accuracy and stays clear of a random one."""

from __future__ import annotations

import pytest
from classification_jobs import CONTROL, LITE0, context_of, job_of

from bob.jobs.job import Budget
from bob.tasks.classification import classification_protocols as classification

pytestmark = [pytest.mark.realdata, pytest.mark.slow, pytest.mark.timeout(3600)]
LEAST = {"linear": 0.84, "knn": 0.76, "fewshot": 0.60}


@pytest.mark.parametrize("protocol", LEAST)
def test_frozen_features_reach_their_mark_and_random_ones_stay_below(realdata, tmp_path_factory, protocol):
    # One cache for all protocols: the features are computed once.
    context = context_of(tmp_path_factory.getbasetemp() / "clothing")
    run = getattr(classification, protocol)
    pretrained, control = (
        run(job_of(realdata / "clothing", context, protocol, backbone=backbone, size=224), context)
        for backbone in (LITE0, CONTROL)
    )
    assert pretrained.score >= LEAST[protocol]
    assert control.score < 0.40
    assert pretrained.score_low > control.score_high


def test_fine_tuning_reaches_its_mark_and_a_random_start_stays_below(realdata, tmp_path):
    context = context_of(tmp_path)
    budget = Budget(images_seen=2400, trials=1)
    pretrained, control = (
        classification.finetune(
            job_of(realdata / "clothing", context, "finetune", backbone=backbone, size=224, budget=budget), context
        )
        for backbone in (LITE0, CONTROL)
    )
    assert pretrained.score > 0.80
    assert control.score < 0.40
    assert pretrained.score_low > control.score_high
