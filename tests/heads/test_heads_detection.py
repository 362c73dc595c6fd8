"""Detection heads: they learn, find, say where in canvas pixels, and keep to their options."""

from __future__ import annotations

import pytest
import torch
from detection_toys import ALL, LIGHT, TARGETS, detector, options, painted, pictures, target
from torch import nn
from torchvision.ops import box_iou

from bob.backbones.catalogue import find
from bob.backbones.pyramid import build_pyramid
from bob.backbones.weights import locate
from bob.core.errors import ConfigError, UnknownNameError
from bob.heads.detectors import DetectorOptions, build_detector

SLOW = ("cascade_rcnn", "mask_rcnn", "cascade_mask_rcnn")


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


@pytest.mark.parametrize("arch", ["tf_efficientnet_lite0", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("head", ALL)
def test_every_head_takes_a_step_and_detects_on_a_network_and_on_a_plain_transformer(arch, frozen, head):
    pyramid = build_pyramid(
        find(f"{arch}.random"), weights_path=None, canvas=(64, 96), levels=(8, 16, 32), frozen=frozen, seed=0
    )
    model = build_detector(pyramid, options(head)).train()
    learning = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}
    torch.manual_seed(0)
    sum(model(pictures(), TARGETS).values()).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    still = {
        name for name, value in model.named_parameters() if name in learning and torch.equal(value, learning[name])
    }
    # Before the first step many cells and regions give nothing; but no whole part of the model may stand still.
    parts = {".".join(name.split(".")[:3]) for name in learning}
    assert not {part for part in parts if all(name in still for name in learning if name.startswith(f"{part}."))}
    assert frozen != any(name.startswith("pyramid.body.") for name in learning)
    check_found(model.eval()(pictures()), model=model, count=2)


def test_layers_name_every_parameter_once_with_the_new_ones_last():
    model = detector("mask_rcnn")
    groups = model.layers()
    named = dict(model.named_parameters())
    assert [name for name, _ in groups[0]] == ["pyramid.body.0.weight", "pyramid.body.0.bias"]
    assert sorted(name for group in groups for name, _ in group) == sorted(named)
    assert all(named[name] is parameter for group in groups for name, parameter in group)
    assert {name.split(".")[0] for name, _ in groups[-1]} == {"fpn", "heads"}
    assert model.no_decay_names == {"pyramid.body.0.bias"}
    assert model.head_params_m == pytest.approx(sum(parameter.numel() for _, parameter in groups[-1]) / 1e6)


@pytest.mark.parametrize("head", ALL)
def test_a_seed_gives_the_same_weights_and_leaves_the_callers_generator_alone(head):
    torch.manual_seed(123)
    wanted = torch.rand(3)
    torch.manual_seed(123)
    first, second, other = detector(head).state_dict(), detector(head).state_dict(), detector(head, seed=1).state_dict()
    assert torch.equal(torch.rand(3), wanted)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    drawn = [name for name in first if name.startswith(("fpn", "heads")) and first[name].ndim > 1]
    assert drawn and all(not torch.equal(first[name], other[name]) for name in drawn)


def last_bias(model):
    """The bias of the last class layer, and how many entries come before class 0."""
    heads = model.heads
    if model.options.head in ("fcos", "retinanet"):
        return heads.network.head.classification_head.cls_logits.bias, 0
    stages = getattr(heads.roi_heads, "box_stages", None)
    predictor = heads.roi_heads.box_predictor if stages is None else stages[-1].predictor
    return predictor.cls_score.bias, 1


@pytest.mark.parametrize("head", ALL)
@pytest.mark.parametrize("label", [0, 2])
def test_labels_are_the_data_sets_own_in_losses_and_detections(head, label):
    model = detector(head, score_threshold=0.3)
    bias, before = last_bias(model)
    sum(model.losses(pictures(1), [target((8, 8, 60, 60, label))]).values()).backward()
    of_classes = bias.grad.view(-1, 3 + before).sum(dim=0)[before:]
    assert int(of_classes.argmin()) == label  # the class that a step would make likelier
    with torch.no_grad():
        bias.view(-1, 3 + before)[:, before + label] += 20
    (found,) = model.detect(pictures(1))
    assert len(found["labels"]) > 0
    assert set(found["labels"].tolist()) == {label}


@pytest.mark.parametrize("head", ALL)
def test_a_call_leaves_nothing_behind_and_the_mode_does_not_matter(head):
    model = detector(head, score_threshold=0.0)
    torch.manual_seed(0)
    before, losses = model.detect(pictures()), model.losses(pictures(), TARGETS)
    model.detect(pictures(1))
    model.eval()
    torch.manual_seed(0)
    after, again = model.detect(pictures()), model.losses(pictures(), TARGETS)
    assert losses == again
    assert all(torch.equal(old[name], new[name]) for old, new in zip(before, after, strict=True) for name in old)


@pytest.mark.parametrize("head", ALL)
def test_small_options_are_kept_to(head):
    model = detector(head, proposals=5, roi_batch=4, rpn_batch=2, max_detections=3, score_threshold=0.0)
    check_found(model.detect(pictures()), model=model, count=2)
    assert all(torch.isfinite(loss) for loss in model.losses(pictures(), TARGETS).values())
    assert detector(head, max_detections=100, score_threshold=0.99).detect(pictures())[0]["boxes"].shape == (0, 4)


@pytest.mark.parametrize("head", ALL)
def test_bfloat16_autocast_trains_and_finds_with_coordinates_in_float32(head):
    model = detector(head, score_threshold=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model(pictures(), TARGETS)
        found = model(pictures())
    assert all(loss.dtype == torch.float32 and torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    check_found(found, model=model, count=2)
    boxes = torch.cat([objects["boxes"] for objects in found])
    inside = boxes[(boxes > 32) & (boxes < 60)]  # bfloat16 would round these to quarters of a pixel
    assert (inside * 4 % 1 != 0).any()


def test_pictures_off_the_canvas_and_impossible_options_are_errors():
    with pytest.raises(ConfigError, match=r"pictures of \(64, 64\) pixels: expected the canvas \(64, 96\)"):
        detector("fcos").detect(pictures(canvas=(64, 64)))
    with pytest.raises(UnknownNameError, match="Did you mean 'faster_rcnn'"):
        DetectorOptions(head="faster_rcn", classes=3)
    with pytest.raises(ConfigError, match="'mask_rcnn' does not go with no masks"):
        DetectorOptions(head="mask_rcnn", classes=3)
    for channels in (32, 48):
        with pytest.raises(ConfigError, match=f"channels is {channels}: FCOS"):
            DetectorOptions(head="fcos", classes=3, channels=channels)
    with pytest.raises(ConfigError, match="roi_batch is 3: expected at least 4"):
        DetectorOptions(head="faster_rcnn", classes=3, roi_batch=3)
    with pytest.raises(ConfigError, match="strides \\(8, 16, 16\\)"):
        detector("faster_rcnn", strides=(8, 16, 16))


def overlaps(found, objects):
    """For each object the IoU of the best-scored detection of its class that overlaps it most."""
    same = objects["labels"][:, None] == found["labels"][None]
    return (box_iou(objects["boxes"], found["boxes"]) * same).amax(dim=1)


@pytest.mark.parametrize("head", [pytest.param(head, marks=[pytest.mark.slow] if head in SLOW else []) for head in ALL])
def test_two_pictures_are_learnt_by_heart(head, tmp_path):
    canvas = (96, 96)
    backbone = find("tf_efficientnet_lite0.in1k")
    path = locate(backbone, weights_dirs=[], cache_dir=tmp_path).path
    pyramid = build_pyramid(backbone, weights_path=path, canvas=canvas, levels=(8, 16, 32), frozen=True, seed=0)
    model = build_detector(pyramid, options(head, **{**LIGHT, "channels": 64, "roi_batch": 64, "box_width": 128}))
    objects = [
        target((8, 12, 44, 40, 0), (50, 50, 90, 88, 1), canvas=canvas),
        target((20, 30, 70, 80, 1), (70, 4, 92, 34, 0), canvas=canvas),
    ]
    images = painted(objects, canvas)
    train(model, images, objects, steps=80)
    for found, wanted in zip(model.eval()(images), objects, strict=True):
        top = {name: values[: len(wanted["labels"])] for name, values in found.items()}
        assert (overlaps(top, wanted) > 0.7).all(), overlaps(top, wanted)
        if model.options.masks:
            assert (top["mask_probs"] > 0.5).float().mean() > 0.8  # filled boxes


def train(model, images, targets, *, steps):
    torch.manual_seed(0)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    model.train()
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 10) * (1 - step / steps)
        optimiser.zero_grad()
        sum(model(images, targets).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
