"""What every protocol starts with: device, threads, precision, splits, the backbone."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bob.backbones import catalogue
from bob.backbones.backbone import Backbone
from bob.backbones.loader import BackboneModel, build_backbone, estimate_batch_norm
from bob.core.errors import DataError, DataMissingError
from bob.core.plugins import load_plugin
from bob.core.settings import use_cache_dir
from bob.data.corrupted import Corruption, require_corruptions
from bob.data.dataset import SPLITS, DatasetSpec
from bob.data.loading import Change, PictureBatches
from bob.data.multilabel_pictures import open_whole
from bob.data.pictures import Pictures, open_split, open_unlabelled
from bob.data.readers.revisited import GALLERY
from bob.jobs.context import Context
from bob.jobs.job import Job, OtherData
from bob.jobs.protocol_params import ProtocolParams
from bob.probes.feature_files import corrupted_split
from bob.tasks.spec import TASKS
from bob.training.distributed import ALONE, Ranks
from bob.training.inference import Forward
from bob.training.precision import choose_precision

EVALUATION_BATCH = 32


def _be_deterministic(device: torch.device) -> None:
    """Let the same job give the same numbers on the same GPU; a CPU does so for the same number of threads."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when the first product is computed
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


@dataclass(frozen=True, kw_only=True)
class Setup:
    """One job's circumstances, resolved.

    Attributes:
        job: The job.
        context: What it was handed.
        backbone: The job's backbone, as data.
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16", as used.
        ranks: This process among those of the job.
    """

    job: Job
    context: Context
    backbone: Backbone
    device: torch.device
    precision: str
    ranks: Ranks = ALONE

    @classmethod
    def of(cls, job: Job, context: Context) -> Setup:
        """Resolve a job's circumstances and limit torch to the context's threads."""
        use_cache_dir(context.cache_dir)
        for plugin in job.plugins:
            load_plugin(plugin)
        torch.set_num_threads(context.threads)
        device = torch.device(context.device)
        _be_deterministic(device)
        ranks = Ranks.of(context)
        # A measurement may choose it: rank 0's, for all.
        precision = ranks.agreed(choose_precision(job.precision, device=device, cache_dir=context.cache_dir))
        backbone = catalogue.find(job.backbone)
        return cls(job=job, context=context, backbone=backbone, device=device, precision=precision, ranks=ranks)

    def model(self) -> BackboneModel:
        """Build the backbone with its weights, on the CPU; a control's weights follow the job's seed."""
        return build_backbone(
            self.backbone,
            weights_path=None if self.job.weights_path is None else Path(self.job.weights_path),
            image_size=self.job.input.image_size,
            seed=self.job.seed,
        )

    def estimate_statistics(self, model: BackboneModel) -> bool:
        """Give a random control's batch norms the statistics of train; return whether there were any to give.

        Data without a train split give those of test; of test pictures with given queries those of the gallery.
        """
        if not (self.backbone.is_control and model.has_batch_norm):
            return False
        model.to(self.device)
        with self.batches(self._for_statistics()) as batches:
            # Training batches, since their order is shuffled: pictures lie sorted by class.
            estimate_batch_norm(model, (images for images, _ in batches.batches(0)))
        return True

    def corruptions(
        self, pictures: Pictures, names: Sequence[str], severities: Sequence[int]
    ) -> dict[str, Change | None]:
        """Return by split name what evaluation's views of these pictures go through, in the order given.

        Raises:
            ConfigError: As ``require_corruptions``.
        """
        require_corruptions(names, side=self.job.input.image_size)
        return {
            corrupted_split(name, severity): Corruption(name=name, severity=severity, ids=pictures.ids)
            for name in names
            for severity in severities
        }

    def params(self) -> ProtocolParams:
        """Return the parameters of the job's protocol, without those that an entry such as a head brings along."""
        return TASKS.get(self.job.task).protocol(self.job.protocol).params.of(self.job)

    @property
    def spec(self) -> DatasetSpec:
        """The job's data set.

        Raises:
            DataMissingError: It is not on this machine.
        """
        if self.job.dataset_spec is None:
            raise DataMissingError(f"data set {self.job.dataset!r} is not on this machine.", hint="bob fetch SUITE")
        return self.job.dataset_spec

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of "train", "val" and "test" that the job's data set has."""
        return tuple(split for split in SPLITS if split in dict(self.spec.sizes))

    @property
    def has_given_queries(self) -> bool:
        """Whether the data set says what is a query, what is gallery, and what each query should find."""
        return TASKS.get(self.job.task).annotation_of(self.spec) == "retrieval"

    def pictures(self, split: str) -> Pictures:
        """Open "train", "val" or "test", with what the task needs to know of pictures, capped as the budget says.

        Raises:
            DataMissingError: The data set is not on this machine.
            DataError: It lacks what the task needs.
        """
        cap, annotation = getattr(self.job.budget, f"max_{split}"), TASKS.get(self.job.task).annotation_of(self.spec)
        if annotation is None:
            raise DataError(f"data set {self.spec.name!r} has nothing that task {self.job.task!r} can use.")
        return open_whole(self.spec, split, annotation=annotation, cap=cap, cache_dir=self.context.cache_dir)

    def _for_statistics(self) -> Pictures:
        if "train" in self.splits:
            return self.pictures("train")
        test = self.pictures("test")
        return test.among(test.labels == GALLERY) if self.has_given_queries else test

    def other_pictures(self, other: OtherData) -> Pictures:
        """Open the test pictures of another data set, capped as the budget's ``max_test`` says.

        Of one that is out of distribution only the pictures count: its labels, if it has any, are not looked at.

        Raises:
            DataMissingError: The data set is not on this machine.
        """
        if other.spec is None:
            raise DataMissingError(f"data set {other.text!r} is not on this machine.", hint="bob fetch SUITE")
        where: dict[str, Any] = {"cap": self.job.budget.max_test, "cache_dir": self.context.cache_dir}
        if other.role != "shifts":
            return open_unlabelled(other.spec, "test", **where)
        several = "label_sets" in other.spec.annotations
        return open_split(other.spec, "test", annotation="label_sets" if several else "label", **where)

    def batches(
        self,
        pictures: Pictures,
        *,
        batch_size: int = EVALUATION_BATCH,
        changes: Sequence[Change] = (),
        targets: np.ndarray | None = None,
    ) -> PictureBatches:
        """Return the batches of a split: a context manager. Without ``targets`` those of training have its labels."""
        return PictureBatches(
            pictures,
            self.job.input,
            batch_size=batch_size,
            seed=self.job.seed,
            threads=self.context.threads,
            loader_workers=self.context.loader_workers,
            device=self.device,
            changes=changes,
            targets=targets,
        )

    def outputs(
        self,
        forward: Forward,
        batches: PictureBatches,
        *,
        phase: str,
        change: int | None = None,
        beside: Sequence[np.ndarray] = (),
        start: int = 0,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (indices (n,), outputs (n, ...) float32) of a split in order, reporting progress under ``phase``.

        Of several processes each computes whole batches in turn, and all are given all outputs.

        ``beside`` are arrays with an entry per picture of the split, which the model takes beside the pictures.
        ``start`` is the index of the first picture: on a border of batches, they are those of a whole pass.
        """
        done, total = start, len(batches.pictures)

        def compute(batch: tuple[Tensor, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            images, indices = batch
            rows = [torch.from_numpy(values[indices]) for values in beside]
            return indices, forward(images, *rows).cpu().numpy()

        def report(result: tuple[np.ndarray, np.ndarray]) -> None:
            nonlocal done
            done += len(result[0])
            self.context.progress(phase, done, total)

        mine = batches.evaluation(start, change=change, part=self.ranks.part)
        yield from self.ranks.in_turn(
            mine, compute, count=math.ceil((total - start) / batches.batch_size), report=report
        )

    def notes(self, model_pooling: str | None = None) -> dict[str, Any]:
        """Return the columns that qualify every number of this job."""
        return {
            "precision": self.precision,
            "threads": self.context.threads,
            "interpolation": self.job.input.interpolation,
            "crop_pct": self.job.input.crop_pct,
            "pooling": model_pooling,
        }
