"""Ctrl-C, SIGTERM and SLURM's SIGUSR2 as a number to look at, so that nothing is torn in the middle."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

# SIGUSR2 is what SLURM sends, as BoB asks it to, before a time limit or a preemption.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Interrupts:
    """Counts these signals while the block runs, then restores what they did before; it may be entered again inside.

    In another than the main thread, where Python delivers no signals, the count stays 0.

    Attributes:
        count: How often one of them has come; in an allocation, where SLURM repeats itself, once at most.
        signals: Which have come.

    Args:
        patient: Count the signals of one stop once: SLURM sends several, and no user presses Ctrl-C twice.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.count = 0
        self.signals: set[signal.Signals] = set()
        self._patient = patient
        self._depth = 0
        self._raising = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        self._depth += 1
        if self._depth == 1 and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._arrived) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth == 0:
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
        self.signals.add(signal.Signals(number))
        self.count = 1 if self._patient else self.count + 1
        if self._raising:
            raise KeyboardInterrupt
