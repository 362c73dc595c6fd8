"""FCOS and RetinaNet: torchvision's heads, losses and suppression on pictures that are a canvas already."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet, RetinaNetHead
from torchvision.ops import Conv2dNormActivation

from bob.heads.detection_geometry import PAPER_SCALE, StridedAnchors
from bob.heads.detector_options import DetectorOptions
from bob.heads.fpn import Fpn

OCTAVE = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)
FCOS_RANGE = 4.0  # an object reaches from 4 to 8 strides beyond a point of its level, at anchor_scale 8
FCOS_NMS_IOU = 0.6
RETINANET_NMS_IOU = 0.5
NAMES = {"classification": "loss_classifier", "bbox_regression": "loss_box_reg", "bbox_ctrness": "loss_centerness"}
Maps = dict[str, Tensor]
Targets = list[dict[str, Tensor]]


class _NoBackbone(nn.Module):
    """What torchvision's constructors ask about a backbone; none is ever run through them."""

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.out_channels = out_channels


class _Fcos(FCOS):
    """FCOS whose levels hold objects in proportion to ``anchor_scale``."""

    reach = FCOS_RANGE

    def compute_loss(
        self, targets: Targets, head_outputs: dict[str, Tensor], anchors: list[Tensor], num_anchors_per_level: list[int]
    ) -> dict[str, Tensor]:
        """Match each picture's points to its objects, then torchvision's losses."""
        matched = [
            fcos_match(
                points,
                target["boxes"],
                counts=num_anchors_per_level,
                reach=self.reach,
                radius=self.center_sampling_radius,
            )
            for points, target in zip(anchors, targets, strict=True)
        ]
        return self.head.compute_loss(targets, head_outputs, anchors, matched)


def fcos_match(anchors: Tensor, boxes: Tensor, *, counts: list[int], reach: float, radius: float) -> Tensor:
    """Give each point the smallest object that it is to find (Tian et al. 2020, arXiv 2006.09214).

    Args:
        anchors: (A, 4), one square of the stride's side around each point.
        boxes: (n, 4) objects; n may be 0.
        counts: Points per level.
        reach: A level takes objects whose farthest side is ``reach`` to ``2 * reach`` strides from the point; the first
            level also smaller ones, the last also larger.
        radius: A point lies at most this many strides from the object's centre.

    Returns:
        int64 (A,): place of the object, -1 for background.
    """
    if len(boxes) == 0:
        return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    points = (anchors[:, None, :2] + anchors[:, None, 2:]) / 2
    strides = (anchors[:, 2] - anchors[:, 0])[:, None]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (points - centres).abs().amax(dim=2) < radius * strides
    sides = torch.cat([points - boxes[:, :2], boxes[:, 2:] - points], dim=2)
    lower, upper = reach * strides, 2 * reach * strides
    lower[: counts[0]] = 0
    upper[-counts[-1] :] = float("inf")
    farthest = sides.amax(dim=2)
    fits = near & (sides.amin(dim=2) > 0) & (farthest > lower) & (farthest < upper)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).expand(len(anchors), -1)
    smallest, matched = area.masked_fill(~fits, float("inf")).min(dim=1)
    return matched.masked_fill(smallest.isinf(), -1)


class OneStage(nn.Module):
    """Boxes from every cell of every level at once. Labels are 0-based inside and outside."""

    def __init__(self, network: RetinaNet | FCOS) -> None:
        super().__init__()
        self.network = network
        # The canvas is resized and normalised already, and the maps come from outside.
        self.network.transform = nn.Identity()
        self.network.backbone = nn.Identity()

    def losses(self, images: Tensor, maps: Maps, targets: Targets) -> dict[str, Tensor]:
        """Return the losses."""
        outputs, anchors, counts = self._outputs(images, maps)
        if isinstance(self.network, FCOS):
            found = self.network.compute_loss(targets, outputs, anchors, counts)
        else:
            found = self.network.compute_loss(targets, outputs, anchors)
        return {NAMES[name]: loss for name, loss in found.items()}

    def detect(self, images: Tensor, maps: Maps) -> list[dict[str, Tensor]]:
        """Return the objects found, best first."""
        outputs, anchors, counts = self._outputs(images, maps)
        levels = {name: list(values.split(counts, dim=1)) for name, values in outputs.items()}
        per_level = [list(rows.split(counts)) for rows in anchors]
        height, width = images.shape[-2:]
        return self.network.postprocess_detections(levels, per_level, [(height, width)] * len(images))

    def _outputs(self, images: Tensor, maps: Maps) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        features = list(maps.values())
        # float32 under autocast: bfloat16 knows a coordinate of 300 pixels to 2
        outputs = {name: values.float() for name, values in self.network.head(features).items()}
        height, width = images.shape[-2:]
        anchors = self.network.anchor_generator(ImageList(images, [(height, width)] * len(images)), features)
        each = self.network.anchor_generator.num_anchors_per_location()
        counts = [values.shape[-2] * values.shape[-1] * here for values, here in zip(features, each, strict=True)]
        return outputs, anchors, counts


def fcos(fpn: Fpn, options: DetectorOptions) -> OneStage:
    """Build the head `fcos`."""
    # As in the paper a point lies at its cell's centre; torchvision has it at the corner, which the first row and
    # column of a small canvas lose: no object reaches beyond them.
    anchors = StridedAnchors([(stride,) for stride in fpn.strides], (1.0,), fpn.strides, offset=0.5)
    network = _Fcos(
        _NoBackbone(options.channels),
        options.classes,
        anchor_generator=anchors,
        head=FCOSHead(options.channels, 1, options.classes, options.convs),
        score_thresh=options.score_threshold,
        nms_thresh=FCOS_NMS_IOU,
        detections_per_img=options.max_detections,
        topk_candidates=options.proposals,
    )
    network.reach = FCOS_RANGE * options.anchor_scale / PAPER_SCALE
    return OneStage(network)


def retinanet(fpn: Fpn, options: DetectorOptions) -> OneStage:
    """Build the head `retinanet`."""
    base = options.anchor_scale / 2  # 4 strides where Faster R-CNN has 8
    anchors = StridedAnchors([[base * stride * step for step in OCTAVE] for stride in fpn.strides], RATIOS, fpn.strides)
    head = RetinaNetHead(options.channels, len(OCTAVE) * len(RATIOS), options.classes)
    for tower in (head.classification_head, head.regression_head):
        tower.conv = _tower(options.channels, options.convs)
    network = RetinaNet(
        _NoBackbone(options.channels),
        options.classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=options.score_threshold,
        nms_thresh=RETINANET_NMS_IOU,
        detections_per_img=options.max_detections,
        topk_candidates=options.proposals,
    )
    return OneStage(network)


def _tower(channels: int, convs: int) -> nn.Sequential:
    """Build RetinaNet's tower with any number of convolutions; torchvision's has four."""
    layers: list[nn.Module] = []
    for _ in range(convs):
        layer = Conv2dNormActivation(channels, channels, norm_layer=None)
        nn.init.normal_(layer[0].weight, std=0.01)
        nn.init.zeros_(layer[0].bias)
        layers.append(layer)
    return nn.Sequential(*layers)
