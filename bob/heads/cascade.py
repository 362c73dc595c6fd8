"""Cascade R-CNN (Cai and Vasconcelos 2018, arXiv 1712.00726) as torchvision's second stage.

What the paper leaves open follows Detectron2's published models: the boxes that the first stage trains on are refined
by each stage and matched anew by the next at its higher IoU, without sampling again; the stages' losses are added, and
their gradients on the shared features divided by the number of stages, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads, fastrcnn_loss, maskrcnn_inference, maskrcnn_loss
from torchvision.ops import box_iou, clip_boxes_to_image

Weights = tuple[float, float, float, float]
STAGES: tuple[tuple[float, Weights], ...] = (
    (0.5, (10.0, 10.0, 5.0, 5.0)),
    (0.6, (20.0, 20.0, 10.0, 10.0)),
    (0.7, (30.0, 30.0, 15.0, 15.0)),
)
"""IoU from which a box is an object, and the regression weights, of each stage."""


class CascadeStage(nn.Module):
    """One stage: a box head, class scores, and one regression for all classes.

    Args:
        head: Maps pooled features to (n, width).
        width: Of what the head gives.
        classes: Without background.
        iou: Boxes that overlap an object by this much are trained to be it.
        weights: Of the regression targets (x, y, width, height).
    """

    def __init__(self, head: nn.Module, *, width: int, classes: int, iou: float, weights: Weights) -> None:
        super().__init__()
        self.head = head
        self.predictor = FastRCNNPredictor(width, classes + 1)
        self.predictor.bbox_pred = nn.Linear(width, 4)
        self.classes = classes
        self.iou = iou
        self.coder = BoxCoder(weights)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return class logits (n, classes + 1) and deltas (n, 4), float32."""
        scores, deltas = self.predictor(self.head(pooled))
        return scores.float(), deltas.float()

    def match(self, boxes: list[Tensor], targets: list[dict[str, Tensor]]) -> tuple[list[Tensor], ...]:
        """Return for each picture the matched object of each box, its label (0 below ``iou``) and its deltas."""
        found = [
            self._match(rows, target["boxes"], target["labels"]) for rows, target in zip(boxes, targets, strict=True)
        ]
        matched, labels, deltas = zip(*found, strict=True)
        return list(matched), list(labels), list(deltas)

    def _match(self, boxes: Tensor, truth: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if len(truth) == 0:
            none = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
            return none, none, torch.zeros_like(boxes)
        overlap, matched = box_iou(truth, boxes).max(dim=0)
        label = torch.where(overlap >= self.iou, labels[matched], 0)
        return matched, label, self.coder.encode_single(truth[matched], boxes)

    def refine(self, deltas: Tensor, boxes: list[Tensor], shapes: list[tuple[int, int]]) -> list[Tensor]:
        """Return the boxes moved by ``deltas``, clipped to their pictures."""
        moved = self.coder.decode_single(deltas.detach(), torch.cat(boxes)).split([len(rows) for rows in boxes])
        return [clip_boxes_to_image(rows, shape) for rows, shape in zip(moved, shapes, strict=True)]


class CascadeRoIHeads(RoIHeads):
    """Torchvision's second stage with several box stages one after the other, and a mask head on the last one's boxes.

    Args:
        box_roi_pool: Pools (features, boxes, image shapes) to (n, C, S, S).
        stages: In order.
        **settings: What ``RoIHeads`` takes beyond its box parts; its own matching is the first stage's.
    """

    def __init__(self, box_roi_pool: nn.Module, stages: Sequence[CascadeStage], **settings: Any) -> None:
        first = stages[0]
        super().__init__(
            box_roi_pool,
            None,
            None,
            fg_iou_thresh=first.iou,
            bg_iou_thresh=first.iou,
            bbox_reg_weights=first.coder.weights,
            **settings,
        )
        self.box_stages = nn.ModuleList(stages)

    @property
    def stages(self) -> list[CascadeStage]:
        """The stages in order."""
        return [stage for stage in self.box_stages if isinstance(stage, CascadeStage)]

    def forward(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Return what ``RoIHeads`` returns: no detections and losses in training, else detections and no losses."""
        if not self.training:
            return self._detections(features, proposals, image_shapes), {}
        assert targets is not None, "training needs targets"
        return [], self._losses(features, proposals, image_shapes, targets)

    def _losses(
        self,
        features: Mapping[str, Tensor],
        proposals: list[Tensor],
        shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        boxes, matched, labels, wanted = self.select_training_samples(proposals, targets)
        for number, stage in enumerate(self.stages, start=1):
            if number > 1:
                matched, labels, wanted = stage.match(boxes, targets)
            pooled = _scale_gradient(self.box_roi_pool(features, boxes, shapes), 1 / len(self.stages))
            logits, deltas = stage(pooled)
            of_classes, of_boxes = fastrcnn_loss(logits, _per_class(deltas, stage.classes), labels, wanted)
            losses |= {f"loss_classifier_{number}": of_classes, f"loss_box_reg_{number}": of_boxes}
            if number < len(self.stages):
                boxes = stage.refine(deltas, boxes, shapes)
        if self.has_mask():
            losses["loss_mask"] = self._mask_loss(features, boxes, matched, labels, shapes, targets)
        return losses

    def _mask_loss(
        self,
        features: Mapping[str, Tensor],
        boxes: list[Tensor],
        matched: list[Tensor],
        labels: list[Tensor],
        shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> Tensor:
        # Matching anew may find more objects than the first stage sampled: masks keep to that number.
        chosen = [torch.where(rows)[0] for rows in self.fg_bg_sampler(labels)[0]]
        boxes = [rows[places] for rows, places in zip(boxes, chosen, strict=True)]
        objects = [rows[places] for rows, places in zip(matched, chosen, strict=True)]
        logits = self._mask_logits(features, boxes, shapes)
        truth = [target["masks"] for target in targets]
        return maskrcnn_loss(logits, boxes, truth, [target["labels"] for target in targets], objects)

    def _mask_logits(
        self, features: Mapping[str, Tensor], boxes: list[Tensor], shapes: list[tuple[int, int]]
    ) -> Tensor:
        return self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, shapes)))

    def _detections(
        self, features: Mapping[str, Tensor], proposals: list[Tensor], shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        boxes, scores = proposals, []
        for stage in self.stages:
            logits, deltas = stage(self.box_roi_pool(features, boxes, shapes))
            scores.append(torch.softmax(logits, dim=1))
            boxes = stage.refine(deltas, boxes, shapes)
        # The softmax of log-probabilities are these probabilities, and deltas of zero are these boxes.
        logits = torch.stack(scores).mean(dim=0).log()
        found = self.postprocess_detections(logits, logits.new_zeros(len(logits), 4 * logits.shape[1]), boxes, shapes)
        objects = [dict(zip(("boxes", "scores", "labels"), rows, strict=True)) for rows in zip(*found, strict=True)]
        if self.has_mask():
            masks = self._mask_logits(features, [rows["boxes"] for rows in objects], shapes)
            for rows, probabilities in zip(
                objects, maskrcnn_inference(masks, [rows["labels"] for rows in objects]), strict=True
            ):
                rows["masks"] = probabilities
        return objects


def _per_class(deltas: Tensor, classes: int) -> Tensor:
    """Repeat deltas (n, 4) for background and every class: the same loss as of one regression for all."""
    return deltas.repeat(1, classes + 1)


def _scale_gradient(values: Tensor, factor: float) -> Tensor:
    """Return ``values``, through which gradients pass scaled by ``factor``."""
    if values.requires_grad:
        values.register_hook(lambda gradient: gradient * factor)
    return values
