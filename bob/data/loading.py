"""Batches of pictures. What a training batch holds depends on seed, epoch and step, never on who decodes it."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bob.backbones.backbone import InputConfig
from bob.core.errors import ConfigError
from bob.data.pictures import Pictures
from bob.data.streams import EVALUATION, Key, open_stream
from bob.data.transforms import EvalCrop, TrainCrop, normalise

CACHE_BYTES = 2 << 30
PILLOW_BYTES_PER_PIXEL = 4
Part = tuple[int, int]  # (r, n): part r, from 0, of n
WHOLE: Part = (0, 1)
Change = Callable[[np.ndarray, int], np.ndarray]  # (uint8 (S, S, 3) view, index of the picture) -> the same shape


def derived_seed(*parts: int) -> int:
    """Return a 63-bit seed that any change of a part changes altogether."""
    text = ",".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Loadable(Protocol):
    """Pictures by index."""

    def load(self, index: int) -> Image.Image:
        """Return picture ``index`` as RGB."""
        ...


class PictureCache:
    """Decoded pictures in memory, filled until ``limit_bytes``; what does not fit is decoded each time.

    Nothing is thrown out: under a random order per epoch each picture is as likely to be next as any other.
    """

    def __init__(self, pictures: Loadable, limit_bytes: int) -> None:
        self.pictures = pictures
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._held: dict[int, Image.Image] = {}
        self._lock = threading.Lock()

    def load(self, index: int) -> Image.Image:
        """Return picture ``index`` as RGB. It is shared: do not change it."""
        held = self._held.get(index)
        if held is not None:
            return held
        image = self.pictures.load(index)
        cost = image.width * image.height * PILLOW_BYTES_PER_PIXEL
        with self._lock:
            if index not in self._held and self.used_bytes + cost <= self.limit_bytes:
                self._held[index] = image
                self.used_bytes += cost
        return image

    def __getstate__(self) -> dict[str, Any]:
        """A worker process starts with an empty cache of its own."""
        return {"pictures": self.pictures, "limit_bytes": self.limit_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


class Views:
    """Maps (epoch, index) to a uint8 (S, S, 3) view of a picture; also the data set of torch's worker processes.

    Args:
        cache: The pictures.
        input: The model's input.
        seed: Of augmentation.
        changes: Each turns evaluation's view of a picture, by index, into another; see ``changed``.
    """

    def __init__(self, cache: PictureCache, input: InputConfig, seed: int, changes: Sequence[Change] = ()) -> None:
        self._cache = cache
        self._seed = seed
        self._changes = tuple(changes)
        self._eval_crop = EvalCrop(input)
        self._train_crop = TrainCrop(input)

    def __getitem__(self, key: Key) -> np.ndarray:
        epoch, index = key
        image = self._cache.load(index)
        if epoch == EVALUATION:
            return self._eval_crop(image)
        if epoch < EVALUATION:
            return self._changes[changed(epoch)](self._eval_crop(image), index)
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch, index))
        return self._train_crop(image, generator)


def changed(number: int) -> int:
    """Return what stands in the place of the epoch for evaluation's view after change ``number``; it is its inverse."""
    return EVALUATION - 1 - number


class PictureBatches:
    """Training and evaluation batches of one split.

    Args:
        pictures: The split.
        input: Side, normalisation, interpolation and crop of the model's input.
        batch_size: Pictures per batch.
        seed: Decides order and augmentation of training.
        threads: Decoding threads of this process when ``loader_workers`` is 0.
        loader_workers: Worker processes that decode; 0 decodes in threads.
        cache_bytes: Decoded pictures kept in memory at most, in all processes together.
        device: Where batches are put; pixels travel as uint8 and are normalised there.
        start_method: How worker processes start ("fork", "spawn", "forkserver"); None is torch's default.
        changes: What ``evaluation`` can do to the views, such as corruptions.
        targets: (n, ...) what training batches bring beside the images; None for the labels.

    Use it as a context manager, or call ``close``. One iterator at a time is supported with worker processes.
    """

    def __init__(
        self,
        pictures: Pictures,
        input: InputConfig,
        *,
        batch_size: int,
        seed: int = 0,
        threads: int = 1,
        loader_workers: int = 0,
        cache_bytes: int = CACHE_BYTES,
        device: str | torch.device = "cpu",
        start_method: str | None = None,
        changes: Sequence[Change] = (),
        targets: np.ndarray | None = None,
    ) -> None:
        if batch_size < 1 or loader_workers < 0 or threads < 1:
            raise ConfigError(
                f"batch_size {batch_size}, threads {threads} and loader_workers {loader_workers}: "
                "at least 1, 1 and 0 are expected."
            )
        self.pictures = pictures
        self.batch_size = batch_size
        self._input = input
        self._seed = seed
        self._device = torch.device(device)
        self._targets = pictures.labels if targets is None else targets
        views = Views(PictureCache(pictures, cache_bytes // max(1, loader_workers)), input, seed, changes)
        self._source = open_stream(
            views,
            collate,
            threads=threads,
            loader_workers=loader_workers,
            start_method=start_method,
            device=self._device,
        )

    @property
    def steps_per_epoch(self) -> int:
        """Training batches per epoch: the incomplete last one is left out, unless it is the only one."""
        return max(1, len(self.pictures) // self.batch_size)

    def batches(self, epoch: int, start_step: int = 0, *, part: Part = WHOLE) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images float32 (n, 3, S, S), targets (n, ...)) of one training epoch, from ``start_step`` on.

        Each epoch has its own order and augmentation. Starting at a later step gives exactly the batches that a
        whole epoch would have given from there. Of each batch only ``part`` is decoded and given.
        """
        steps = list(self._epoch_order(epoch).split(self.batch_size))[: self.steps_per_epoch]
        steps = [share(step, part) for step in steps]
        targets = torch.from_numpy(self._targets)
        for indices, images in self._images(epoch, steps[start_step:]):
            yield images, targets[indices].to(self._device, non_blocking=True)

    @property
    def evaluation_steps(self) -> int:
        """Batches of ``evaluation`` from the first picture on, over all parts."""
        return math.ceil(len(self.pictures) / self.batch_size)

    def evaluation(
        self, start: int = 0, *, change: int | None = None, part: Part = WHOLE
    ) -> Iterator[tuple[Tensor, np.ndarray]]:
        """Yield (images float32 (n, 3, S, S), indices int64 (n,)) of all pictures in order, from ``start`` on.

        Args:
            start: Index of the first.
            change: Number of the change that the views go through; None leaves them as they are.
            part: (r, n) gives whole batches: those numbered r, r + n, ...
        """
        key = EVALUATION if change is None else changed(change)
        steps = list(torch.arange(start, len(self.pictures)).split(self.batch_size))[part[0] :: part[1]]
        for indices, images in self._images(key, steps):
            yield images, indices.numpy()

    def close(self) -> None:
        """Stop threads and worker processes."""
        self._source.close()

    def __enter__(self) -> PictureBatches:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _epoch_order(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch))
        return torch.randperm(len(self.pictures), generator=generator)

    def _images(self, epoch: int, steps: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        keys = [[(epoch, index) for index in indices.tolist()] for indices in steps if len(indices)]
        for indices, pixels in zip(steps, self._source.stream(keys), strict=False):
            yield indices, normalise(pixels.to(self._device, non_blocking=True), self._input)


def share(indices: Tensor, part: Part) -> Tensor:
    """Return part r of n of a batch's indices; the parts differ by one picture at most."""
    return indices.tensor_split(part[1])[part[0]]


def collate(views: list[np.ndarray]) -> Tensor:
    """Stack uint8 (S, S, 3) views to one (n, S, S, 3) tensor."""
    return torch.from_numpy(np.stack(views))
