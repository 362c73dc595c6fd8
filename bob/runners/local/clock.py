"""How long a run has still to go."""

from __future__ import annotations

from collections.abc import Sequence

from bob.jobs.job import Job
from bob.runners.local.schedule import eta_s


class Clock:
    """Estimates the time left from what the finished jobs took."""

    def __init__(self, jobs: Sequence[Job], *, workers: int) -> None:
        self._workers = workers
        self._remaining_s = sum(map(self._estimate, jobs))
        self._estimate_s = self._wall_s = 0.0

    def spend(self, wall_s: float) -> None:
        self._wall_s += wall_s

    def settle(self, job: Job, *, wall_s: float | None = None) -> None:
        self._remaining_s -= self._estimate(job)
        if wall_s is not None:
            self._estimate_s += self._estimate(job)
            self._wall_s += wall_s

    def eta_s(self) -> float | None:
        return eta_s(
            remaining_s=max(0.0, self._remaining_s),
            finished_estimate_s=self._estimate_s,
            finished_wall_s=self._wall_s,
            workers=self._workers,
        )

    @staticmethod
    def _estimate(job: Job) -> float:
        return job.estimate_s or 1.0
