"""One optimiser step over an effective batch, in micro-batches that shrink when memory runs out."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bob.core.errors import OutOfMemoryError
from bob.training.checkpoint import rng_state, set_rng_state
from bob.training.distributed import MicroBatchError, Ranks, trained_norms
from bob.training.memory_backoff import is_out_of_memory

log = logging.getLogger(__name__)

# (model, images, targets) -> the summed loss over the pictures, a scalar; called under autocast.
SumLoss = Callable[[nn.Module, Tensor, Any], Tensor]


class Losses(nn.Module):
    """A model and its loss in one module, since DDP sees to the gradients of what its own forward pass computes.

    Args:
        model: The bare model.
        loss: (model, images, targets) -> summed loss.
    """

    def __init__(self, model: nn.Module, loss: SumLoss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, images: Tensor, targets: Any) -> Tensor:
        """Return the summed loss, a scalar."""
        return self.loss(self.model, images, targets)


class Stepper:
    """Takes steps whose gradient is that of the mean loss over the whole batch, whatever the micro-batch.

    Args:
        accelerator: Supplies mixed precision, gradient scaling and clipping, and over several processes DDP.
        model: The bare model, on its device.
        optimiser: Prepared by the accelerator.
        loss: (model, images, targets) -> the batch's *summed* loss, a scalar; it calls the model.
        clip_norm: Bound on the gradient's global norm; 0 for none.
        micro_batch: Pictures per forward pass to begin with.
        batch_size: Pictures of a whole batch over all processes; one process takes what it is given.
        ranks: This process among those of the job.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        loss: SumLoss,
        clip_norm: float,
        micro_batch: int,
        batch_size: int,
        ranks: Ranks,
    ) -> None:
        self.micro_batch = micro_batch
        self._accelerator = accelerator
        self._model = model
        self._losses: nn.Module = Losses(model, loss)
        if not ranks.alone:
            self._losses = accelerator.prepare_model(self._losses, device_placement=False)
        self._optimiser = optimiser
        self._clip_norm = clip_norm
        self._batch_size = batch_size
        self._ranks = ranks
        # Batch norm moves its statistics in the forward pass: a step that starts again must not move them twice.
        self._buffers = list(model.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._buffers]

    def step(self, images: Tensor, targets: Any) -> Tensor:
        """Take one step and return the batch's mean loss, detached, on the device.

        Args:
            images: (n, 3, H, W) on the model's device: of several processes each gives its share.
            targets: A tensor whose first dimension is n, or a list of n.

        Returns:
            The mean over the batch; of several processes this one's part of it, all of which add up to the mean.

        Raises:
            OutOfMemoryError: Memory ran out with one picture at a time.
            MicroBatchError: Memory ran out on this rank of several, which cannot start the step again by itself.
        """
        self._remember()
        while True:
            try:
                loss = self._gradients(images, targets)
                break
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                shortage = str(error).splitlines()[0] if str(error) else type(error).__name__
            # Outside the handler, so that the traceback no longer holds the activations.
            self._shrink(len(images), shortage)
        self._ranks.average_norms(self._model)
        if self._clip_norm > 0:
            self._accelerator.clip_grad_norm_(self._model.parameters(), self._clip_norm)
        self._optimiser.step()
        return loss

    def _gradients(self, images: Tensor, targets: Any) -> Tensor:
        self._optimiser.zero_grad(set_to_none=True)
        parts = self._parts(len(images))
        whole = len(images) if self._ranks.alone else self._batch_size
        total = torch.zeros((), device=images.device)
        chunks = zip(images.tensor_split(parts), split(targets, parts), strict=True)
        for index, (x, y) in enumerate(chunks):
            last = index == parts - 1
            with contextlib.nullcontext() if last else self._accelerator.no_sync(self._losses):
                with self._accelerator.autocast():
                    # Summed and divided by the whole batch: micro-batches of unequal size weigh as their pictures do.
                    loss = self._losses(x, y) / whole
                # DDP takes the mean over the ranks where their parts of the mean loss are to be added up.
                self._accelerator.backward(loss if self._ranks.alone else loss * self._ranks.processes)
            total += loss.detach()
        return total

    def _parts(self, share: int) -> int:
        """Return in how many forward passes this process takes its share of the batch."""
        if self._ranks.alone:
            return math.ceil(share / self.micro_batch)
        parts = math.ceil(self._ranks.largest_share(self._batch_size) / self.micro_batch)
        if any(isinstance(norm, nn.SyncBatchNorm) for norm in trained_norms(self._model)):
            # They talk in every forward pass: each rank must take as many, and none of them empty.
            return min(parts, self._batch_size // self._ranks.processes)
        return min(parts, share)

    def _remember(self) -> None:
        if not self._ranks.alone:
            return  # this step will not start again here
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            kept.copy_(buffer)
        self._rng: dict[str, Any] = rng_state(self._kept_device())

    def _shrink(self, batch: int, shortage: str) -> None:
        before = min(self.micro_batch, batch)
        if before == 1:
            raise OutOfMemoryError(
                f"memory ran out with one picture at a time ({shortage}).",
                hint="Lower the input size, or give the job a device with more memory.",
            )
        if not self._ranks.alone:
            raise MicroBatchError(
                f"memory ran out on rank {self._ranks.rank} with {before} pictures at a time ({shortage}).",
                micro_batch=before,
            )
        self._optimiser.zero_grad(set_to_none=True)
        for buffer, kept in zip(self._buffers, self._kept, strict=True):
            buffer.copy_(kept)
        set_rng_state(self._rng, self._kept_device())
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.micro_batch = math.ceil(before / 2)
        log.warning("Memory ran out at micro-batch %d: going on with %d, same batch.", before, self.micro_batch)

    def _kept_device(self) -> torch.device:
        return next(self._model.parameters()).device


def of_outputs(loss: Callable[[Tensor, Tensor], Tensor]) -> SumLoss:
    """Return the step's loss for a loss of (outputs in float32, targets) that is summed over the pictures."""

    def summed(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return loss(model(images).float(), targets)

    return summed


def split(targets: Any, parts: int) -> Sequence[Any]:
    """Split a tensor or a list along its first dimension as ``Tensor.tensor_split`` does."""
    if isinstance(targets, Tensor):
        return targets.tensor_split(parts)
    size, longer = divmod(len(targets), parts)
    ends = [(index + 1) * size + min(index + 1, longer) for index in range(parts)]
    return [targets[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def moved(targets: Any, device: torch.device) -> Any:
    """Return a tensor, or lists and dicts of such, on the device."""
    if isinstance(targets, Tensor):
        return targets.to(device, non_blocking=True)
    if isinstance(targets, dict):
        return {name: moved(value, device) for name, value in targets.items()}
    return [moved(value, device) for value in targets]
