"""Batches of a dense task. What a training batch holds depends on seed, epoch and step, never on who decodes it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bob.backbones.backbone import InputConfig
from bob.data.dense_pictures import DensePictures
from bob.data.dense_views import Augmentation, DenseViews, View
from bob.data.loading import CACHE_BYTES, WHOLE, Part, PictureCache, derived_seed, share
from bob.data.placement import Placement
from bob.data.streams import EVALUATION, open_stream
from bob.data.transforms import normalise

Targets = list[dict[str, Tensor]]


class DenseBatches:
    """Training and evaluation batches of one split, on one canvas.

    Args:
        pictures: The split.
        input: Normalisation and interpolation of the model's input.
        canvas: Height and width of the input.
        batch_size: Pictures per batch.
        augmentation: How training views differ.
        seed: Decides order and augmentation of training.
        cache_bytes: Decoded pictures kept in memory at most, in all processes together.
        threads: Decoding threads of this process when ``loader_workers`` is 0.
        loader_workers: Worker processes that decode; 0 decodes in threads.
        device: Where batches are put; pixels travel as uint8 and are normalised there.

    Use it as a context manager, or call ``close``.
    """

    def __init__(
        self,
        pictures: DensePictures,
        input: InputConfig,
        *,
        canvas: tuple[int, int],
        batch_size: int,
        augmentation: Augmentation,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
        threads: int = 1,
        loader_workers: int = 0,
        device: torch.device,
    ) -> None:
        self.pictures = pictures
        self.batch_size = batch_size
        self._input = input
        self._seed = seed
        self._device = device
        cache = PictureCache(pictures, cache_bytes // max(1, loader_workers))
        views = DenseViews(cache, pictures, input, canvas=canvas, augmentation=augmentation, seed=seed)
        self._source = open_stream(
            views,
            collate_views,
            threads=threads,
            loader_workers=loader_workers,
            start_method=None,
            device=device,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch: the incomplete last one is left out, unless it is the only one."""
        return max(1, len(self.pictures) // self.batch_size)

    def training(self, first_step: int = 0, *, part: Part = WHOLE) -> Iterator[tuple[Tensor, Targets]]:
        """Yield (images float32 (n, 3, H, W), targets of ``View``) for ever, from a step counted over all epochs on.

        Starting at a later step gives exactly the batches that starting at the first would have given from there. Of
        each batch only ``part`` is decoded and given.
        """
        epoch, step = divmod(first_step, self.steps_per_epoch)
        while True:
            order = self._order(epoch)
            steps = [share(step, part) for step in order.split(self.batch_size)][: self.steps_per_epoch]
            keys = [[(epoch, index) for index in indices.tolist()] for indices in steps[step:]]
            for pixels, targets, _ in self._source.stream(keys):
                yield self._images(pixels), targets
            epoch, step = epoch + 1, 0

    @property
    def evaluation_steps(self) -> int:
        """Batches of ``evaluation``, over all parts."""
        return math.ceil(len(self.pictures) / self.batch_size)

    def evaluation(self, *, part: Part = WHOLE) -> Iterator[tuple[Tensor, np.ndarray, list[Placement]]]:
        """Yield (images float32 (n, 3, H, W), indices int64 (n,), placements) of all pictures in order.

        Of ``part`` (r, n) they are whole batches: those numbered r, r + n, ...
        """
        parts = list(torch.arange(len(self.pictures)).split(self.batch_size))[part[0] :: part[1]]
        keys = [[(EVALUATION, index) for index in indices.tolist()] for indices in parts]
        for indices, (pixels, _, placements) in zip(parts, self._source.stream(keys), strict=True):
            yield self._images(pixels), indices.numpy(), placements

    def close(self) -> None:
        """Stop threads and worker processes."""
        self._source.close()

    def __enter__(self) -> DenseBatches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch))
        return torch.randperm(len(self.pictures), generator=generator)

    def _images(self, pixels: Tensor) -> Tensor:
        return normalise(pixels.to(self._device, non_blocking=True), self._input)


def collate_views(views: list[View]) -> tuple[Tensor, Targets, list[Placement]]:
    """Stack pixels to uint8 (n, H, W, 3); targets and placements stay lists, since pictures differ in their objects."""
    pixels = torch.from_numpy(np.stack([view.pixels for view in views]))
    targets: list[dict[str, Any]] = [
        {name: torch.from_numpy(values) for name, values in view.target.items()} for view in views
    ]
    return pixels, targets, [view.placement for view in views]
