"""Starts of a job that came to no end: what tells a job that is out of attempts from one that was preempted once."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bob.jobs.provenance import now
from bob.store.layout import checked_job_id


@dataclass(frozen=True)
class Starts:
    """The starts of a store's jobs since each one's last row, a small file per job.

    The lease on a job lets one runner at a time write its file.

    Attributes:
        results_dir: The store's folder.
    """

    results_dir: Path

    def begin(self, job_id: str, where: str) -> None:
        """Note that a job starts, durably, with the allocation or host it starts in."""
        self._append(job_id, {"event": "start", "at": now(), "where": where})

    def stop(self, job_id: str, why: str) -> None:
        """Note why it was stopped."""
        self._append(job_id, {"event": "stop", "at": now(), "why": why})

    def count(self, job_id: str) -> int:
        """Return how often the job was started since its last row."""
        return sum(event["event"] == "start" for event in self._events(job_id))

    def stopped(self, job_id: str) -> bool:
        """Tell whether every start was ended by a signal to stop, as time limits and preemption send it."""
        events = self._events(job_id)
        return bool(events) and sum(event["event"] == "stop" for event in events) >= self.count(job_id)

    def history(self, job_id: str) -> str:
        """Say how often the job was started and how that ended, in one sentence."""
        events = self._events(job_id)
        starts = [event for event in events if event["event"] == "start"]
        if not starts:
            return "it was never started"
        reasons = Counter(event["why"] for event in events if event["event"] == "stop")
        lost = len(starts) - sum(reasons.values())
        parts = [f"{count} x {why}" for why, count in reasons.items()]
        parts += [f"{lost} x killed without a word (a lost node, a kill, no memory)"] if lost > 0 else []
        where = ", ".join(dict.fromkeys(event["where"] for event in starts[-3:]))
        return f"started {len(starts)} times without an end: {'; '.join(parts)}; last in {where}"

    def forget(self, job_id: str) -> None:
        """Forget a job's starts: it has a row, or is wanted anew."""
        self._path(job_id).unlink(missing_ok=True)

    def _append(self, job_id: str, event: dict[str, Any]) -> None:
        path = self._path(job_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, json.dumps(event).encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)

    def _events(self, job_id: str) -> list[dict[str, Any]]:
        path = self._path(job_id)
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [event for line in lines if (event := _parsed(line)) is not None]

    def _path(self, job_id: str) -> Path:
        return self.results_dir / "starts" / job_id[:2] / checked_job_id(job_id)


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return an event; None for a line that a kill cut short."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"event", "at"} <= event.keys() else None


def out_of_attempts(starts: Starts, job_id: str) -> dict[str, Any]:
    """Return the outcome of a job given up: ``timeout`` if its time always ran out, else ``failed``."""
    status = "timeout" if starts.stopped(job_id) else "failed"
    return {"status": status, "error_class": "OutOfAttempts", "error_message": starts.history(job_id)}
