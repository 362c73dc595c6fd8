"""Task `semantic_segmentation`: a class per pixel, scored at the pictures' original size."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.backbones.pyramid import PyramidModel
from bob.core.files import canonical_json
from bob.data.annotations import IGNORE
from bob.data.dense_views import Augmentation
from bob.data.loading import WHOLE, Part
from bob.heads.head_registry import own_params
from bob.heads.segmentation_heads import Segmenter, build_segmenter, pyramid_needs
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.metrics.resampling import RESAMPLES
from bob.metrics.segmentation_metrics import areas, segmentation_scores
from bob.tasks.dense.dense_protocols import DenseWork, run_dense
from bob.tasks.dense.segmentation.segmentation_spec import SegmentationParams
from bob.tasks.dense.segmentation.sliding_windows import slide
from bob.tasks.dense.sheets.contact_sheet import chosen, segmentation_sheet
from bob.tasks.result import TaskResult, listed
from bob.training.inference import Forward
from bob.training.trial import Trial

COLOUR_JITTER = 0.2
CLASSES_AT_ONCE = 8


def finetune(job: Job, context: Context) -> TaskResult:
    """Train backbone and head."""
    return run_dense(SegmentationWork, job, context, frozen=False)


def frozen(job: Job, context: Context) -> TaskResult:
    """Train a neck and a head on a frozen backbone."""
    return run_dense(SegmentationWork, job, context, frozen=True)


class SegmentationWork(DenseWork):
    """A job of label maps."""

    @cached_property
    def asked(self) -> SegmentationParams:
        """The protocol's parameters."""
        return SegmentationParams.of(self.setup.job)

    @property
    def head_name(self) -> str:
        """Which head it trains."""
        return self.asked.head

    def has_truth(self, split: str, index: int) -> bool:
        """Tell whether a picture has a labelled pixel."""
        return bool((self.pictures[split].semantic(index) != IGNORE).any())

    def augmentation(self) -> Augmentation:
        """Return random sizes and crops, mirrored half of the time, colours shifted a little."""
        low, high = self.asked.scale
        base = "cover" if self.asked.inference == "slide" else "contain"
        return Augmentation(scale=(low, high), jitter=COLOUR_JITTER, base=base)

    def pyramid_needs(self) -> tuple[tuple[int, ...], int]:
        """Return what the head needs."""
        return pyramid_needs(self.asked.head)

    def head(self, pyramid: PyramidModel, seed: int) -> Segmenter:
        """Return the head that the protocol's parameters describe."""
        self.said["output_stride_emulated"] = pyramid.emulated_stride
        head, channels = self.asked.head, self.asked.channels
        return build_segmenter(
            pyramid,
            head=head,
            classes=len(self.classes),
            channels=channels,
            seed=seed,
            **own_params(head, self.setup.job),
        )

    def loss(self, model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        """Return the cross-entropy, a mean over labelled pixels, times the number of pictures."""
        maps = torch.stack([target["map"] for target in targets]).long()
        total = nn.functional.cross_entropy(model(images).float(), maps, ignore_index=IGNORE, reduction="sum")
        labelled = (maps != IGNORE).sum().clamp(min=1)
        return total / labelled * len(images)

    def val_score(self, trial: Trial) -> tuple[float, None]:
        """Return the mIoU on val; there is no loss."""
        counted, _ = self.counted(trial.model, "val", shown=[])
        return float(segmentation_scores(counted, resamples=0).metrics["miou"]), None

    def test(self, model: nn.Module) -> dict[str, Any]:
        """Score test: every metric, the mIoU's interval, each picture's areas per class."""
        pictures = self.pictures["test"]
        order = self.by_id("test")
        shown = [order[place] for place in chosen(len(order))]
        counted, maps = self.counted(model, "test", shown=shown)
        counted = counted[order]
        scores = segmentation_scores(counted, resamples=RESAMPLES)
        low, high = scores.spread().interval(scores.metrics["miou"], samples=len(order))
        self.said["per_class"] = canonical_json({self.classes[label]: iou for label, iou in scores.per_class.items()})
        return {
            "score": scores.metrics["miou"],
            "score_low": low,
            "score_high": high,
            "metrics": scores.metrics,
            "replicates": scores.replicates,
            "outcomes": _outcomes([pictures.ids[index] for index in order], counted),
            "contact_sheet": self._sheet(shown, maps, float(scores.metrics["miou"])),
        }

    def counted(self, model: nn.Module, split: str, *, shown: list[int]) -> tuple[np.ndarray, dict[int, np.ndarray]]:
        """Return the areas (n, 3, classes) of each picture of a split, and the predicted maps of those ``shown``."""
        pictures, ranks, classes = self.pictures[split], self.setup.ranks, len(self.classes)
        counts: list[np.ndarray] = []
        maps: dict[int, np.ndarray] = {}
        started = time.perf_counter()

        def compute(predicted: list[tuple[int, np.ndarray]]) -> list[tuple[int, np.ndarray, np.ndarray | None]]:
            return [
                (index, areas(labels, pictures.semantic(index), classes=classes), labels if index in shown else None)
                for index, labels in predicted
            ]

        def report(_: object) -> None:
            self.setup.context.progress(f"scoring {split}", len(counts), len(pictures))

        mine = self.maps(model, split, part=ranks.part)
        for part in ranks.in_turn(mine, compute, count=self._evaluation_steps(split), report=report):
            counts += [count for _, count, _ in part]
            maps |= {index: labels for index, _, labels in part if labels is not None}
        self.eval_img_s = len(pictures) / (time.perf_counter() - started)
        return np.stack(counts), maps

    def maps(self, model: nn.Module, split: str, *, part: Part = WHOLE) -> Iterator[list[tuple[int, np.ndarray]]]:
        """Yield by batch (index, predicted labels uint8 (h, w) at the picture's own size) of a split in order.

        Of ``part`` (r, n) they are whole batches: those numbered r, r + n, ...
        """
        forward = Forward(model, device=self.setup.device, precision=self.setup.precision)
        if self._slides:
            pictures, overlap = self.pictures[split], self.asked.overlap
            for index in range(len(pictures))[part[0] :: part[1]]:
                image = pictures.load(index)
                logits = slide(forward, image, self.setup.job.input, canvas=self.canvas, overlap=overlap)
                yield [(index, labels_at(torch.from_numpy(logits), (image.height, image.width)))]
            return
        for images, indices, placements in self.batches[split].evaluation(part=part):
            predicted = []
            for index, logits, placement in zip(indices.tolist(), forward(images), placements, strict=True):
                height, width = placement.visible
                predicted.append((index, labels_at(logits[:, :height, :width], placement.size)))
            yield predicted

    @property
    def _slides(self) -> bool:
        return self.asked.inference == "slide"

    def _evaluation_steps(self, split: str) -> int:
        """Return the batches of ``maps``: with windows a picture is one."""
        return len(self.pictures[split]) if self._slides else self.batches[split].evaluation_steps

    def _sheet(self, shown: list[int], maps: dict[int, np.ndarray], score: float) -> bytes:
        pictures = self.pictures["test"]
        return segmentation_sheet(
            [pictures.load(index) for index in shown],
            [pictures.semantic(index) for index in shown],
            [maps[index] for index in shown],
            self.classes,
            title=self.sheet_title("mIoU", score),
        )


def labels_at(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Resize (classes, h, w) logits bilinearly to ``size`` and return the class of each pixel, uint8.

    A few classes at a time: 150 of them at a photograph's 24 million pixels would take 14 GB.
    """
    best = torch.full(size, -torch.inf, device=logits.device)
    labels = torch.zeros(size, dtype=torch.uint8, device=logits.device)
    for first in range(0, len(logits), CLASSES_AT_ONCE):
        part = logits[None, first : first + CLASSES_AT_ONCE]
        resized = nn.functional.interpolate(part, size=size, mode="bilinear", align_corners=False)[0]
        highest, place = resized.max(dim=0)
        better = highest > best
        best = torch.where(better, highest, best)
        labels = torch.where(better, (place + first).to(torch.uint8), labels)
    return labels.cpu().numpy()


def _outcomes(ids: list[str], counted: np.ndarray) -> dict[str, np.ndarray]:
    areas_of = {name: counted[:, place].tolist() for place, name in enumerate(("intersection", "predicted", "truth"))}
    return listed({"sample_id": ids, **areas_of})
