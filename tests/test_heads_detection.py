"""Detection heads: they learn, find, say where in canvas pixels, and keep to their options."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bob.heads.detection import HEADS, MASK_HEADS, DetectorOptions, build_detector

ALL = HEADS + MASK_HEADS
CANVAS = (64, 96)
LIGHT = {"channels": 32, "proposals": 40, "roi_batch": 16, "box_width": 32, "convs": 1, "anchor_scale": 4.0}


class FakePyramid(nn.Module):
    """A pyramid with the attributes that heads use, of average pooling and one convolution per level."""

    def __init__(self, strides=(8, 16, 32), canvas=CANVAS):
        super().__init__()
        self.strides = strides
        self.canvas = canvas
        self.channels = tuple(range(8, 8 + len(strides)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.ModuleList(nn.Conv2d(3, width, 1) for width in self.channels)
        self.neck = nn.Identity()
        self.no_decay_names = frozenset({"body.0.bias"})

    def forward(self, pictures):
        pooled = [nn.functional.avg_pool2d(pictures, stride) for stride in self.strides]
        return [level(values) for level, values in zip(self.body, pooled, strict=True)]

    def layer_groups(self):
        names = [[f"body.{place}.weight", f"body.{place}.bias"] for place in range(len(self.strides))]
        parameters = dict(self.named_parameters())
        return [[(name, parameters[name]) for name in group] for group in names]


def options(head, **changes):
    return DetectorOptions(head=head, masks=head in MASK_HEADS, **{"classes": 3, **LIGHT, **changes})


def detector(head, *, strides=(8, 16, 32), canvas=CANVAS, **changes):
    return build_detector(FakePyramid(strides, canvas), options(head, **changes))


def pictures(count=2, canvas=CANVAS):
    return torch.randn(count, 3, *canvas, generator=torch.Generator().manual_seed(0))


def target(*objects, canvas=CANVAS):
    """One picture's target from (left, top, right, bottom, label) each; masks are the filled boxes."""
    masks = torch.zeros(len(objects), *canvas, dtype=torch.uint8)
    for mask, (left, top, right, bottom, _) in zip(masks, objects, strict=True):
        mask[top:bottom, left:right] = 1
    rows = torch.tensor(objects, dtype=torch.float32).reshape(-1, 5)
    return {"boxes": rows[:, :4], "labels": rows[:, 4].long(), "masks": masks}


TARGETS = [target((8, 8, 40, 40, 0), (50, 20, 90, 60, 2)), target((4, 30, 60, 62, 1))]


def check_found(found, *, model, count):
    assert len(found) == count
    height, width = model.pyramid.canvas
    for objects in found:
        assert set(objects) == {"boxes", "scores", "labels"} | ({"mask_probs"} if model.options.masks else set())
        number = len(objects["scores"])
        assert number <= model.options.max_detections
        assert objects["boxes"].shape == (number, 4) and objects["labels"].shape == (number,)
        assert objects["boxes"].dtype == objects["scores"].dtype == torch.float32
        assert objects["labels"].dtype == torch.int64
        assert torch.all(objects["scores"].diff() <= 0)
        assert torch.all((objects["labels"] >= 0) & (objects["labels"] < model.options.classes))
        assert torch.all(objects["boxes"] >= 0)
        assert torch.all(objects["boxes"][:, 2::2] <= width) and torch.all(objects["boxes"][:, 3::2] <= height)
        if model.options.masks:
            side = objects["mask_probs"].shape[-1]
            assert objects["mask_probs"].shape == (number, side, side)
            assert torch.all((objects["mask_probs"] >= 0) & (objects["mask_probs"] <= 1))


@pytest.mark.parametrize("head", ALL)
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (8, 16, 32), (16, 32), (4, 32), (16,)])
def test_every_head_trains_and_detects_on_any_levels(head, strides):
    model = detector(head, strides=strides, score_threshold=0.0)
    losses = model(pictures(), TARGETS)
    assert all(loss.ndim == 0 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not idle
    check_found(model.eval()(pictures()), model=model, count=2)


@pytest.mark.parametrize("head", ALL)
def test_pictures_without_objects_train(head):
    model = detector(head)
    for targets in ([target(), TARGETS[1]], [target(), target()]):
        losses = model.losses(pictures(), targets)
        total = sum(losses.values())
        total.backward()
        assert torch.isfinite(total)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
