"""Faster R-CNN and Mask R-CNN, plain or as a cascade: torchvision's parts on pictures that are a canvas already."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from bob.heads.cascade import STAGES, CascadeRoIHeads, CascadeStage
from bob.heads.detection_geometry import RegionPool, StridedAnchors
from bob.heads.detector_options import DetectorOptions
from bob.heads.fpn import Fpn

RATIOS = (0.5, 1.0, 2.0)
BOX_POOL = 7
MASK_POOL = 14  # a mask has twice this side
POSITIVES = 0.25
NMS_IOU = 0.5
RPN_NMS_IOU = 0.7
Maps = dict[str, Tensor]
Targets = list[dict[str, Tensor]]


class _ProposalHead(RPNHead):
    """Gives float32 under autocast: bfloat16 knows a coordinate of 300 pixels to 2."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, deltas = super().forward(x)
        return [score.float() for score in scores], [delta.float() for delta in deltas]


class _BoxPredictor(FastRCNNPredictor):
    """Gives float32 under autocast."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, deltas = super().forward(x)
        return scores.float(), deltas.float()


class _MaskPredictor(MaskRCNNPredictor):
    """Gives float32 under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


class TwoStage(nn.Module):
    """Region proposals, then a box (and mask) head per region. Labels are 0-based outside, 1-based within.

    Nothing here depends on the module's mode but which of the two calls was made: there is no dropout and no batch
    norm.
    """

    def __init__(self, rpn: RegionProposalNetwork, roi_heads: RoIHeads | CascadeRoIHeads) -> None:
        super().__init__()
        self.rpn = rpn
        self.roi_heads = roi_heads

    def losses(self, images: Tensor, maps: Maps, targets: Targets) -> dict[str, Tensor]:
        """Return the losses of both stages."""
        inside = [{**target, "labels": target["labels"] + 1} for target in targets]
        self.train()
        pictures = _image_list(images)
        proposals, first = self.rpn(pictures, maps, inside)
        _, second = self.roi_heads(maps, proposals, pictures.image_sizes, inside)
        return {**first, **second}

    def detect(self, images: Tensor, maps: Maps) -> list[dict[str, Tensor]]:
        """Return the objects found, best first."""
        self.eval()
        pictures = _image_list(images)
        proposals, _ = self.rpn(pictures, maps)
        found, _ = self.roi_heads(maps, proposals, pictures.image_sizes)
        return [_outside(objects) for objects in found]


def plain(fpn: Fpn, options: DetectorOptions) -> TwoStage:
    """Build the heads `faster_rcnn` and `mask_rcnn`."""
    return TwoStage(_proposals(fpn, options), _plain(fpn, options))


def cascaded(fpn: Fpn, options: DetectorOptions) -> TwoStage:
    """Build the heads `cascade_rcnn` and `cascade_mask_rcnn`."""
    return TwoStage(_proposals(fpn, options), _cascade(fpn, options))


def _image_list(images: Tensor) -> ImageList:
    height, width = images.shape[-2:]
    return ImageList(images, [(height, width)] * len(images))


def _outside(objects: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {"boxes": objects["boxes"], "scores": objects["scores"], "labels": objects["labels"] - 1}
    return {**found, "mask_probs": objects["masks"][:, 0]} if "masks" in objects else found


def _proposals(fpn: Fpn, options: DetectorOptions) -> RegionProposalNetwork:
    sizes = [(options.anchor_scale * stride,) for stride in fpn.strides]
    anchors = StridedAnchors(sizes, RATIOS, fpn.strides)
    return RegionProposalNetwork(
        anchors,
        _ProposalHead(options.channels, len(RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=options.rpn_batch,
        positive_fraction=0.5,
        pre_nms_top_n={"training": 2 * options.proposals, "testing": options.proposals},
        post_nms_top_n={"training": options.proposals, "testing": options.proposals},
        nms_thresh=RPN_NMS_IOU,
    )


def _pool(fpn: Fpn, options: DetectorOptions, size: int) -> RegionPool:
    own = fpn.own
    return RegionPool(fpn.names[:own], fpn.strides[:own], size=size, anchor_scale=options.anchor_scale)


def _box_head(options: DetectorOptions) -> TwoMLPHead:
    return TwoMLPHead(options.channels * BOX_POOL**2, options.box_width)


def _mask_parts(fpn: Fpn, options: DetectorOptions) -> dict[str, Any]:
    if not options.masks:
        return {}
    width = options.channels
    return {
        "mask_roi_pool": _pool(fpn, options, MASK_POOL),
        "mask_head": MaskRCNNHeads(width, [width] * options.convs, dilation=1),
        "mask_predictor": _MaskPredictor(width, width, options.classes + 1),
    }


def _plain(fpn: Fpn, options: DetectorOptions) -> RoIHeads:
    return RoIHeads(
        _pool(fpn, options, BOX_POOL),
        _box_head(options),
        _BoxPredictor(options.box_width, options.classes + 1),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=options.roi_batch,
        positive_fraction=POSITIVES,
        bbox_reg_weights=None,
        score_thresh=options.score_threshold,
        nms_thresh=NMS_IOU,
        detections_per_img=options.max_detections,
        **_mask_parts(fpn, options),
    )


def _cascade(fpn: Fpn, options: DetectorOptions) -> CascadeRoIHeads:
    return CascadeRoIHeads(
        _pool(fpn, options, BOX_POOL),
        [
            CascadeStage(_box_head(options), width=options.box_width, classes=options.classes, iou=iou, weights=weights)
            for iou, weights in STAGES
        ],
        batch_size_per_image=options.roi_batch,
        positive_fraction=POSITIVES,
        score_thresh=options.score_threshold,
        nms_thresh=NMS_IOU,
        detections_per_img=options.max_detections,
        **_mask_parts(fpn, options),
    )
