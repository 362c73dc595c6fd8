"""Every backbone that the study and the field's guide name takes a training step in all three dense tasks."""

from __future__ import annotations

import functools

import pytest
import torch

from bob.backbones.catalogue import find
from bob.backbones.pyramid import build_pyramid
from bob.heads.detectors import DetectorOptions, build_detector
from bob.heads.segmentation_heads import build_segmenter, pyramid_needs

CANVAS = (64, 96)
QUICK = ("resnet18", "mobilenetv3_small_100", "vit_tiny_patch16_224")
NAMED = (
    *QUICK,
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "convnext_tiny",
    "convnext_small",
    "convnext_base",
    "mobilenetv3_large_100",
    "vit_small_patch16_224",
    "vit_base_patch16_224",
    "vit_large_patch16_224",
    "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224",
    "swin_base_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "swinv2_small_window8_256",
    "swinv2_base_window8_256",
    "deit_small_patch16_224",
    "deit_base_patch16_224",
    "vit_small_patch14_dinov2",
    "vit_base_patch14_dinov2",
    "eva02_tiny_patch14_224",
    "eva02_small_patch14_224",
)
WALK = [pytest.param(arch, marks=() if arch in QUICK else pytest.mark.slow) for arch in NAMED]


def detector(arch, *, masks):
    pyramid = build_pyramid(find(f"{arch}.random"), weights_path=None, canvas=CANVAS, seed=0)
    head = "mask_rcnn" if masks else "faster_rcnn"
    options = DetectorOptions(head=head, classes=3, masks=masks, proposals=50, roi_batch=32)
    return build_detector(pyramid, options)


def segmenter(arch):
    levels, output_stride = pyramid_needs("upernet")
    pyramid = build_pyramid(
        find(f"{arch}.random"),
        weights_path=None,
        canvas=CANVAS,
        levels=levels,
        output_stride=output_stride,
        seed=0,
    )
    return build_segmenter(pyramid, head="upernet", classes=3)


def targets(*, masks):
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[4.0, 6.0, 40.0, 50.0], [30.0, 10.0, 90.0, 60.0]])
    one = {"boxes": boxes, "labels": torch.tensor([0, 2])}
    if masks:
        one["masks"] = torch.randint(0, 2, (2, *CANVAS), generator=generator, dtype=torch.uint8)
    return [one, {name: value[:1] for name, value in one.items()}]


def detection_loss(model, images, *, masks):
    return torch.stack(list(model.losses(images, targets(masks=masks)).values())).sum()


def segmentation_loss(model, images):
    labels = torch.randint(0, 3, (2, *CANVAS), generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.cross_entropy(model(images), labels)


TASKS = {
    "detection": (functools.partial(detector, masks=False), functools.partial(detection_loss, masks=False)),
    "instance_segmentation": (functools.partial(detector, masks=True), functools.partial(detection_loss, masks=True)),
    "semantic_segmentation": (segmenter, segmentation_loss),
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("arch", WALK)
def test_a_named_backbone_takes_a_training_step(arch, task):
    build, loss = TASKS[task]
    model = build(arch).train()
    images = torch.randn(2, 3, *CANVAS, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    stem, head = model.layers()[0][0][1], model.layers()[-1][-1][1]
    before = stem.detach().clone(), head.detach().clone()
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    first = loss(model, images)
    first.backward()
    assert torch.isfinite(first)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    optimiser.step()
    assert not torch.equal(stem, before[0])
    assert not torch.equal(head, before[1])
