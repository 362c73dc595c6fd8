"""The example of a user's own head: it learns, it finds, and whole jobs run with it."""

from __future__ import annotations

import sys

import pytest
import torch
from classification_jobs import context_of
from dense_jobs import dense_job
from detection_toys import TARGETS, detector, painted, pictures, target
from places import REPOSITORY
from torchvision.ops import box_iou

from bob.core.errors import ConfigError
from bob.core.plugins import load_plugin
from bob.heads.head_registry import HEADS
from bob.jobs.run import run_job
from bob.tasks.spec import TASKS

FILE = REPOSITORY / "examples" / "centernet_head.py"


@pytest.fixture(autouse=True)
def _loaded(fresh_plugins):
    load_plugin(FILE)


def centernet(**changes):
    return detector("centernet", strides=(4, 8, 16), extra={"spread": 0.1}, **changes)


def test_it_trains_on_pictures_with_and_without_objects():
    model = centernet()
    for targets in (TARGETS, [target(), target()]):
        model.zero_grad()
        losses = model.losses(pictures(), targets)
        assert set(losses) == {"loss_heat", "loss_size", "loss_offset"}
        sum(losses.values()).backward()
        heads = dict(model.heads.named_parameters())
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in heads.values())


def test_it_learns_to_find_what_it_is_shown():
    torch.manual_seed(0)
    model = centernet(score_threshold=0.3)
    images = painted(TARGETS, (64, 96))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        sum(model.losses(images, TARGETS).values()).backward()
        optimiser.step()
    for found, wanted in zip(model.eval().detect(images), TARGETS, strict=True):
        overlap = box_iou(wanted["boxes"], found["boxes"])
        best = overlap.argmax(dim=1)
        assert (overlap.amax(dim=1) > 0.5).all()
        assert torch.equal(found["labels"][best], wanted["labels"])


def test_its_own_parameter_is_checked_and_enters_the_job():
    protocol = TASKS.get("detection").protocol("frozen")
    assert dict(protocol.resolve({"head": "centernet", "spread": "0.2"}))["spread"] == 0.2
    assert "spread" not in dict(protocol.resolve({}))
    with pytest.raises(ConfigError, match="expected more than 0"):
        protocol.resolve({"head": "centernet", "spread": 0})
    with pytest.raises(ConfigError, match="has no parameter 'spread'"):
        protocol.resolve({"head": "fcos", "spread": 0.2})
    assert "centernet" in HEADS and sys.modules


def test_a_whole_job_runs_with_it(tmp_path):
    context = context_of(tmp_path)
    job = dense_job("detection", context, head="centernet", levels=(4, 8, 16), spread=0.15)
    row = run_job(job, context)
    assert row["status"] == "ok" and 0 <= row["box_ap"] <= 1
    assert '"head":"centernet"' in row["protocol_params"].replace(" ", "") and "spread" in row["protocol_params"]


def test_a_segmentation_head_is_built_with_its_own_parameters(tmp_path):
    from torch import nn

    from bob.heads.head_registry import Head
    from bob.jobs.protocol_params import ProtocolParams

    class MlpParams(ProtocolParams):
        hidden: int = 64

    def build(channels, strides, *, classes, width, hidden):
        class Mlp(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.Sequential(nn.Conv2d(channels[0], hidden, 1), nn.Conv2d(hidden, classes, 1))

            def forward(self, maps):
                return self.layers(maps[0])

        return Mlp()

    HEADS.add(
        "mlp", Head(name="mlp", produces="semantic", doc="d", build=build, gmacs_per_mpixel=1.0, params=MlpParams)
    )
    context = context_of(tmp_path)
    rows = [
        run_job(dense_job("semantic_segmentation", context, head="mlp", hidden=hidden), context) for hidden in (8, 32)
    ]
    assert rows[0]["head_params_m"] < rows[1]["head_params_m"], "what the row says is what was used"
