"""SIGTERM noticed between steps, where nobody else (a runner's worker) listens to it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


class Termination:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: the training loop looks at ``asked`` after each step."""
        self.asked = True


@contextmanager
def noticing_termination() -> Iterator[Termination]:
    """Note SIGTERM during the block instead of dying at once.

    Nothing changes outside a process's main thread, which signals do not reach, or if a handler is set already: its
    owner stops a job through ``Context.progress``.
    """
    termination = Termination()
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield termination
        return
    signal.signal(signal.SIGTERM, termination.note)
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
