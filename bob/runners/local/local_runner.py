"""The local runner: every job of a suite on this machine, one process each, with one row each at the end."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bob.core.devices import cpu_count, crowded, plan_slots
from bob.core.errors import ConfigError, DataMissingError, DataTooSmallError, WeightsMissingError
from bob.core.interrupts import Interrupts
from bob.core.machine import is_quiet
from bob.core.text import counted
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context
from bob.jobs.job import MISSING, Job, Need
from bob.jobs.needs import profile_need
from bob.jobs.profiles import is_renewed, is_settled, read_profile
from bob.runners.local.display import Display, make_display
from bob.runners.local.schedule import Schedule, Work
from bob.runners.local.session import Session
from bob.runners.local.setting import Setting
from bob.runners.local.turns import Turns
from bob.runners.ranks.rank_commands import processes_per_node
from bob.runners.worker import worker
from bob.runners.worker.assignment import References
from bob.runners.worker.failure_rows import record_failure
from bob.runners.worker.worker_server import ForkServer, server_environment
from bob.store import ResultStore, amendments

log = logging.getLogger(__name__)

GRACE_S = 10.0
PRELOAD = ("bob.runners.worker.worker_imports",)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A job that gave no number.

    Attributes:
        job_id: Its id.
        name: Backbone, task, protocol, data set and seed.
        status: ``failed``, ``oom``, ``timeout`` or ``skipped``.
        reason: Error class and message.
        log_path: Its log; None if it never started.
    """

    job_id: str
    name: str
    status: str
    reason: str
    log_path: str | None

    def __str__(self) -> str:
        where = f" (log: {self.log_path})" if self.log_path else ""
        return f"{self.status}: {self.name}: {self.reason}{where}"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What a run did.

    Attributes:
        counts: Jobs by status, of those that this run ran.
        wall_s: How long it took.
        failures: Jobs that this run ran, or another runner beside it, and that gave no number.
        skipped: Jobs whose weights or data are missing.
        done_before: Jobs that had their number already.
        elsewhere: Jobs that another runner on the same store settled meanwhile.
        left: Jobs without a number that an interrupt left for the next run.
        interrupted: Whether Ctrl-C or SIGTERM ended it.
    """

    counts: dict[str, int]
    wall_s: float
    failures: list[Failure]
    skipped: int
    done_before: int
    elsewhere: int
    left: int
    interrupted: bool


class LocalRunner:
    """Runs what a store does not have yet.

    Every job runs in a process of its own, forked from a server that has imported everything. Whatever becomes of a
    job is a row in the store: ``ok``, ``failed``, ``oom``, ``timeout`` or ``skipped``. A run tries every job without
    an ``ok`` row once. Several runners may work on one store: each claims what it runs.

    Args:
        jobs: The jobs; one given twice runs once.
        results_dir: The store's folder.
        cache_dir: Artifacts and manifests.
        workers: Jobs at a time; None for one per GPU, or one per two cores.
        device: ``auto``, ``cpu`` or ``cuda``.
        loader_workers: Processes that decode pictures beside each job; 0 decodes in the job's process.
        timeout_min: Time a job may take, instead of the jobs' own.
        grace_s: Time a job has to save after it was asked to stop.
        display: ``auto``, ``live``, ``lines`` or ``none``, or an object to tell.
        execute: ``module:function`` called with (job, context); it appends the job's row.
        make_artifact: ``module:function`` called with (need, job, context).
        failure_row: ``module:function`` that builds the row of a job without a number.
        preload: Modules the server imports.
        cores: CPU cores to share among the workers; None for all this process may use.
        memory_gb: Memory to share among them, in 10^9 bytes; None for what is available.
        known: Records that each job had when it was submitted, of those that had any: one with more is settled. None
            for those of this moment, so that every job without an ``ok`` row is tried.
        attempts: Starts of a job without an end before it is given up with a row; None for any number.
        submission: The submission that the jobs belong to; empty for none.
        code_changed: Whether the code differs from the submission's; None without one.
        interrupts: Counts the signals to stop; None for one of its own.
        processes: In how many processes a job that trains runs. They share the cores of its slot, or have a GPU each.
        nodes: Nodes of a SLURM allocation over which those processes are spread.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        results_dir: Path,
        cache_dir: Path,
        workers: int | None = None,
        device: str = "auto",
        loader_workers: int = 0,
        timeout_min: float | None = None,
        grace_s: float = GRACE_S,
        display: str | Display = "auto",
        execute: str = References.execute,
        make_artifact: str = References.make_artifact,
        failure_row: str = References.failure_row,
        preload: Sequence[str] = PRELOAD,
        cores: int | None = None,
        memory_gb: float | None = None,
        known: Mapping[str, int] | None = None,
        attempts: int | None = None,
        submission: str = "",
        code_changed: bool | None = None,
        interrupts: Interrupts | None = None,
        processes: int = 1,
        nodes: int = 1,
    ) -> None:
        if timeout_min is not None and timeout_min <= 0:
            raise ConfigError(f"timeout of {timeout_min} min: expected more than 0.")
        self._jobs = list({job.id: job for job in jobs}.values())
        self._preload = (worker.__name__, *preload)
        self._display = make_display(display) if isinstance(display, str) else display
        self._store = ResultStore(results_dir.absolute())
        self._store.layout.refuse_links()
        self._artifacts = ArtifactStore(cache_dir.absolute())
        self._known = known
        self._counted: dict[str, int] = {}
        self._interrupts = interrupts or Interrupts()
        todo = self._todo(self._store.statuses())
        cores = cores or cpu_count()
        each = processes_per_node(processes, nodes)
        slots = plan_slots(
            workers=workers, device=device, jobs=len(todo), cores=cores, memory_gb=memory_gb, processes=each
        )
        self._setting = Setting(
            results_dir=results_dir.absolute(),
            cache_dir=cache_dir.absolute(),
            slots=slots,
            cores=cores,
            alone=server_environment(threads=cores, patient=False),
            shared=server_environment(threads=slots[0].threads, patient=len(slots) > 1),
            loader_workers=loader_workers,
            timeout_min=timeout_min,
            grace_s=grace_s,
            references=References(execute=execute, make_artifact=make_artifact, failure_row=failure_row),
            attempts=attempts,
            submission=submission,
            code_changed=code_changed,
            processes=processes,
            nodes=nodes,
        )

    def run(self) -> Summary:
        """Run what is missing; return when it is settled, or when Ctrl-C or SIGTERM has ended it.

        Raises:
            BobError: Nothing can run: a module cannot be imported, the store cannot be written, or a newer version of
                BoB wrote it.
        """
        clock = time.monotonic()
        self._store.refuse_newer()
        # Before anything is looked at: what another runner finishes from now on is not run again.
        before = {name.job_id for name in self._store.layout.names()}
        self._counted = {job.id: self._store.attempts(job.id) for job in self._jobs if job.id in before}
        statuses = self._store.statuses()
        missing = [job for job in self._jobs if job.missing and statuses.get(job.id) != "ok"]
        new_rows = [job for job in missing if self._record_missing(job, statuses.get(job.id))]
        todo = self._todo(statuses)
        profiles = self._profiles()
        amended = self._amend_rows(profiles)
        session, interrupted = self._run_jobs(todo, profiles)
        if session is not None or new_rows or amended:
            self._store.fold(force=True)
        after = self._store.statuses() if session is not None else statuses
        settled = sum(session.counts.values()) + session.elsewhere if session else 0
        return Summary(
            counts=dict(session.counts) if session else {},
            wall_s=time.monotonic() - clock,
            failures=self._failures(todo, after),
            skipped=len(missing),
            done_before=len(self._jobs) - len(missing) - len(todo),
            elsewhere=session.elsewhere if session else 0,
            left=len(todo) - settled,
            interrupted=interrupted,
        )

    def _todo(self, statuses: dict[str, str]) -> list[Job]:
        todo = [job for job in self._jobs if not job.missing and statuses.get(job.id) != "ok"]
        if self._known is None:
            return todo
        return [job for job in todo if self._store.attempts(job.id) <= self._known.get(job.id, 0)]

    def _profiles(self) -> list[tuple[Need, Job]]:
        """Return the profiles of all jobs that can run, done or not, each once."""
        alike = {
            (job.backbone, job.code, job.hardware, job.input, job.precision): job
            for job in self._jobs
            if "profile" in job.uses and not job.missing
        }
        pairs = [(profile_need(job), job) for job in alike.values()]
        return list({need.key: (need, job) for need, job in pairs}.values())

    def _amend_rows(self, profiles: Sequence[tuple[Need, Job]]) -> bool:
        """Put into the rows of this store what was taken again for another store; tell whether there was any."""
        known = amendments.names(self._store.layout)
        is_any = False
        for need, _ in profiles:
            figures = read_profile(self._artifacts, need) if is_renewed(self._artifacts, need) else None
            if figures is not None and amendments.file_name(need.key, figures) not in known:
                self._store.amend_profile(need.key, figures)
                is_any = True
        return is_any

    def _run_jobs(self, todo: list[Job], profiles: Sequence[tuple[Need, Job]]) -> tuple[Session | None, bool]:
        """Run the jobs, and take again the profiles that others disturbed; None if there is nothing to do."""
        disturbed = [
            Work(job=job, need=need)
            for need, job in profiles
            if self._artifacts.has(need) and not is_settled(self._artifacts, need)
        ]
        again = {work.key for work in disturbed} if disturbed and is_quiet() else set()
        if not todo and not again:
            if disturbed:
                log.warning("Others use this host: %d disturbed profiles stay as they are.", len(disturbed))
            return None, False
        slots = self._setting.slots
        if len(slots) == 1 and crowded():
            log.info("Others use this machine's cores: the jobs' threads wait patiently, which is a little slower.")
            patient = server_environment(threads=slots[0].threads, patient=True)
            self._setting = replace(self._setting, shared=patient)
        schedule = Schedule(todo, made=lambda need: self._artifacts.has(need) and need.key not in again)
        for work in disturbed:
            if work.key in again and not schedule.holds(work):
                schedule.add(work)
        first = self._setting.alone if schedule.starts_exclusive else self._setting.shared
        server = ForkServer(preload=self._preload, variables=first)
        with self._interrupts as interrupts:
            turns = Turns(
                schedule,
                self._artifacts,
                results_dir=self._setting.results_dir,
                display=self._display,
                disturbed=[work for work in disturbed if work.key not in again],
                renewing=[work for work in disturbed if work.key in again],
            )
            session = Session(
                self._setting,
                schedule,
                known=self._counted if self._known is None else self._known,
                server=server,
                display=self._display,
                interrupts=interrupts,
                turns=turns,
            )
            self._display.open(total=len(todo), workers=len(slots))
            try:
                with interrupts.breaking():
                    server.ensure()
                session.run()
            finally:
                self._display.close()
                server.stop()
            if interrupts.count:
                left = len(todo) - sum(session.counts.values()) - session.elsewhere
                self._display.note(
                    f"Interrupted with {left} of {counted(len(todo), 'job')} left. The same command goes on."
                )
        return session, interrupts.count > 0

    def _record_missing(self, job: Job, status: str | None) -> bool:
        """Append the ``skipped`` row of a job that cannot run, unless it says the same already."""
        if status == "skipped" and self._store.record(job.id).get("error_message") == job.missing:
            return False
        context = Context(
            results_dir=self._setting.results_dir,
            cache_dir=self._setting.cache_dir,
            device=self._setting.slots[0].device,
            threads=self._setting.slots[0].threads,
            attempt=uuid.uuid4().hex[:12],
        )
        is_here = job.dataset_spec is not None and all(other.spec is not None for other in job.others)
        here = WeightsMissingError if job.weights_sha256 == MISSING else DataTooSmallError
        kind = here if is_here else DataMissingError
        said = {"status": "skipped", "error_class": kind.__name__, "message": str(job.missing)}
        record_failure(self._setting.references, job, context, **said)
        return True

    def _failures(self, jobs: list[Job], statuses: dict[str, str]) -> list[Failure]:
        """Return the jobs whose row says why there is no number."""
        failures = []
        for job in jobs:
            status = statuses.get(job.id)
            if status in (None, "ok"):
                continue
            row = self._store.record(job.id)
            reason = ": ".join(str(row[key]) for key in ("error_class", "error_message") if row.get(key))
            name = f"{job.backbone} {job.task}/{job.protocol} on {job.dataset} seed {job.seed}"
            failures.append(
                Failure(job_id=job.id, name=name, status=status, reason=reason, log_path=row.get("log_path"))
            )
        return failures
