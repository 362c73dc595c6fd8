"""What every protocol starts with: device, threads, precision, splits, the backbone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bob.backbones import catalogue
from bob.backbones.loader import BackboneModel, build_backbone
from bob.backbones.spec import Backbone
from bob.context import Context
from bob.data.loading import PictureBatches
from bob.data.pictures import Pictures, open_split
from bob.errors import DataMissingError
from bob.job import Job
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
    """

    job: Job
    context: Context
    backbone: Backbone
    device: torch.device
    precision: str

    @classmethod
    def of(cls, job: Job, context: Context) -> Setup:
        """Resolve a job's circumstances and limit torch to the context's threads."""
        for plugin in job.plugins:
            catalogue.load_plugin(Path(plugin))
        torch.set_num_threads(context.threads)
        device = torch.device(context.device)
        _be_deterministic(device)
        precision = choose_precision(job.precision, device=device, cache_dir=context.cache_dir)
        backbone = catalogue.find(job.backbone)
        return cls(job=job, context=context, backbone=backbone, device=device, precision=precision)

    def model(self) -> BackboneModel:
        """Build the backbone with its weights, on the CPU; a control's weights follow the job's seed."""
        return build_backbone(
            self.backbone,
            weights_path=None if self.job.weights_path is None else Path(self.job.weights_path),
            image_size=self.job.input.image_size,
            seed=self.job.seed,
        )

    def pictures(self, split: str) -> Pictures:
        """Open "train", "val" or "test", capped as the budget says.

        Raises:
            DataMissingError: The data set is not on this machine.
        """
        if self.job.dataset_spec is None:
            raise DataMissingError(f"data set {self.job.dataset!r} is not on this machine.", hint="bob fetch SUITE")
        cap = getattr(self.job.budget, f"max_{split}")
        return open_split(self.job.dataset_spec, split, cap=cap, cache_dir=self.context.cache_dir)

    def batches(self, pictures: Pictures, *, batch_size: int = EVALUATION_BATCH) -> PictureBatches:
        """Return the batches of a split: a context manager."""
        return PictureBatches(
            pictures,
            self.job.input,
            batch_size=batch_size,
            seed=self.job.seed,
            threads=self.context.threads,
            loader_workers=self.context.loader_workers,
            device=self.device,
        )

    def outputs(
        self, forward: Forward, batches: PictureBatches, *, phase: str
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (indices (n,), outputs (n, ...) float32) of a split in order, reporting progress under ``phase``."""
        done, total = 0, len(batches.pictures)
        for images, indices in batches.evaluation():
            yield indices, forward(images).cpu().numpy()
            done += len(indices)
            self.context.progress(phase, done, total)

    def notes(self, model_pooling: str | None = None) -> dict[str, Any]:
        """Return the columns that qualify every number of this job."""
        return {
            "precision": self.precision,
            "threads": self.context.threads,
            "interpolation": self.job.input.interpolation,
            "crop_pct": self.job.input.crop_pct,
            "pooling": model_pooling,
        }
