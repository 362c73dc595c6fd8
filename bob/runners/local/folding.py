"""Folding the store beside a run."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from bob.core.errors import BobError
from bob.store import ResultStore

log = logging.getLogger(__name__)

FOLD_EVERY_S = 10.0


class Folding:
    """Folds the store beside the run, so that a big table keeps no worker waiting."""

    def __init__(self, store: ResultStore) -> None:
        self.new_rows = False
        self._store = store
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fold")
        self._running: Future[Path] | None = None
        self._last = time.monotonic()

    def when_due(self) -> None:
        """Start a fold if there are new rows and the last one is long enough ago."""
        if self._running is not None and self._running.done():
            self._report(self._running)
            self._running = None
        if self._running is None and self.new_rows and time.monotonic() - self._last > FOLD_EVERY_S:
            self.new_rows, self._last = False, time.monotonic()
            self._running = self._thread.submit(self._store.fold)

    def close(self) -> None:
        """Wait for a fold that runs."""
        self._thread.shutdown(wait=True)
        if self._running is not None:
            self._report(self._running)

    @staticmethod
    def _report(fold: Future[Path]) -> None:
        error = fold.exception()
        if isinstance(error, BobError):
            log.warning("The table could not be folded now; the records are safe: %s", error)
        elif error is not None:
            raise error
