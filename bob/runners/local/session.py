"""One run of the local runner while there is work: claims, workers, records."""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from multiprocessing.connection import wait

from bob.core.devices import Slot
from bob.core.interrupts import Interrupts
from bob.core.lease import Lease
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import KINDS
from bob.jobs.provenance import allocation_id
from bob.runners.local.attempt import Attempt, Outcome
from bob.runners.local.clock import Clock
from bob.runners.local.display import Display, label
from bob.runners.local.folding import Folding
from bob.runners.local.schedule import Schedule, Work
from bob.runners.local.setting import Setting
from bob.runners.local.turns import Turns
from bob.runners.local.worker_process import WorkerProcess
from bob.runners.ranks.rank_commands import processes_per_node
from bob.runners.ranks.rank_launch import processes_of
from bob.runners.state.cancellations import Cancellations
from bob.runners.state.presence import AtWork, Presence
from bob.runners.state.starts import Starts, out_of_attempts
from bob.runners.worker.assignment import AGAIN, Assignment
from bob.runners.worker.failure_rows import record_failure
from bob.runners.worker.worker_server import ForkServer
from bob.store import ResultStore
from bob.store.records import explained

log = logging.getLogger(__name__)

TICK_S = 0.2
LOOK_AGAIN_S = 2.0
LOST_AT_MOST = 2


class Session:
    """Runs what a schedule holds, until it is settled or somebody interrupts.

    Args:
        setting: What stays the same.
        schedule: The jobs and artifacts.
        known: How many records each job had when the run began, of those that had any.
        server: Forks the workers.
        display: Is told what happens.
        interrupts: Is looked at.
        turns: Looks after the artifacts that are made in turns.
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
        turns: Turns,
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
        self._active: dict[int, Attempt] = {}
        self._lost: Counter[str] = Counter()
        self._turns = turns
        self._clock = Clock(schedule.open_jobs, workers=len(setting.slots))
        self._folding = Folding(self._store)
        self._starts = Starts(setting.results_dir)
        self._cancellations = Cancellations(setting.results_dir)
        self._cancelled = self._cancellations.ids()
        self._presence = Presence(setting.results_dir, submission=setting.submission)
        self._looked = time.monotonic()

    def run(self) -> None:
        """Run until everything is settled, or until an interrupt has ended the workers."""
        try:
            while not self._is_over():
                self._look_around()
                self._start()
                self._listen()
                self._settle_ended()
                self._stop_if_told()
                self._folding.when_due()
        finally:
            self._presence.close()
            for attempt in self._active.values():
                attempt.worker.kill()
                attempt.worker.close()
                attempt.lease.release()
            self._turns.close()
            self._folding.close()

    def _is_over(self) -> bool:
        if self._interrupts.count:
            return not self._active
        return self._schedule.finished and not self._turns.take_disturbed_again()

    def _look_around(self) -> None:
        """See, every few seconds, what other runners have settled meanwhile and what the user wants stopped."""
        self._presence.tell(map(_at_work, self._active.values()), len(self._schedule.open_jobs) - len(self._active))
        if time.monotonic() - self._looked < LOOK_AGAIN_S:
            return
        self._looked = time.monotonic()
        self._schedule.look_again()
        self._cancelled = self._cancellations.ids()
        for attempt in self._active.values():
            if attempt.work.need is None and attempt.work.job.id in self._cancelled:
                attempt.stop("cancel")

    def _start(self) -> None:
        free = [slot for slot in self._setting.slots if slot.index not in self._active]
        while free and not self._interrupts.count:
            work = self._schedule.take()
            if work is None:
                self._turns.release_if_over()  # what it was kept for may have been dropped with its jobs
                return
            if work.need is None and work.job.id in self._cancelled:
                self._schedule.done(work)
                self._clock.settle(work.job)
                continue
            lease = self._claim(work)
            if lease is not None and not self._given_up(work, lease):
                self._launch(work, free.pop(0), lease)

    def _claim(self, work: Work) -> Lease | None:
        """Take the work for this runner; None if another is at it, or it is done already."""
        with explained(self._setting.results_dir):
            claims = self._setting.results_dir / "claims"
            lease = self._turns.lease() if work.exclusive else Lease.try_take(claims / f"{work.key}.lease")
        if lease is None:
            self._schedule.hold(work)
            return None
        if not self._done_elsewhere(work):
            return lease
        self._schedule.done(work)
        self._release(work, lease)
        if work.need is not None:
            self._turns.remember_disturbed(work)
        else:
            self.elsewhere += 1
            self._clock.settle(work.job)
            self._tell_settled()
        return None

    def _given_up(self, work: Work, lease: Lease) -> bool:
        """Settle a job that was started too often without an end, with a row that says so; else count its start."""
        limit, job = self._setting.attempts, work.job
        if limit is None or work.need is not None:
            return False
        try:
            if self._starts.count(job.id) < limit:
                with explained(self._setting.results_dir):
                    self._starts.begin(job.id, allocation_id() or socket.gethostname())
                return False
            outcome = out_of_attempts(self._starts, job.id)
            self._append_failure(job, replace(self._context(work, self._setting.slots[0]), log_path=None), outcome)
        except BaseException:
            lease.release()
            raise
        lease.release()
        self._schedule.done(work)
        self._count(job, outcome["status"])
        self._clock.settle(job)
        self._tell_settled()
        return True

    def _done_elsewhere(self, work: Work) -> bool:
        if work.need is not None:
            return self._turns.is_done(work.need)
        return self._store.attempts(work.job.id, fresh=True) > self._known.get(work.job.id, 0)

    def _launch(self, work: Work, slot: Slot, lease: Lease) -> None:
        setting = self._setting
        context = self._context(work, replace(slot, threads=setting.cores) if work.exclusive else slot)
        assignment = Assignment(
            job=work.job,
            need=work.need,
            context=context,
            gpu=slot.gpu,
            references=setting.references,
            nodes=setting.nodes if context.processes > 1 else 1,
        )
        # What runs alone comes before all else, or after it: this starts another server twice in a run at most.
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
        # The turns of one artifact share a log.
        token = self._turns.run if work.exclusive else uuid.uuid4().hex[:12]
        processes = processes_of(work.job, work.need, self._setting.processes)
        return Context(
            results_dir=self._setting.results_dir,
            cache_dir=self._setting.cache_dir,
            device=slot.device,
            threads=max(1, slot.threads // processes_per_node(processes, self._setting.nodes if processes > 1 else 1)),
            processes=processes,
            loader_workers=self._setting.loader_workers,
            attempt=token,
            log_path=self._setting.results_dir / "logs" / f"{work.key}.{token}.log",
            submission=self._setting.submission,
            code_changed=self._setting.code_changed,
            run=self._turns.run,
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
                    attempt.phase = (message["phase"], message["done"], message["total"])
                    self._display.progress(index, message["phase"], message["done"], message["total"])

    def _settle_ended(self) -> None:
        for index, attempt in list(self._active.items()):
            attempt.enforce()
            if attempt.worker.ended():
                # First: what is settled is closed, even if its row cannot be written and the run ends with that.
                del self._active[index]
                self._settle(attempt)

    def _settle(self, attempt: Attempt) -> None:
        worker, work = attempt.worker, attempt.work
        worker.messages()
        outcome = self._once_more_or_failed(work, attempt.verdict())
        worker.close()
        if outcome["status"] == AGAIN:
            self._await_turn(attempt, outcome)
            return
        try:
            if work.need is not None:
                self._settle_artifact(attempt, outcome)
            elif outcome["status"] not in ("stopped", "lost"):
                outcome = self._settle_job(attempt, outcome)
            if outcome["status"] in ("stopped", "lost"):
                self._put_back(attempt)
        finally:
            self._release(work, attempt.lease)
        self._tell_settled()
        whole_s = self._turns.spent_s(work, outcome["wall_s"], is_whole=True)
        self._display.end(attempt.slot.index, work, {**outcome, "wall_s": whole_s})

    def _await_turn(self, attempt: Attempt, outcome: Outcome) -> None:
        """Put an artifact back behind the others that take turns."""
        work = attempt.work
        self._clock.spend(outcome["wall_s"])
        self._turns.spent_s(work, outcome["wall_s"])
        self._schedule.next_turn(work)
        self._display.end(attempt.slot.index, work, outcome)

    def _release(self, work: Work, lease: Lease) -> None:
        """Give a claim back; the one on all that takes turns when the last has had them."""
        if work.exclusive:
            self._turns.release_if_over()
        else:
            lease.release()

    def _put_back(self, attempt: Attempt) -> None:
        """Keep what came to no end for another start, here or in the next run; a cancelled job for neither."""
        work = attempt.work
        was_told = attempt.stopped_for or attempt.worker.end is not None
        if self._setting.attempts is not None and work.need is None and was_told:
            names = sorted(number.name for number in self._interrupts.signals)
            self._starts.stop(work.job.id, f"stopped by {' and '.join(names) or attempt.stopped_for or 'a signal'}")
        if attempt.stopped_for == "cancel":
            self._schedule.done(work)
        else:
            self._schedule.again(work)

    def _once_more_or_failed(self, work: Work, outcome: Outcome) -> Outcome:
        """Let a job whose worker was lost start again, though not for ever."""
        if outcome["status"] == "lost":
            self._lost[work.key] += 1
            if self._lost[work.key] > LOST_AT_MOST and not self._interrupts.count:
                message = f"{outcome['why']}, {self._lost[work.key]} times"
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
            self._turns.remember_disturbed(attempt.work)
        elif need is not None and KINDS[need.kind].optional:
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
        record_failure(
            self._setting.references,
            job,
            context,
            status=outcome["status"],
            error_class=outcome["error_class"],
            message=outcome["error_message"],
        )

    def _count(self, job: Job, status: str) -> None:
        self._starts.forget(job.id)
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


def _at_work(attempt: Attempt) -> AtWork:
    phase, done, total = attempt.phase
    what, for_s = label(attempt.work), round(attempt.wall_s, 1)
    return AtWork(job_id=attempt.work.job.id, what=what, phase=phase, done=done, total=total, for_s=for_s)


def _said(row: Mapping[str, object]) -> Outcome:
    return {name: row.get(name) for name in ("status", "score", "metric", "error_class", "error_message")}
