"""Ctrl-C and SIGTERM as a number to look at, so that nothing is torn in the middle."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Counts Ctrl-C and SIGTERM while the block runs, then restores what they did before.

    In another than the main thread, where Python delivers no signals, the count stays 0.

    Attributes:
        count: How often one of them has come.
    """

    def __init__(self) -> None:
        self.count = 0
        self._raising = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._arrived) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def breaking(self) -> Iterator[None]:
        """Let an interrupt break off the block, which it leaves quietly: for waiting where nothing can be torn."""
        self._raising = True
        try:
            yield
        except KeyboardInterrupt:
            if not self.count:
                raise
        finally:
            self._raising = False

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self._raising:
            raise KeyboardInterrupt
