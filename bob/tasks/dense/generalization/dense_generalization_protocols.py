"""Task `dense_generalization`: a detector trained on one data set, scored on others as it is."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from bob.core.errors import DataError, DataMissingError
from bob.core.files import canonical_json
from bob.data.annotations import Detections, Instances
from bob.data.class_map import class_places
from bob.data.dense_pictures import DensePictures, open_dense
from bob.jobs.context import Context
from bob.jobs.job import Job, OtherData
from bob.metrics.detection_metrics import CocoScores, coco_scores
from bob.metrics.resampling import RESAMPLES, mean_spread
from bob.metrics.robustness import relative_drop
from bob.tasks.dense.dense_protocols import CACHES, run_dense
from bob.tasks.dense.detection.detection_protocols import DetectionWork, detection_outcomes
from bob.tasks.dense.generalization.dense_generalization_spec import DENSE_GENERALIZATION, check_job
from bob.tasks.result import TaskResult
from bob.tasks.setup import Setup

DIGITS = 6


def finetune(job: Job, context: Context) -> TaskResult:
    """Train backbone and head on the job's own data set."""
    check_job(job)
    return run_dense(ShiftedDetectionWork, job, context, frozen=False)


def frozen(job: Job, context: Context) -> TaskResult:
    """Train a neck and a head on a frozen backbone."""
    check_job(job)
    return run_dense(ShiftedDetectionWork, job, context, frozen=True)


class ShiftedDetectionWork(DetectionWork):
    """A job of boxes whose detector is scored on the test pictures of other data sets.

    Attributes:
        shifts: Name of each shift by what ``pictures`` and ``batches`` hold it under.
        places: The own category of each category of a shift.
    """

    def __init__(self, setup: Setup, stack: ExitStack, *, frozen: bool) -> None:
        super().__init__(setup, stack, frozen=frozen)
        self.shifts: dict[str, str] = {}
        self.places: dict[str, np.ndarray] = {}
        # In the order of names: means over sets do not depend on the suite's, to the last digit.
        for other in sorted(setup.job.others, key=lambda other: other.name):
            pictures, split = self._opened(other), f"shift {other.name}"
            self.shifts[split] = other.name
            self.places[split] = class_places(self.classes, pictures.classes)
            self.pictures[split] = pictures
            self.batches[split] = stack.enter_context(self._batches(pictures, CACHES["test"]))
            if not any(self.has_truth(split, index) for index in range(len(pictures))):
                raise DataError(
                    f"no test picture of shift {other.text!r} has an object to find ({len(pictures)} pictures).",
                    hint="Raise the budget's max_test, or take the data set out of shifts.",
                )

    def test(self, model: nn.Module) -> dict[str, Any]:
        """Score the own test pictures, and those of every shift; the score is the mean AP over shifts."""
        order, found = self.by_id("test"), self.detections(model, "test")
        source, rate = self._ap(self._scores("test", found, order, resamples=0)[0]), self.eval_img_s
        outcomes, scores = [], {}
        for split, name in self.shifts.items():
            order, found = self.by_id(split), self.detections(model, split)
            ids = [f"{name}/{self.pictures[split].ids[index]}" for index in order]
            outcomes.append(detection_outcomes(ids, [found[index] for index in order]))
            scores[name] = self._shift_scores(split, found, order)
        self.eval_img_s = rate  # the row's is that of the own test pictures
        return self._result(source, scores, outcomes)

    def _shift_scores(self, split: str, found: list[Detections], order: list[int]) -> CocoScores:
        """Return COCO's scores over the categories that the shift has objects of, and the AP on resampled pictures."""
        pictures = self.pictures[split]
        truth = [self._placed(pictures.instances(index), split) for index in order]
        ordered, sizes = [found[index] for index in order], pictures.sizes[order]
        return coco_scores(truth, ordered, sizes, classes=len(self.classes), kind="box", resamples=RESAMPLES)

    def _placed(self, truth: Instances, split: str) -> Instances:
        return replace(truth, labels=self.places[split][truth.labels])

    def _result(
        self, source: float, scores: dict[str, CocoScores], outcomes: list[dict[str, np.ndarray]]
    ) -> dict[str, Any]:
        aps = {name: self._ap(found) for name, found in scores.items()}
        score = math.fsum(aps.values()) / len(aps)
        replicates = np.mean([found.replicates for found in scores.values()], axis=0)
        spread = mean_spread([found.spread(aps[name]) for name, found in scores.items()])
        # Shifts may show the same pictures in another light: what they have in common is in the joint replicates.
        joint = float(np.nanvar(replicates, ddof=1)) if np.isfinite(replicates).sum() > 1 else 0.0
        spread = replace(spread, variance=max(spread.variance, joint))
        low, high = spread.interval(score, samples=min(len(self.pictures[split]) for split in self.shifts))
        self.said["per_shift"] = canonical_json({"shifts": {name: round(ap, DIGITS) for name, ap in aps.items()}})
        metrics = {"mean_box_ap": score, "source_box_ap": source}
        if source:
            metrics["relative_drop"] = relative_drop(source, score)
        return {
            "score": score,
            "score_low": low,
            "score_high": high,
            "metrics": metrics,
            "replicates": replicates,
            "outcomes": {name: np.concatenate([part[name] for part in outcomes]) for name in outcomes[0]},
        }

    def _opened(self, other: OtherData) -> DensePictures:
        if other.spec is None:
            raise DataMissingError(f"data set {other.text!r} is not on this machine.", hint="bob fetch SUITE")
        return open_dense(
            other.spec,
            "test",
            annotation=DENSE_GENERALIZATION.annotation,
            cap=self.setup.job.budget.max_test,
            cache_dir=self.setup.context.cache_dir,
        )
