"""One attempt at a job or an artifact, from its start to the verdict on how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bob.core.devices import Slot
from bob.core.lease import Lease
from bob.core.oom_killer import oom_kills
from bob.runners.local.schedule import Work
from bob.runners.local.worker_process import WorkerProcess

# After its last word a worker may take this long to end: threads that a job left behind would hold it for ever.
LINGER_S = 5.0

Outcome = dict[str, Any]


@dataclass(kw_only=True)
class Attempt:
    """What the runner knows about a worker at work.

    Attributes:
        work: What it does.
        slot: Where.
        worker: The process.
        lease: This runner's claim on the work.
        records_before: How many records the job had before.
        timeout_s: How long it may take.
        grace_s: How long it may take to save after it was asked to stop.
        stopped_for: Why it was asked to stop: ``timeout``, ``interrupt``, ``cancel``, or empty.
        kill_at: When its patience ends, on the monotonic clock.
        phase: What it last said that it does, how much of it, and of how much.
    """

    work: Work
    slot: Slot
    worker: WorkerProcess
    lease: Lease
    records_before: int
    timeout_s: float
    grace_s: float
    stopped_for: str = ""
    kill_at: float | None = None
    phase: tuple[str, int, int] = ("", 0, 0)
    oom_kills_before: int | None = field(default_factory=lambda: oom_kills())

    @property
    def wall_s(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self.worker.started

    def enforce(self) -> None:
        """Ask a worker that is over its time to stop, and kill one that does not."""
        if self.kill_at is not None:
            if time.monotonic() >= self.kill_at:
                self.worker.kill()
        elif self.worker.end is not None:
            self.kill_at = time.monotonic() + LINGER_S
        elif self.wall_s > self.timeout_s:
            self.stop("timeout")

    def stop(self, reason: str) -> None:
        """Ask the job to save and end; after the grace period it is killed."""
        if not self.stopped_for:
            self.stopped_for = reason
            self.kill_at = time.monotonic() + self.grace_s
            if reason == "timeout":
                self.worker.show_stacks()
            self.worker.terminate()

    def verdict(self) -> Outcome:
        """Say how a worker that is gone ended.

        Returns:
            A status of a row, or ``stopped`` (for the next run to go on with) or ``lost`` (no fault of the job's, such
            as a stop that its runner did not ask for); with it the wall time, and the score or the error.
        """
        return {"wall_s": self.wall_s, **self._ending()}

    def _ending(self) -> Outcome:
        end = self.worker.end
        if end is not None and end["status"] != "stopped":
            return {key: value for key, value in end.items() if key != "event"}
        if self.stopped_for == "timeout":
            message = f"stopped after {self.timeout_s / 60:.4g} min, the time a job of this suite may take"
            message += f"; {self.worker.last_heard()}; its log shows where it was"
            return _failure("timeout", "TimeoutError", message)
        if self.stopped_for in ("interrupt", "cancel"):
            return {"status": "stopped"}
        if end is not None:
            return {"status": "lost", "why": "it was stopped by a signal that did not come from its runner"}
        if self.worker.lost():
            return {"status": "lost", "why": "the server that its worker was forked from died under it"}
        return self._crash()

    def _crash(self) -> Outcome:
        text = self.worker.exit_text()
        if not self.worker.killed:
            return _failure("failed", "WorkerDied", text)
        kills = oom_kills()
        if kills is not None and self.oom_kills_before is not None and kills > self.oom_kills_before:
            return _failure("oom", "OutOfMemoryError", f"the kernel's out-of-memory killer ended it; {text}")
        return _failure("failed", "WorkerDied", f"{text}; possibly out of memory")


def _failure(status: str, error_class: str, message: str) -> Outcome:
    return {"status": status, "error_class": error_class, "error_message": message}
