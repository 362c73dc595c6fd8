"""Forward passes for scoring: evaluation mode, no gradients, smaller parts when memory runs out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bob.core.errors import OutOfMemoryError
from bob.training.memory_backoff import is_out_of_memory, shortage_text
from bob.training.precision import autocast

log = logging.getLogger(__name__)


def _concatenated(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.float() for part in parts])


class Forward:
    """Calls a model on batches of pictures.

    Args:
        model: Moved to ``device``, channels last, and put in evaluation mode.
        device: Where it runs.
        precision: "fp32", "bf16" or "fp16".
        join: Makes one answer of those of a batch's parts.

    Attributes:
        part: The most pictures that went through at once without running out of memory; None as long as all did.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        precision: str,
        join: Callable[[list[Any]], Any] = _concatenated,
    ) -> None:
        self.part: int | None = None
        self._model = model.to(device).to(memory_format=torch.channels_last).eval()
        self._device = device
        self._precision = precision
        self._join = join

    def __call__(self, images: Tensor, *beside: Tensor) -> Any:
        """Return the model's output for (n, 3, H, W) images, on the device; a tensor comes in float32.

        Args:
            images: Of one batch.
            beside: What else the model takes, n entries each (labels): they go where their pictures go.

        Raises:
            OutOfMemoryError: Memory ran out with one picture at a time.
        """
        images = images.to(self._device, non_blocking=True, memory_format=torch.channels_last)
        beside = tuple(values.to(self._device, non_blocking=True) for values in beside)
        while True:
            try:
                return self._parts(images, *beside)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                shortage = shortage_text(error)
            self._shrink(len(images), shortage)

    def _parts(self, images: Tensor, *beside: Tensor) -> Any:
        parts = math.ceil(len(images) / (self.part or len(images)))
        split = zip(*(values.tensor_split(parts) for values in (images, *beside)), strict=True)
        with torch.inference_mode(), autocast(self._precision, self._device):
            return self._join([self._model(*part) for part in split])

    def _shrink(self, batch: int, shortage: str) -> None:
        before = min(self.part or batch, batch)
        if before == 1:
            raise OutOfMemoryError(
                f"memory ran out with one picture at a time, in a forward pass ({shortage}).",
                hint="Lower the input size, or give the job a device with more memory.",
            )
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        self.part = math.ceil(before / 2)
        log.warning("Memory ran out with %d pictures in a forward pass: going on with %d.", before, self.part)
