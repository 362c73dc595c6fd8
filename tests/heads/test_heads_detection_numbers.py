"""Detection heads give torchvision's own numbers where it has them, and the cascade's formulas where it has none."""

from __future__ import annotations

import pytest
import torch
from detection_toys import FakePyramid, detector, options, pictures, target
from torch import nn
from torchvision.models.detection import FCOS, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign, remove_small_boxes

from bob.heads import detection_two_stage
from bob.heads.cascade import STAGES, CascadeRoIHeads, CascadeStage
from bob.heads.detection_geometry import RegionPool, StridedAnchors
from bob.heads.detection_one_stage import OCTAVE, RATIOS, fcos_match
from bob.heads.detectors import build_detector

CANVAS = (128, 256)  # every level up to stride 128 divides it: torchvision infers the true strides
STRIDES = (8, 16, 32)
NAMES = ["stride_8", "stride_16", "stride_32"]
TARGETS = [target((8, 8, 40, 40, 0), (50, 20, 190, 120, 2), canvas=CANVAS), target((4, 30, 60, 62, 1), canvas=CANVAS)]
AS_IT_IS = {"min_size": CANVAS[0], "max_size": CANVAS[1], "image_mean": [0.0] * 3, "image_std": [1.0] * 3}


class Backbone(nn.Module):
    """Our pyramid and feature pyramid network, as torchvision wants a backbone."""

    def __init__(self, model):
        super().__init__()
        self.pyramid, self.fpn, self.out_channels = model.pyramid, model.fpn, model.options.channels

    def forward(self, images):
        return self.fpn(self.pyramid(images))


def loud(model):
    """Make boxes move and classes differ, which those of a fresh head hardly do."""
    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if any(word in name for word in ("bbox_pred", "bbox_reg", "cls_score", "cls_logits", "objectness")):
            nn.init.normal_(parameter, std=0.1)
    return model


def torchvision_mask_rcnn(model):
    own = model.options
    return MaskRCNN(
        Backbone(model),
        **AS_IT_IS,
        rpn_anchor_generator=AnchorGenerator(tuple((8 * s,) for s in (8, 16, 32, 64)), (RATIOS,) * 4),
        rpn_pre_nms_top_n_train=2 * own.proposals,
        rpn_pre_nms_top_n_test=own.proposals,
        rpn_post_nms_top_n_train=own.proposals,
        rpn_post_nms_top_n_test=own.proposals,
        box_roi_pool=MultiScaleRoIAlign(NAMES, 7, 2),
        box_head=TwoMLPHead(own.channels * 49, own.box_width),
        box_predictor=FastRCNNPredictor(own.box_width, 4),
        box_score_thresh=own.score_threshold,
        box_batch_size_per_image=own.roi_batch,
        mask_roi_pool=MultiScaleRoIAlign(NAMES, 14, 2),
        mask_head=MaskRCNNHeads(own.channels, [own.channels] * own.convs, 1),
        mask_predictor=MaskRCNNPredictor(own.channels, own.channels, 4),
    )


def torchvision_fcos(model):
    own = model.options
    return FCOS(
        Backbone(model),
        3,
        **AS_IT_IS,
        anchor_generator=AnchorGenerator(tuple((s,) for s in (8, 16, 32, 64, 128)), ((1.0,),) * 5),
        head=FCOSHead(own.channels, 1, 3, own.convs),
        score_thresh=own.score_threshold,
        topk_candidates=own.proposals,
    )


def torchvision_retinanet(model):
    own = model.options
    sizes = tuple(tuple(4 * s * step for step in OCTAVE) for s in (8, 16, 32, 64, 128))
    return RetinaNet(
        Backbone(model),
        3,
        **AS_IT_IS,
        anchor_generator=AnchorGenerator(sizes, (RATIOS,) * 5),
        head=RetinaNetHead(own.channels, 9, 3),
        score_thresh=own.score_threshold,
        detections_per_img=own.max_detections,
        topk_candidates=own.proposals,
    )


REFERENCES = {"mask_rcnn": torchvision_mask_rcnn, "fcos": torchvision_fcos, "retinanet": torchvision_retinanet}


@pytest.mark.parametrize("head", REFERENCES)
def test_losses_and_detections_equal_torchvisions_whole_model(head):
    model = loud(detector(head, canvas=CANVAS, strides=STRIDES, anchor_scale=8.0, convs=4, score_threshold=0.02))
    inner = model.heads if head == "mask_rcnn" else model.heads.network
    if head == "fcos":
        inner.anchor_generator.offset = 0.0  # torchvision's corner, where we follow the paper
    reference = REFERENCES[head](model)
    kept = {name: value for name, value in reference.state_dict().items() if name.startswith("backbone.")}
    reference.load_state_dict({**kept, **inner.state_dict()})
    reference.transform.torch_choice = lambda sizes: sizes[0]  # its own draws a random number for a choice of one
    shift = 1 if head == "mask_rcnn" else 0
    images = pictures(2, CANVAS)

    torch.manual_seed(0)
    ours = model.losses(images, TARGETS)
    torch.manual_seed(0)
    theirs = reference.train()(list(images), [{**t, "labels": t["labels"] + shift} for t in TARGETS])
    assert sorted(x.item() for x in ours.values()) == pytest.approx(sorted(x.item() for x in theirs.values()), rel=1e-5)

    with torch.no_grad():
        expected = reference.eval()(list(images))
    for found, wanted in zip(model.detect(images), expected, strict=True):
        solid = remove_small_boxes(wanted["boxes"], 0.01)
        wanted = {name: values[solid] for name, values in wanted.items()}
        assert len(wanted["scores"]) > 10
        torch.testing.assert_close(found["boxes"], wanted["boxes"], atol=1e-3, rtol=1e-5)
        torch.testing.assert_close(found["scores"], wanted["scores"], atol=1e-5, rtol=1e-5)
        assert torch.equal(found["labels"], wanted["labels"] - shift)


def test_regions_are_pooled_as_torchvision_does_on_consecutive_levels():
    features = {
        f"stride_{s}": torch.randn(2, 4, 128 // s, 256 // s, generator=torch.Generator().manual_seed(s))
        for s in (4, 8, 16, 32)
    }
    corners = torch.rand(2, 200, 2, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1000.0, 600.0])
    boxes = list(torch.cat([corners.amin(dim=2), corners.amax(dim=2)], dim=2))
    for strides in ((4, 8, 16, 32), (8, 16, 32), (16, 32), (8,)):
        names = [f"stride_{stride}" for stride in strides]
        own = RegionPool(names, strides, size=7, anchor_scale=8.0)
        wanted = MultiScaleRoIAlign(names, 7, 2)(features, boxes, [CANVAS, CANVAS])
        torch.testing.assert_close(own(features, boxes), wanted, atol=1e-6, rtol=1e-6)


def test_a_region_goes_to_the_coarsest_level_that_suits_it_even_past_a_gap_and_scales_with_the_anchors():
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 111, 111], [0, 0, 112, 112], [0, 0, 224, 224], [0, 0, 900, 900]])
    wanted = {
        ((4, 8, 16, 32), 8.0): [0, 0, 1, 2, 3],
        ((4, 8, 16, 32), 4.0): [0, 1, 2, 3, 3],
        ((8, 16, 32), 8.0): [0, 0, 0, 1, 2],
        ((4, 32), 8.0): [0, 0, 0, 0, 1],
    }
    for (strides, scale), levels in wanted.items():
        pool = RegionPool([str(s) for s in strides], strides, size=7, anchor_scale=scale)
        assert pool.levels(boxes).tolist() == levels


def test_anchors_equal_torchvisions_and_keep_their_stride_where_a_map_was_rounded_up():
    sizes, strides = [(32,), (64,), (128,), (256,)], (8, 16, 32, 64)
    own, reference = StridedAnchors(sizes, RATIOS, strides), AnchorGenerator(sizes, (RATIOS,) * 4)
    exact = [torch.zeros(1, 1, 128 // s, 256 // s) for s in strides]
    images = ImageList(torch.zeros(1, 3, *CANVAS), [CANVAS])
    assert torch.equal(own(images, exact)[0], reference(images, exact)[0])
    # 64 x 96 has 2 x 3 cells at stride 32 and so 1 x 2 at stride 64, not at 48.
    rounded = [torch.zeros(1, 1, -(-64 // s), -(-96 // s)) for s in strides]
    last = own(ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)]), rounded)[0][-6:]
    assert torch.equal((last[:, :2] + last[:, 2:]) / 2, torch.tensor([[0.0, 0.0]] * 3 + [[64.0, 0.0]] * 3))


def test_zero_deltas_find_the_anchors_themselves_in_canvas_pixels():
    model = detector("retinanet", strides=(8, 16), canvas=(64, 96), max_detections=10**6, proposals=10**6)
    head = model.heads.network.head
    with torch.no_grad():
        for parameter in head.regression_head.parameters():
            parameter.zero_()
        head.classification_head.cls_logits.bias.fill_(3.0)
    model.heads.network.nms_thresh = 1.1
    (found,) = model.detect(pictures(1))
    inside = torch.tensor([[32.0, 24.0, 48.0, 40.0], [56.0, 16.0, 72.0, 32.0]])  # 16 pixels wide: 2 x stride 8
    for anchor in inside:
        assert (found["boxes"] == anchor).all(dim=1).any()


def test_fcos_points_take_the_smallest_object_of_their_scale_near_its_centre():
    points = torch.tensor([[8.0, 8.0], [40.0, 40.0], [72.0, 40.0], [40.0, 40.0], [100.0, 40.0]])
    strides = torch.tensor([8.0, 8.0, 8.0, 16.0, 16.0])[:, None]
    anchors = torch.cat([points - strides / 2, points + strides / 2], dim=1)
    boxes = torch.tensor([[30.0, 30, 50, 50], [28, 28, 52, 52], [0, 0, 140, 80]])
    found = fcos_match(anchors, boxes, counts=[3, 2], reach=4.0, radius=1.5)
    # off every centre; the smaller of two; near the large one, which reaches 68 to 72 pixels: the second level's;
    # too small for the second level and too far from the large one's centre; off every centre.
    assert found.tolist() == [-1, 0, -1, -1, -1]
    found = fcos_match(torch.tensor([[64.0, 32.0, 80.0, 48.0]]), boxes, counts=[1], reach=4.0, radius=1.5)
    assert found.tolist() == [2]
    assert fcos_match(anchors, boxes[:0], counts=[3, 2], reach=4.0, radius=1.5).tolist() == [-1] * 5


def one_stage_and_torchvisions(settings):
    torch.manual_seed(3)
    head, scores, deltas = TwoMLPHead(8 * 49, 16), nn.Linear(16, 4), nn.Linear(16, 4)
    nn.init.normal_(scores.weight, std=0.5)
    pool = RegionPool(NAMES, STRIDES, size=7, anchor_scale=8.0)
    iou, weights = STAGES[0]
    stage = CascadeStage(head, width=16, classes=3, iou=iou, weights=weights)
    stage.predictor.cls_score, stage.predictor.bbox_pred = scores, deltas
    predictor = FastRCNNPredictor(16, 4)
    predictor.cls_score = scores
    with torch.no_grad():
        predictor.bbox_pred.weight.copy_(deltas.weight.repeat(4, 1))
        predictor.bbox_pred.bias.copy_(deltas.bias.repeat(4))
    reference = RoIHeads(
        pool, head, predictor, fg_iou_thresh=iou, bg_iou_thresh=iou, bbox_reg_weights=weights, **settings
    )
    return CascadeRoIHeads(pool, [stage], **settings), reference


def test_a_cascade_of_one_stage_is_torchvisions_second_stage():
    settings = {
        "batch_size_per_image": 32,
        "positive_fraction": 0.25,
        "score_thresh": 0.05,
        "nms_thresh": 0.5,
        "detections_per_img": 50,
    }
    cascade, reference = one_stage_and_torchvisions(settings)
    generator = torch.Generator().manual_seed(0)
    features = {
        f"stride_{s}": torch.randn(2, 8, 128 // s, 256 // s, generator=generator, requires_grad=True) for s in STRIDES
    }
    corners = torch.rand(2, 60, 2, 2, generator=generator) * torch.tensor([256.0, 128.0])
    proposals = list(torch.cat([corners.amin(dim=2), corners.amax(dim=2)], dim=2))
    shapes, targets = [CANVAS, CANVAS], [{**t, "labels": t["labels"] + 1} for t in TARGETS]
    results = []
    for heads in (cascade, reference):
        torch.manual_seed(0)
        _, losses = heads.train()(features, list(proposals), shapes, targets)
        gradients = torch.autograd.grad(sum(losses.values()), list(features.values()))
        found, _ = heads.eval()(features, list(proposals), shapes)
        results.append((list(losses.values()), gradients, found))
    (ours, gradients, found), (theirs, expected, wanted) = results
    assert [loss.item() for loss in ours] == pytest.approx([loss.item() for loss in theirs], rel=1e-6)
    for got, want in zip(gradients, expected, strict=True):
        torch.testing.assert_close(got, want, atol=1e-7, rtol=1e-4)
    for got, want in zip(found, wanted, strict=True):
        assert len(want["boxes"]) > 20
        assert torch.equal(got["labels"], want["labels"])
        torch.testing.assert_close(got["boxes"], want["boxes"], atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(got["scores"], want["scores"], atol=1e-6, rtol=1e-5)


def constant_cascade(shift_px, logits):
    """A cascade whose stages answer the same for every region, and torchvision's settings around it."""
    stages = []
    for (iou, weights), scores in zip(STAGES, logits, strict=True):
        stage = CascadeStage(nn.Flatten(), width=8 * 49, classes=3, iou=iou, weights=weights)
        for parameter in stage.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            stage.predictor.cls_score.bias.copy_(torch.tensor(scores))
            stage.predictor.bbox_pred.bias[0] = shift_px / 40 * weights[0]  # the regions below are 40 pixels wide
        stages.append(stage)
    pool = RegionPool(NAMES, STRIDES, size=7, anchor_scale=8.0)
    settings = {"batch_size_per_image": 8, "positive_fraction": 0.25, "score_thresh": 0.0, "nms_thresh": 0.5}
    return CascadeRoIHeads(pool, stages, detections_per_img=50, **settings)


def test_three_stages_move_a_box_one_after_the_other_and_their_scores_are_averaged():
    logits = ([0.0, 1.0, 2.0, 0.0], [1.0, 0.0, 0.0, 3.0], [0.0, 0.0, 4.0, 0.0])
    cascade = constant_cascade(6.0, logits).eval()
    features = {f"stride_{s}": torch.zeros(1, 8, 128 // s, 256 // s) for s in STRIDES}
    (found,), _ = cascade(features, [torch.tensor([[50.0, 30.0, 90.0, 60.0]])], [CANVAS])
    mean = torch.softmax(torch.tensor(logits), dim=1).mean(dim=0)[1:]
    torch.testing.assert_close(found["scores"], mean.sort(descending=True).values)
    assert found["labels"].tolist() == (mean.argsort(descending=True) + 1).tolist()
    torch.testing.assert_close(found["boxes"], torch.tensor([[68.0, 30.0, 108.0, 60.0]] * 3))


def test_a_later_stage_calls_an_object_only_what_overlaps_it_more():
    boxes = torch.tensor([[0.0, 0, 100, 100], [0, 0, 100, 65], [0, 0, 100, 55], [200, 0, 230, 20]])
    truth = [{"boxes": torch.tensor([[0.0, 0, 100, 100]]), "labels": torch.tensor([2])}]
    for (iou, weights), labels in zip(STAGES, ([2, 2, 2, 0], [2, 2, 0, 0], [2, 0, 0, 0]), strict=True):
        stage = CascadeStage(nn.Flatten(), width=4, classes=3, iou=iou, weights=weights)
        _, found, deltas = stage.match([boxes], truth)
        assert found[0].tolist() == labels
        assert torch.allclose(stage.coder.decode_single(deltas[0], boxes)[0], truth[0]["boxes"][0])
    assert (
        stage.match([boxes], [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}])[1][0].tolist() == [0] * 4
    )


def test_each_stage_of_a_cascade_learns_and_the_shared_features_get_their_mean_gradient(monkeypatch):
    def gradients(stages):
        monkeypatch.setattr(detection_two_stage, "STAGES", stages)
        model = build_detector(FakePyramid(STRIDES, CANVAS), options("cascade_rcnn", anchor_scale=8.0))
        maps = [
            features.detach().requires_grad_() for features in model.fpn(model.pyramid(pictures(2, CANVAS))).values()
        ]
        features = dict(zip(model.fpn.names, maps, strict=True))
        proposals = [torch.tensor([[8.0, 8, 40, 40], [100, 100, 120, 120]])] * 2
        targets = [{**t, "labels": t["labels"] + 1} for t in TARGETS]
        torch.manual_seed(0)
        _, losses = model.heads.roi_heads.train()(features, proposals, [CANVAS] * 2, targets)
        return losses, torch.autograd.grad(losses["loss_classifier_1"], maps[0])[0]

    one, alone = gradients(STAGES[:1])
    three, among_three = gradients(STAGES)
    assert set(three) == {f"loss_{part}_{number}" for part in ("classifier", "box_reg") for number in (1, 2, 3)}
    assert three["loss_classifier_1"] == one["loss_classifier_1"]
    torch.testing.assert_close(among_three * 3, alone)
