"""In which order artifacts and jobs run: pure bookkeeping, no process and no file."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bob.jobs.job import Job, Need
from bob.jobs.needs import needs_of


@dataclass(frozen=True, kw_only=True)
class Work:
    """One thing to run: a job, or an artifact on behalf of the first job that needs it.

    Attributes:
        job: The job.
        need: The artifact; None for the job itself.
    """

    job: Job
    need: Need | None = None

    @property
    def key(self) -> str:
        """Its name, unique in a schedule."""
        return self.job.id if self.need is None else self.need.key

    @property
    def exclusive(self) -> bool:
        """Whether nothing else may run meanwhile."""
        return self.need is not None and self.need.exclusive


class Schedule:
    """Jobs and the artifacts they need, handed out in a good order.

    Artifacts come before jobs; exclusive ones before all others and only while nothing runs; among the rest, what
    the longest work waits for comes first, and the longest job. What is made in turns takes them in rounds.

    Args:
        jobs: The jobs to run, each once.
        made: Tells whether an artifact is there already.
    """

    def __init__(self, jobs: Iterable[Job], *, made: Callable[[Need], bool]) -> None:
        self._open = {job.id: job for job in jobs}
        self._waiting: dict[str, set[str]] = {}
        self._dependents: dict[str, list[Job]] = {}
        self._unasked: set[str] = set()
        self._turns: Counter[str] = Counter()
        self._heap: list[tuple[int, int, float, int, Work]] = []
        self._counter = itertools.count()
        self._held: dict[str, Work] = {}
        self._running: dict[str, Work] = {}
        self._queue_all(made)

    @property
    def open_jobs(self) -> list[Job]:
        """The jobs that are not settled."""
        return list(self._open.values())

    @property
    def finished(self) -> bool:
        """Whether every job is settled, and every artifact that no job waits for."""
        return not self._open and not self._running and not self._unasked

    @property
    def starts_exclusive(self) -> bool:
        """Whether something that must run alone comes next."""
        return bool(self._heap) and self._heap[0][-1].exclusive

    def take(self) -> Work | None:
        """Return what to start next, now counted as running; None if nothing may start at this moment."""
        self._discard_settled()
        if not self._heap or any(work.exclusive for work in (*self._running.values(), *self._held.values())):
            return None
        if self.starts_exclusive and self._running:
            return None
        work = heapq.heappop(self._heap)[-1]
        self._running[work.key] = work
        return work

    def add(self, work: Work) -> None:
        """Queue an artifact that no job waits for."""
        self._unasked.add(work.key)
        self._push(work)

    def holds(self, work: Work) -> bool:
        """Tell whether a job waits for an artifact."""
        return any(work.key in keys for keys in self._waiting.values())

    @property
    def exclusive_count(self) -> int:
        """How many things that must run alone are not settled."""
        queued = [entry[-1] for entry in self._heap]
        return sum(work.exclusive for work in (*queued, *self._held.values(), *self._running.values()))

    @property
    def has_exclusive(self) -> bool:
        """Whether there is any."""
        return self.starts_exclusive or any(w.exclusive for w in (*self._held.values(), *self._running.values()))

    def next_turn(self, work: Work) -> None:
        """Put back an artifact that is made in turns: all others of its kind have theirs first."""
        self._forget(work)
        self._turns[work.key] += 1
        self._push(work)

    def done(self, work: Work) -> None:
        """Settle what ran, was found done, or can be done without; jobs that waited only for it may start."""
        self._forget(work)
        self._end_turns(work)
        if work.need is None:
            self._open.pop(work.job.id, None)
            return
        for job in self._dependents.get(work.key, []):
            waiting = self._waiting.get(job.id, set())
            waiting.discard(work.key)
            if not waiting and job.id in self._open:
                self._push(Work(job=job))

    def fail(self, work: Work) -> list[Job]:
        """Settle what failed; return the jobs that are settled with it: itself, or all that needed the artifact."""
        self._forget(work)
        self._end_turns(work)
        fallen = [work.job] if work.need is None else self._dependents.get(work.key, [])
        fallen = [job for job in fallen if job.id in self._open]
        for job in fallen:
            del self._open[job.id]
        return fallen

    def again(self, work: Work) -> None:
        """Put back what ran but came to nothing through no fault of its own."""
        self._forget(work)
        self._push(work)

    def hold(self, work: Work) -> None:
        """Set aside what another runner is working on."""
        self._forget(work)
        self._held[work.key] = work

    def look_again(self) -> None:
        """Queue what was held, to be tried again."""
        for work in self._held.values():
            self._push(work)
        self._held.clear()

    def _queue_all(self, made: Callable[[Need], bool]) -> None:
        needs: dict[str, Need] = {}
        for job in self._open.values():
            for need in needs_of(job):
                if need.key not in needs:
                    needs[need.key] = need
                    self._dependents[need.key] = []
                self._dependents[need.key].append(job)
        missing = {key: need for key, need in needs.items() if not made(need)}
        for job in self._open.values():
            self._waiting[job.id] = {need.key for need in needs_of(job) if need.key in missing}
            if not self._waiting[job.id]:
                self._push(Work(job=job))
        for key, need in missing.items():
            self._push(Work(job=self._dependents[key][0], need=need))

    def _push(self, work: Work) -> None:
        if work.need is None:
            rank, weight = 2, work.job.estimate_s or 0.0
        else:
            rank = 0 if work.exclusive else 1
            weight = sum(job.estimate_s or 0.0 for job in self._dependents.get(work.key, ()))
        heapq.heappush(self._heap, (rank, self._turns[work.key], -weight, next(self._counter), work))

    def _discard_settled(self) -> None:
        """Drop queued work that nothing open waits for, such as an artifact whose jobs all failed by another."""
        while self._heap:
            work = self._heap[0][-1]
            wanted = [work.job] if work.need is None else self._dependents.get(work.key, [])
            if work.key in self._unasked or any(job.id in self._open for job in wanted):
                return
            heapq.heappop(self._heap)

    def _end_turns(self, work: Work) -> None:
        self._unasked.discard(work.key)
        del self._turns[work.key]

    def _forget(self, work: Work) -> None:
        self._running.pop(work.key, None)
        self._held.pop(work.key, None)


def eta_s(*, remaining_s: float, finished_estimate_s: float, finished_wall_s: float, workers: int) -> float | None:
    """Return the seconds until the end: what is left by estimate, corrected by how the finished jobs compared.

    Args:
        remaining_s: Sum of the estimates of what is left.
        finished_estimate_s: Sum of the estimates of what has finished in this run.
        finished_wall_s: What that took.
        workers: How many run at once.

    Returns:
        None as long as nothing has finished.
    """
    if finished_estimate_s <= 0:
        return None
    return remaining_s * finished_wall_s / finished_estimate_s / workers
