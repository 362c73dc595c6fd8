"""Tasks `detection` and `instance_segmentation`: torchvision's heads on any backbone's pyramid, COCO's metrics."""

from __future__ import annotations

import itertools
import time
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.backbones.pyramid import PyramidModel
from bob.core.files import canonical_json
from bob.data.annotations import Detections, Rle
from bob.data.dense_views import Augmentation
from bob.data.placement import Placement
from bob.heads.detectors import Detector, build_detector
from bob.heads.head_registry import own_params
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.metrics.detection_metrics import CocoScores, coco_scores
from bob.metrics.resampling import RESAMPLES
from bob.tasks.dense.dense_protocols import DenseWork, run_dense
from bob.tasks.dense.detection.detection_spec import DetectionParams
from bob.tasks.dense.sheets.contact_sheet import chosen, detection_sheet
from bob.tasks.result import TaskResult, listed
from bob.training.inference import Forward
from bob.training.trial import Trial

MASK_THRESHOLD = 0.5


def finetune(job: Job, context: Context) -> TaskResult:
    """Train backbone and head."""
    return run_dense(DetectionWork, job, context, frozen=False)


def frozen(job: Job, context: Context) -> TaskResult:
    """Train a neck and a head on a frozen backbone."""
    return run_dense(DetectionWork, job, context, frozen=True)


class DetectionWork(DenseWork):
    """A job of boxes, or of boxes and masks."""

    @cached_property
    def asked(self) -> DetectionParams:
        """The protocol's parameters."""
        found = self.setup.params()
        assert isinstance(found, DetectionParams), "tasks of boxes declare it, or a class of their own below it"
        return found

    @property
    def head_name(self) -> str:
        """Which head it trains."""
        return self.asked.head

    @property
    def with_masks(self) -> bool:
        """Whether objects have masks."""
        return self.pictures["train"].annotation == "instances"

    def has_truth(self, split: str, index: int) -> bool:
        """Tell whether a picture has an object that counts."""
        return not bool(self.pictures[split].instances(index).crowd.all())

    def augmentation(self) -> Augmentation:
        """Return multi-scale training, mirrored half of the time."""
        low, high = self.asked.scale
        return Augmentation(scale=(low, high))

    def pyramid_needs(self) -> tuple[tuple[int, ...], int]:
        """Return the levels of the protocol, undilated."""
        return tuple(sorted(set(self.asked.levels))), 32

    def head(self, pyramid: PyramidModel, seed: int) -> Detector:
        """Return the detector that the protocol's parameters describe."""
        return build_detector(
            pyramid,
            self.asked.options(classes=len(self.classes), seed=seed, extra=own_params(self.asked.head, self.setup.job)),
        )

    def loss(self, model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        """Return the sum of the head's losses, each a mean over the pictures, times their number."""
        losses: dict[str, Tensor] = model(images, targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum() * len(images)

    def val_score(self, trial: Trial) -> tuple[float, None]:
        """Return the AP on val; there is no loss."""
        found = self.detections(trial.model, "val")
        scores = self._scores("val", found, range(len(found)), resamples=0)
        return self._ap(scores[0]), None

    def test(self, model: nn.Module) -> dict[str, Any]:
        """Score test: every metric, the AP's interval, each picture's detections."""
        found = self.detections(model, "test")
        pictures = self.pictures["test"]
        order = self.by_id("test")
        scores = self._scores("test", found, order, resamples=RESAMPLES)
        main = scores[0]
        score = self._ap(main)
        low, high = main.spread(score).interval(score, samples=len(order))
        self.said["per_class"] = canonical_json({self.classes[label]: ap for label, ap in main.per_class.items()})
        metrics = {name: value for part in scores for name, value in part.metrics.items() if value is not None}
        return {
            "score": score,
            "score_low": low,
            "score_high": high,
            "metrics": metrics,
            "replicates": main.replicates,
            "outcomes": detection_outcomes([pictures.ids[index] for index in order], [found[index] for index in order]),
            "contact_sheet": self._sheet(found, order, score),
        }

    def detections(self, model: nn.Module, split: str) -> list[Detections]:
        """Return what the model finds in each picture of a split, in the pictures' own pixels."""
        forward = Forward(model, device=self.setup.device, precision=self.setup.precision, join=_chained)
        batches, ranks, found = self.batches[split], self.setup.ranks, list[Detections]()
        total, started = len(self.pictures[split]), time.perf_counter()

        def compute(batch: tuple[Tensor, np.ndarray, list[Placement]]) -> list[Detections]:
            images, _, placements = batch
            return [restored(result, place) for result, place in zip(forward(images), placements, strict=True)]

        def report(_: list[Detections]) -> None:
            self.setup.context.progress(f"scoring {split}", len(found), total)

        mine = batches.evaluation(part=ranks.part)
        for part in ranks.in_turn(mine, compute, count=batches.evaluation_steps, report=report):
            found += part
        self.eval_img_s = total / (time.perf_counter() - started)
        return found

    @property
    def _kinds(self) -> tuple[str, ...]:
        return ("mask", "box") if self.with_masks else ("box",)

    def _ap(self, scores: CocoScores) -> float:
        ap = scores.metrics[f"{self._kinds[0]}_ap"]
        assert ap is not None, "splits without objects are refused before training"
        return ap

    def _scores(self, split: str, found: list[Detections], order: Any, *, resamples: int) -> list[CocoScores]:
        """Return the scores of each kind, the task's own first; only that one is resampled."""
        pictures = self.pictures[split]
        indices = list(order)
        truth = [pictures.instances(index) for index in indices]
        ordered, sizes = [found[index] for index in indices], pictures.sizes[indices]
        return [
            coco_scores(
                truth,
                ordered,
                sizes,
                classes=len(self.classes),
                kind=kind,
                resamples=resamples if kind == self._kinds[0] else 0,
                frequencies=pictures.frequencies,
            )
            for kind in self._kinds
        ]

    def _sheet(self, found: list[Detections], order: list[int], score: float) -> bytes:
        pictures = self.pictures["test"]
        shown = [order[place] for place in chosen(len(order))]
        return detection_sheet(
            [pictures.load(index) for index in shown],
            [pictures.instances(index) for index in shown],
            [found[index] for index in shown],
            self.classes,
            title=self.sheet_title(f"{self._kinds[0]} AP", score),
        )


def restored(result: dict[str, Tensor], placement: Placement) -> Detections:
    """Return one picture's detections in its own pixels; those of no area there are left out."""
    boxes = placement.restore_boxes(result["boxes"].double().cpu().numpy())
    kept = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1)
    masks = None
    if "mask_probs" in result:
        masks = _run_lengths(result["mask_probs"].float().cpu()[torch.from_numpy(kept)], boxes[kept], placement.size)
    return Detections(
        boxes=boxes[kept],
        scores=result["scores"].double().cpu().numpy()[kept],
        labels=result["labels"].cpu().numpy().astype(np.int64)[kept],
        masks=masks,
    )


def _run_lengths(probabilities: Tensor, boxes: np.ndarray, size: tuple[int, int]) -> tuple[Rle, ...]:
    """Paste (n, M, M) mask probabilities into pictures of ``size`` and encode what is over one half."""
    from pycocotools import mask as coco_mask
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    if not len(boxes):
        return ()
    encoded = []
    for probability, box in zip(probabilities, torch.from_numpy(boxes).float(), strict=True):
        # One at a time: a hundred of them on a photograph of 24 million pixels would take gigabytes.
        pasted = paste_masks_in_image(probability[None, None], box[None], size)[0, 0]
        encoded.append(coco_mask.encode(np.asfortranarray((pasted > MASK_THRESHOLD).numpy().astype(np.uint8))))
    return tuple(encoded)


def _chained(parts: list[list[dict[str, Tensor]]]) -> list[dict[str, Tensor]]:
    return list(itertools.chain.from_iterable(parts))


def detection_outcomes(ids: list[str], found: list[Detections]) -> dict[str, np.ndarray]:
    """Return one entry per test picture: its boxes, scores and labels as lists, masks as COCO run lengths in text."""
    columns = {
        "sample_id": ids,
        "boxes": [picture.boxes.tolist() for picture in found],
        "scores": [picture.scores.tolist() for picture in found],
        "labels": [picture.labels.tolist() for picture in found],
    }
    if any(picture.masks is not None for picture in found):
        columns["masks"] = [[rle["counts"].decode("ascii") for rle in picture.masks or ()] for picture in found]
    return listed(columns)
