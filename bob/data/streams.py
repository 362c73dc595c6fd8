"""Views of pictures made ahead of the model, in threads or in worker processes: the same views either way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader

from bob.core.errors import BobError

LOOKAHEAD = 2
EVALUATION = -1  # stands in the place of the epoch

Key = tuple[int, int]  # (epoch or EVALUATION, index)


class Views(Protocol):
    """What makes a view from a key; picklable, and safe to call from threads."""

    def __getitem__(self, key: Key) -> Any:
        """Return the view."""
        ...


def open_stream(
    views: Views,
    collate: Callable[[list[Any]], Any],
    *,
    threads: int,
    loader_workers: int,
    start_method: str | None,
    device: torch.device,
) -> Threads | Processes:
    """Return what makes the views: ``loader_workers`` processes, or threads of this process where that is 0."""
    if loader_workers:
        pin = device.type == "cuda"
        return Processes(views, loader_workers, collate, start_method=start_method, pin=pin)
    return Threads(views, threads, collate)


class Threads:
    """Decodes in threads, ``LOOKAHEAD`` batches ahead, so that the next batch is ready when the model is."""

    def __init__(self, views: Views, threads: int, collate: Callable[[list[Any]], Any]) -> None:
        self._views = views
        self._collate = collate
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="bob-decode")

    def stream(self, batches: list[list[Key]]) -> Iterator[Any]:
        """Yield one collated batch per list of keys, in order."""
        waiting: deque[list[Future[Any]]] = deque()
        coming = iter(batches)
        try:
            for _ in range(len(batches)):
                while len(waiting) <= LOOKAHEAD and (keys := next(coming, None)) is not None:
                    waiting.append([self._pool.submit(self._views.__getitem__, key) for key in keys])
                yield self._collate([future.result() for future in waiting.popleft()])
        finally:
            for future in (future for batch in waiting for future in batch):
                future.cancel()

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)


class Processes:
    """Decodes in worker processes that live as long as this object; each epoch only tells them new keys."""

    def __init__(
        self,
        views: Views,
        workers: int,
        collate: Callable[[list[Any]], Any],
        *,
        start_method: str | None,
        pin: bool,
    ) -> None:
        self._batches: list[list[Key]] = []
        self._loader: DataLoader[Any] = DataLoader(
            _Telling(views),  # type: ignore[arg-type]
            batch_sampler=_Borrowed(lambda: self._batches),
            num_workers=workers,
            collate_fn=_Collate(collate),
            persistent_workers=True,
            pin_memory=pin,
            multiprocessing_context=start_method,
        )

    def stream(self, batches: list[list[Key]]) -> Iterator[Any]:
        """Yield one collated batch per list of keys, in order."""
        self._batches = batches
        for batch in self._loader:
            if isinstance(batch, BobError):
                raise batch
            yield batch

    def close(self) -> None:
        """Stop the worker processes."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()
            self._loader._iterator = None


class _Telling:
    """Views, or the errors met instead of them: torch would make text of an error, traceback and all, and lose its
    hint."""

    def __init__(self, views: Views) -> None:
        self._views = views

    def __getitem__(self, key: Key) -> Any:
        try:
            return self._views[key]
        except BobError as error:
            return error


class _Collate:
    """Collates a batch, or gives the first error in it."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, views: list[Any]) -> Any:
        error = next((view for view in views if isinstance(view, BobError)), None)
        return self._collate(views) if error is None else error


class _Borrowed:
    """A batch sampler whose batches are looked up anew for each epoch."""

    def __init__(self, batches: Callable[[], list[list[Key]]]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Key]]:
        return iter(self._batches())

    def __len__(self) -> int:
        return len(self._batches())
