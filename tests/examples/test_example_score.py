"""The example of a user's own out-of-distribution score: the paper's formula, and a whole job that ranks by it."""

from __future__ import annotations

import pytest
import torch
from places import REPOSITORY

import bob
from bob.core.plugins import load_plugin
from bob.probes.ood_scores import fit_ood, ood_scores
from bob.probes.post_hoc_scores import ood_score

FILE = REPOSITORY / "examples" / "gradnorm_score.py"


@pytest.mark.usefixtures("fresh_plugins")
def test_it_is_the_norm_of_the_gradient_that_the_paper_defines():
    load_plugin(FILE)
    torch.manual_seed(0)
    x, labels = torch.randn(40, 6), torch.arange(40) % 3
    weight, bias = torch.randn(6, 3), torch.randn(3)
    found = ood_scores(fit_ood(x, labels, weight=weight, bias=bias, k=5), x[:8], names=["gradnorm"])["gradnorm"]
    for row, score in zip(x[:8].double(), found, strict=True):
        w = weight.double().clone().requires_grad_()
        # The divergence from uniform is the mean over classes of -log softmax, but for a constant (equation 5).
        loss = -torch.log_softmax(row @ w + bias.double(), dim=0).mean()
        (gradient,) = torch.autograd.grad(loss, w)
        assert float(score) == pytest.approx(float(gradient.abs().sum()), rel=1e-9)


@pytest.mark.usefixtures("fresh_plugins")
def test_a_whole_job_ranks_by_it(tmp_path):
    rows = bob.run(
        backbones="tf_efficientnet_lite0.in1k",
        task="ood_detection",
        protocol="linear",
        data="scenes",
        far="scenes:unseen",
        image_size=32,
        budget={"max_train": 60, "max_val": 20, "max_test": 60},
        params={"method": "gradnorm"},
        settings={"precision": "fp32", "profile": False},
        plugins=FILE,
        display="none",
        results=tmp_path / "results",
        cache=tmp_path / "cache",
    )
    (row,) = rows.to_dict("records")
    assert row["status"] == "ok" and row["auroc"] == row["auroc_gradnorm"]
    assert row["plugin_code"]


@pytest.mark.usefixtures("fresh_plugins")
def test_a_score_that_gives_no_number_for_each_picture_is_an_error_that_names_it():
    ood_score("mean_logit", doc="d", source="s")(lambda rows: rows.logits.mean())
    x, labels = torch.randn(12, 6), torch.arange(12) % 3
    fit = fit_ood(x, labels, weight=torch.randn(6, 3), bias=torch.randn(3), k=5)
    with pytest.raises(bob.BobError, match=r"'mean_logit' gives shape \(\) for 12 pictures"):
        ood_scores(fit, x, names=["mean_logit"])
