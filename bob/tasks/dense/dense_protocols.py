"""What every dense task does: canvas, batches, search and test; what differs is a head, a loss and a score."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bob.backbones.backbone_model import estimate_batch_norm
from bob.backbones.pyramid import PyramidModel, build_pyramid
from bob.core.errors import DataError, DataMissingError
from bob.data.canvas import canvas_size
from bob.data.dataset import SPLITS
from bob.data.dense_loading import DenseBatches
from bob.data.dense_pictures import DensePictures, open_dense
from bob.data.dense_views import Augmentation
from bob.data.loading import CACHE_BYTES, derived_seed
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.tasks.dense.dense_params import DenseParams
from bob.tasks.result import TaskResult
from bob.tasks.searched import HEAD_STREAM, SearchedWork
from bob.tasks.setup import Setup
from bob.tasks.spec import TASKS
from bob.training.optimiser import NamedParameters
from bob.training.search import Found
from bob.training.trial import Batches, Trial

STATISTICS_BATCHES = 50
# Test is read once, val once per trial: only train gains much from decoded pictures in memory.
CACHES = {"train": CACHE_BYTES, "val": CACHE_BYTES // 8, "test": 0}


class DenseModel(Protocol):
    """A pyramid with a head, as ``bob.heads`` builds them."""

    @property
    def head_params_m(self) -> float:
        """Return the parameters outside the backbone, in millions."""
        ...

    def layers(self) -> Sequence[NamedParameters]:
        """Return the named parameters per layer, stem to head."""
        ...

    @property
    def no_decay_names(self) -> frozenset[str]:
        """Return the names, as in ``layers``, of what trains without weight decay."""
        ...


class DenseWork(SearchedWork):
    """One dense job: its splits, its canvas, and the pieces that the search calls.

    Args:
        setup: The job's circumstances.
        stack: Closes the batches.
        frozen: Whether the backbone stays as it is.
    """

    def __init__(self, setup: Setup, stack: ExitStack, *, frozen: bool) -> None:
        super().__init__(setup, {split: self._open(setup, split) for split in SPLITS})
        self.frozen = frozen
        train = self.pictures["train"]
        self.classes: tuple[str, ...] = train.classes
        self.canvas = canvas_size(train.sizes, setup.job.input.image_size, aspect=DenseParams.of(setup.job).aspect)
        self._require_truth("val", "test")
        self.batches = {
            split: stack.enter_context(self._batches(pictures, CACHES[split]))
            for split, pictures in self.pictures.items()
        }
        self.head_params_m = 0.0
        self.head_has_batch_norm = False  # whether the head normalises by statistics over the batch while it trains
        self.eval_img_s = 0.0
        self.said: dict[str, Any] = {}

    @abstractmethod
    def has_truth(self, split: str, index: int) -> bool:
        """Tell whether a picture has anything to score."""

    @abstractmethod
    def augmentation(self) -> Augmentation:
        """Return how training views differ."""

    @abstractmethod
    def pyramid_needs(self) -> tuple[tuple[int, ...], int]:
        """Return the levels and the output stride that the head needs."""

    @abstractmethod
    def head(self, pyramid: PyramidModel, seed: int) -> DenseModel:
        """Return the model: a new head on the pyramid."""

    @abstractmethod
    def loss(self, model: nn.Module, images: Tensor, targets: Any) -> Tensor:
        """Return the loss summed over the pictures."""

    @abstractmethod
    def test(self, model: nn.Module) -> dict[str, Any]:
        """Score test: return ``score``, its interval, ``metrics``, ``outcomes``, ``replicates`` and the sheet."""

    def trial(self, lr: float) -> Trial:
        """Build the trial of a rate: the same each time, and but for the rate the same as every other."""
        model: Any = self.model(trained=False)
        return self.trial_of(model, lr, layers=model.layers(), no_decay_names=model.no_decay_names, loss=self.loss)

    def training_batches(self, first_step: int) -> Batches:
        """Yield training batches for ever, from ``first_step`` (counted over all epochs) on."""
        return self.batches["train"].training(first_step, part=self.setup.ranks.part)

    def model(self, *, trained: bool) -> nn.Module:
        """Return the model before training; ``trained`` if its weights and statistics are about to be loaded."""
        job, setup = self.setup.job, self.setup
        levels, output_stride = self.pyramid_needs()
        pyramid = build_pyramid(
            setup.backbone,
            weights_path=None if job.weights_path is None else Path(job.weights_path),
            canvas=self.canvas,
            levels=levels,
            frozen=self.frozen,
            output_stride=output_stride,
            seed=job.seed,
        )
        if setup.backbone.is_control and pyramid.has_batch_norm and not trained:
            self._estimate_statistics(pyramid)
        model: Any = self.head(pyramid, derived_seed(job.seed, HEAD_STREAM))
        self.head_params_m = model.head_params_m
        self.head_has_batch_norm = any(
            isinstance(module, _BatchNorm) and not name.startswith("pyramid.") for name, module in model.named_modules()
        )
        return model

    def sheet_title(self, metric: str, score: float) -> str:
        """Return what a contact sheet shows, in one line."""
        job = self.setup.job
        return f"{job.backbone} on {job.dataset}: {job.protocol}, {self.head_name}, {metric} {score:.3f}"

    def notes(self, found: Found) -> dict[str, Any]:
        """Return the columns that qualify the number."""
        return {
            **self.setup.notes(),
            # The backbone's batch norm is in evaluation mode: only a head's own can suffer from smaller batches.
            **self.training_notes(found, shrinks_norms=self.head_has_batch_norm),
            **self.said,
            "crop_pct": None,
            "input_height": self.canvas[0],
            "input_width": self.canvas[1],
            "n_classes": len(self.classes),
            "dropped_annotations": sum(sum(pictures.faults.values()) for pictures in self.pictures.values()),
        }

    def by_id(self, split: str) -> list[int]:
        """Return the indices of a split's pictures in the order of their ids, in which test sets are resampled."""
        ids = self.pictures[split].ids
        return sorted(range(len(ids)), key=lambda index: ids[index])

    @property
    @abstractmethod
    def head_name(self) -> str:
        """Which head it trains."""

    def _require_truth(self, *splits: str) -> None:
        """Raise DataError before anything is trained for if a split has nothing to score."""
        for split in splits:
            if not any(self.has_truth(split, index) for index in range(len(self.pictures[split]))):
                raise DataError(
                    f"no picture of split {split!r} of data set {self.setup.job.dataset!r} has anything to score "
                    f"({len(self.pictures[split])} pictures).",
                    hint=f"Raise the budget's max_{split}, or put annotated pictures into {split}.",
                )

    def _open(self, setup: Setup, split: str) -> DensePictures:
        job, context = setup.job, setup.context
        if job.dataset_spec is None:
            raise DataMissingError(f"data set {job.dataset!r} is not on this machine.", hint="bob fetch SUITE")
        cap = getattr(job.budget, f"max_{split}")
        return open_dense(
            job.dataset_spec, split, annotation=TASKS.get(job.task).annotation, cap=cap, cache_dir=context.cache_dir
        )

    def _batches(self, pictures: DensePictures, cache_bytes: int) -> DenseBatches:
        setup = self.setup
        return DenseBatches(
            pictures,
            setup.job.input,
            canvas=self.canvas,
            batch_size=self.batch_size,
            augmentation=self.augmentation(),
            seed=setup.job.seed,
            cache_bytes=cache_bytes,
            threads=setup.context.threads,
            loader_workers=setup.context.loader_workers,
            device=setup.device,
        )

    def _estimate_statistics(self, pyramid: PyramidModel) -> None:
        """Give a random control's batch norms statistics of train: they stay in evaluation mode from then on."""
        pyramid.to(self.setup.device)
        batches = self.batches["train"]
        count = min(batches.steps_per_epoch, STATISTICS_BATCHES)
        estimate_batch_norm(pyramid, (images for images, _ in islice(batches.training(), count)))


def run_dense(kind: type[DenseWork], job: Job, context: Context, *, frozen: bool) -> TaskResult:
    """Train a trial per learning rate, keep the best on val, score it on test.

    For the costs of training see ``SearchedWork``; ``eval_img_s`` is the rate of all of test: decoding, forward passes,
    boxes, masks or maps of original size.
    """
    setup = Setup.of(job, context)
    with ExitStack() as stack:
        work = kind(setup, stack, frozen=frozen)
        found, weights, cost = work.search(job.id)
        model = work.model(trained=True)
        model.load_state_dict(weights)
        tested = work.test(model)
    cost |= {"head_params_m": work.head_params_m, "eval_img_s": work.eval_img_s}
    return TaskResult(**tested, hparams=work.hparams(found), search=found.trials, cost=cost, notes=work.notes(found))
