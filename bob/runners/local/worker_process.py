"""One worker as the runner sees it: started, listened to, asked to stop, killed with all its children."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

from bob.runners.worker.assignment import Assignment
from bob.runners.worker.worker import SHOW_STACKS, main
from bob.runners.worker.worker_server import ForkServer, is_running

log = logging.getLogger(__name__)

READ_BYTES = 1 << 16
LOG_TAIL_LINES = 3
LOG_TAIL_CHARACTERS = 600
KILLED_S = 5.0  # a process that is killed in the middle of a write ends with it


class WorkerProcess:
    """A worker at work.

    Args:
        server: The server to fork it from.
        assignment: What it is to do.
    """

    def __init__(self, server: ForkServer, assignment: Assignment) -> None:
        self.assignment = assignment
        reader, writer = os.pipe()
        self._reader = Connection(reader, writable=False)
        sender = Connection(writer, readable=False)
        try:
            self._process = server.start(main, (assignment, sender))
        except BaseException:
            self._reader.close()
            raise
        finally:
            sender.close()
        os.set_blocking(reader, False)
        self._server, self._server_pid = server, server.pid
        self.pid: int = self._process.pid or 0
        self.started = time.monotonic()
        self.end: dict[str, Any] | None = None
        self.last_progress: dict[str, Any] | None = None
        self._buffer = b""

    def waitables(self) -> list[Any]:
        """Return what ``multiprocessing.connection.wait`` should watch: it is ready when the worker speaks or ends."""
        return [self._process.sentinel] if self._reader.closed else [self._reader, self._process.sentinel]

    def messages(self) -> list[dict[str, Any]]:
        """Return the reports that have arrived, without waiting; the last one of a worker is kept as ``end``."""
        self._read()
        *lines, self._buffer = self._buffer.split(b"\n")
        arrived = [json.loads(line) for line in lines]
        for message in arrived:
            if message["event"] == "end":
                self.end = message
            elif message["event"] == "progress":
                self.last_progress = message
        return arrived

    def ended(self) -> bool:
        """Tell whether the process is gone."""
        return self._process.exitcode is not None

    def lost(self) -> bool:
        """Tell whether nothing is known of its end, because the server it was forked from died."""
        return self._server.lost(self._process, self._server_pid)

    def exit_text(self) -> str:
        """Return how a process that is gone ended, in words, with the last lines of its log."""
        code = self._process.exitcode or 0
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
            text = f"its process was killed by signal {-code} ({name})"
        else:
            text = f"its process ended with exit code {code} and without a result"
        tail = self._log_tail()
        return f"{text}; the last lines of its log: {tail}" if tail else text

    @property
    def killed(self) -> bool:
        """Whether signal 9 ended it, as the kernel does when memory runs out."""
        return self._process.exitcode == -signal.SIGKILL

    def last_heard(self) -> str:
        """Return how far the job was by its last report, in words."""
        if self.last_progress is None:
            return "it had not reported any progress"
        return "its last report: {phase!r}, {done} of {total}".format(**self.last_progress)

    def show_stacks(self) -> None:
        """Have the worker write what each of its threads is doing to its log; one that hangs in C does so too.

        One that has hardly begun ends by it.
        """
        self._signal(os.kill, SHOW_STACKS)

    def terminate(self) -> None:
        """Ask the job to save and stop (its children are left to it)."""
        self._signal(os.kill, signal.SIGTERM)

    def kill(self) -> None:
        """End the worker and every process it started, at once."""
        self._signal(os.killpg, signal.SIGKILL)
        # Before it has its own group, a worker is only reached by its own number.
        if not self.ended():
            self._signal(os.kill, signal.SIGKILL)

    def close(self) -> None:
        """Remove what the worker may have left running, read its last words, and free what it held here."""
        self._signal(os.killpg, signal.SIGKILL)
        if self.lost():
            # Only its server is known to be dead; before it has its own group, it is reached by its own number alone.
            self._signal(os.kill, signal.SIGKILL)
            self._await_end()
        self.messages()
        self._reader.close()
        self._process.join()
        self._process.close()

    def _await_end(self) -> None:
        """Wait until a killed process is gone that nobody reports on: its job starts again, and it may just be writing
        its row.
        """
        until = time.monotonic() + KILLED_S
        while is_running(self.pid):
            if time.monotonic() > until:
                log.warning("Worker %d was killed and is still there after %.0f s.", self.pid, KILLED_S)
                return
            time.sleep(0.01)

    def _read(self) -> None:
        while not self._reader.closed:
            try:
                content = os.read(self._reader.fileno(), READ_BYTES)
            except BlockingIOError:
                return
            if not content:
                self._reader.close()
            self._buffer += content

    def _signal(self, send: Any, number: signal.Signals) -> None:
        try:
            send(self.pid, number)
        except ProcessLookupError:
            log.debug("Worker %d is gone already.", self.pid)

    def _log_tail(self) -> str:
        path = self.assignment.context.log_path
        if path is None or not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - READ_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
        kept = [line.strip() for line in lines if line.strip()][-LOG_TAIL_LINES:]
        return " | ".join(kept)[-LOG_TAIL_CHARACTERS:]
