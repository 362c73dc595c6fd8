"""One run of the local runner while there is work: claims, workers, records."""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

from bob.artifacts import ArtifactStore
from bob.context import Context
from bob.errors import BobError
from bob.job import Job
from bob.lease import Lease
from bob.registry import load_reference
from bob.runners.attempt import Attempt, Outcome
from bob.runners.devices import Slot
from bob.runners.display import Display
from bob.runners.interrupts import Interrupts
from bob.runners.schedule import Schedule, Work, eta_s
from bob.runners.server import ForkServer
from bob.runners.supervise import WorkerProcess
from bob.runners.worker import Assignment, References
from bob.store import ResultStore

log = logging.getLogger(__name__)

TICK_S = 0.2
FOLD_EVERY_S = 10.0
LOOK_AGAIN_S = 2.0
LOST_AT_MOST = 2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What stays the same during a run.

    Attributes:
        results_dir: The store's folder.
        cache_dir: Artifacts and manifests.
        slots: The parts of the machine.
        cores: Threads of the one worker that runs alone.
        alone: Environment of the server while a worker runs alone.
        shared: Environment of the server while workers share the machine.
        loader_workers: Processes that decode pictures beside each job.
        timeout_min: Overrides the jobs' own.
        grace_s: How long a job may save after it was asked to stop.
        references: The functions that do the work.
    """

    results_dir: Path
    cache_dir: Path
    slots: tuple[Slot, ...]
    cores: int
    alone: Mapping[str, str]
    shared: Mapping[str, str]
    loader_workers: int
    timeout_min: float | None
    grace_s: float
    references: References


class Session:
    """Runs what a schedule holds, until it is settled or somebody interrupts.

    Args:
        setting: What stays the same.
        schedule: The jobs and artifacts.
        known: How many records each job had when the run began, of those that had any.
        server: Forks the workers.
        display: Is told what happens.
        interrupts: Is looked at.
    """

    def __init__(
        self,
        setting: Setting,
        schedule: Schedule,
        *,
        known: Mapping[str, int],
        server: ForkServer,
        display: Display,
        interrupts: Interrupts,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.elsewhere = 0
        self._setting = setting
        self._schedule = schedule
        self._known = known
        self._server = server
        self._display = display
        self._interrupts = interrupts
        self._store = ResultStore(setting.results_dir)
        self._artifacts = ArtifactStore(setting.cache_dir)
        self._active: dict[int, Attempt] = {}
        self._lost: Counter[str] = Counter()
        self._clock = _Clock(schedule.open_jobs, workers=len(setting.slots))
        self._folding = _Folding(self._store)
        self._looked = time.monotonic()

    def run(self) -> None:
        """Run until everything is settled, or until an interrupt has ended the workers."""
        try:
            while not self._schedule.finished and not (self._interrupts.count and not self._active):
                self._start()
                self._listen()
                self._settle_ended()
                self._stop_if_told()
                self._folding.when_due()
        finally:
            for attempt in self._active.values():
                attempt.worker.kill()
                attempt.worker.close()
                attempt.lease.release()
            self._folding.close()

    def _start(self) -> None:
        if time.monotonic() - self._looked > LOOK_AGAIN_S:
            self._looked = time.monotonic()
            self._schedule.look_again()
        free = [slot for slot in self._setting.slots if slot.index not in self._active]
        while free and not self._interrupts.count:
            work = self._schedule.take()
            if work is None:
                return
            lease = self._claim(work)
            if lease is not None:
                self._launch(work, free.pop(0), lease)

    def _claim(self, work: Work) -> Lease | None:
        """Take the work for this runner; None if another is at it, or it is done already."""
        lease = Lease.try_take(self._setting.results_dir / "claims" / f"{work.key}.lease")
        if lease is None:
            self._schedule.hold(work)
            return None
        if not self._done_elsewhere(work):
            return lease
        lease.release()
        self._schedule.done(work)
        if work.need is None:
            self.elsewhere += 1
            self._clock.settle(work.job)
            self._tell_settled()
        return None

    def _done_elsewhere(self, work: Work) -> bool:
        if work.need is not None:
            return self._artifacts.has(work.need)
        return self._store.attempts(work.job.id) > self._known.get(work.job.id, 0)

    def _launch(self, work: Work, slot: Slot, lease: Lease) -> None:
        setting = self._setting
        context = self._context(work, replace(slot, threads=setting.cores) if work.exclusive else slot)
        assignment = Assignment(
            job=work.job, need=work.need, context=context, gpu=slot.gpu, references=setting.references
        )
        # What runs alone comes before all else, so that this starts another server once in a run at most.
        self._server.use(setting.alone if work.exclusive else setting.shared)
        records_before = self._store.attempts(work.job.id)  # before the start: a quick job is done right after it
        try:
            worker = WorkerProcess(self._server, assignment)
        except BaseException:
            lease.release()
            raise
        self._active[slot.index] = Attempt(
            work=work,
            slot=slot,
            worker=worker,
            lease=lease,
            records_before=records_before,
            timeout_s=60 * (setting.timeout_min or work.job.timeout_min),
            grace_s=setting.grace_s,
        )
        self._display.begin(slot.index, work)

    def _context(self, work: Work, slot: Slot) -> Context:
        token = uuid.uuid4().hex[:12]
        return Context(
            results_dir=self._setting.results_dir,
            cache_dir=self._setting.cache_dir,
            device=slot.device,
            threads=slot.threads,
            loader_workers=self._setting.loader_workers,
            attempt=token,
            log_path=self._setting.results_dir / "logs" / f"{work.key}.{token}.log",
        )

    def _listen(self) -> None:
        """Wait a moment for a worker to speak or to end, and pass its reports on."""
        if not self._active:
            time.sleep(TICK_S)
            return
        wait([item for attempt in self._active.values() for item in attempt.worker.waitables()], timeout=TICK_S)
        for index, attempt in self._active.items():
            for message in attempt.worker.messages():
                if message["event"] == "progress":
                    self._display.progress(index, message["phase"], message["done"], message["total"])

    def _settle_ended(self) -> None:
        for index, attempt in list(self._active.items()):
            attempt.enforce()
            if attempt.worker.ended():
                self._settle(attempt)
                del self._active[index]

    def _settle(self, attempt: Attempt) -> None:
        worker, work = attempt.worker, attempt.work
        worker.messages()
        outcome = self._once_more_or_failed(work, attempt.verdict())
        worker.close()
        try:
            if work.need is not None:
                self._settle_artifact(attempt, outcome)
            elif outcome["status"] not in ("stopped", "lost"):
                outcome = self._settle_job(attempt, outcome)
            if outcome["status"] in ("stopped", "lost"):
                self._schedule.again(work)
        finally:
            attempt.lease.release()
        self._tell_settled()
        self._display.end(attempt.slot.index, work, outcome)

    def _once_more_or_failed(self, work: Work, outcome: Outcome) -> Outcome:
        """Let a job whose worker was lost with the server start again, though not for ever."""
        if outcome["status"] == "lost":
            self._lost[work.key] += 1
            if self._lost[work.key] > LOST_AT_MOST:
                message = f"the server that its worker was forked from died {self._lost[work.key]} times under it"
                return {**outcome, "status": "failed", "error_class": "WorkerDied", "error_message": message}
        return outcome

    def _settle_job(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        job, context = attempt.work.job, attempt.worker.assignment.context
        if self._store.attempts(job.id) > attempt.records_before:
            # The worker's own record counts, even if the worker was killed a moment after it.
            outcome = {**outcome, **_said(self._store.record(job.id))} if "error_class" in outcome else outcome
        else:
            if outcome["status"] == "ok":
                message = "the job ended well but left no row"
                outcome = {**outcome, "status": "failed", "error_class": "StoreError", "error_message": message}
            self._append_failure(job, context, outcome)
        self._schedule.done(attempt.work)
        self._count(job, outcome["status"])
        self._clock.settle(job, wall_s=outcome["wall_s"])
        return outcome

    def _settle_artifact(self, attempt: Attempt, outcome: Outcome) -> None:
        need, job = attempt.work.need, attempt.work.job
        self._clock.spend(outcome["wall_s"])
        if outcome["status"] in ("stopped", "lost"):
            return
        if outcome["status"] == "ok":
            self._schedule.done(attempt.work)
        elif need is not None and need.kind == "profile":
            # What a backbone costs is beside the point of its scores: a lack of the figures costs no job.
            why = f"{outcome['status']}, {outcome['error_class']}: {outcome['error_message']}"
            self._display.note(f"No profile of {job.backbone} ({why}): its jobs run without cost columns.")
            self._schedule.done(attempt.work)
        else:
            for job in self._schedule.fail(attempt.work):
                self._append_failure(job, attempt.worker.assignment.context, outcome)
                self._count(job, outcome["status"])
                self._clock.settle(job)

    def _append_failure(self, job: Job, context: Context, outcome: Outcome) -> None:
        row = load_reference(self._setting.references.failure_row)(
            job,
            context,
            status=outcome["status"],
            error_class=outcome["error_class"],
            message=outcome["error_message"],
        )
        self._store.append(row)

    def _count(self, job: Job, status: str) -> None:
        self.counts[status] += 1
        self._folding.new_rows = True

    def _tell_settled(self) -> None:
        self._display.settled(sum(self.counts.values()) + self.elsewhere, self._clock.eta_s())

    def _stop_if_told(self) -> None:
        if self._interrupts.count > 1:
            for attempt in self._active.values():
                attempt.stop("interrupt")
                attempt.worker.kill()
        elif self._interrupts.count and any(not attempt.stopped_for for attempt in self._active.values()):
            grace = f"up to {self._setting.grace_s:.0f} s"
            self._display.note(f"Stopping: the jobs at work have {grace} to save. Once more ends them at once.")
            for attempt in self._active.values():
                attempt.stop("interrupt")


class _Clock:
    """Estimates the time left from what the finished jobs took."""

    def __init__(self, jobs: list[Job], *, workers: int) -> None:
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


class _Folding:
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


def _said(row: Mapping[str, object]) -> Outcome:
    return {name: row.get(name) for name in ("status", "score", "metric", "error_class", "error_message")}
