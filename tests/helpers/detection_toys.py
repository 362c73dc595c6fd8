"""What the tests of detection heads share: a fake pyramid, pictures of coloured boxes, options of a tiny head."""

from __future__ import annotations

import torch
from torch import nn

from bob.heads.detectors import DetectorOptions, build_detector
from bob.heads.head_registry import heads_that

HEADS, MASK_HEADS = heads_that("boxes"), heads_that("masks")
ALL = HEADS + MASK_HEADS
CANVAS = (64, 96)
LIGHT = {"channels": 64, "proposals": 40, "roi_batch": 16, "box_width": 32, "convs": 1, "anchor_scale": 4.0}


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


def painted(targets, canvas):
    """Pictures of noise, on which each object is a box in the colour of its class."""
    colours = torch.tensor([[2.0, -1.0, 0.0], [-1.0, 1.0, 2.0], [0.0, 2.0, -1.0]])
    images = 0.2 * pictures(len(targets), canvas)
    for image, objects in zip(images, targets, strict=True):
        for (left, top, right, bottom), label in zip(objects["boxes"].int().tolist(), objects["labels"], strict=True):
            image[:, top:bottom, left:right] += colours[label][:, None, None]
    return images


def target(*objects, canvas=CANVAS):
    """One picture's target from (left, top, right, bottom, label) each; masks are the filled boxes."""
    masks = torch.zeros(len(objects), *canvas, dtype=torch.uint8)
    for mask, (left, top, right, bottom, _) in zip(masks, objects, strict=True):
        mask[top:bottom, left:right] = 1
    rows = torch.tensor(objects, dtype=torch.float32).reshape(-1, 5)
    return {"boxes": rows[:, :4], "labels": rows[:, 4].long(), "masks": masks}


TARGETS = [target((8, 8, 40, 40, 0), (50, 20, 90, 60, 2)), target((4, 30, 60, 62, 1))]
