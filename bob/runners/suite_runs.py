"""A suite from plan to rows on this machine: what the commands and the Python API share. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob.core.devices import choose_device, cpu_count, gpus
from bob.core.errors import ConfigError, DataError
from bob.core.settings import Settings
from bob.data.resolve import is_path
from bob.jobs.context import Context, Progress
from bob.jobs.estimate import Machine
from bob.jobs.fetching import Fetched, fetch_all
from bob.jobs.job import Job
from bob.jobs.needs import needs_of
from bob.jobs.plan import Plan, expand
from bob.jobs.request import Request
from bob.runners.state.cancellations import Cancellations
from bob.runners.state.starts import Starts
from bob.store import ResultStore
from bob.tasks.spec import TASKS

if TYPE_CHECKING:
    import pandas as pd

    from bob.runners.local.local_runner import Summary


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A plan on this machine.

    Attributes:
        plan: The suite with its jobs, and what is missing.
        settings: The folders.
        done: Ids of the jobs that have their number already.
        device: "cpu" or "cuda", where jobs would run.
        request: What was asked for.
        machine: What the jobs would run on.
    """

    plan: Plan
    settings: Settings
    done: frozenset[str]
    device: str

    request: Request
    machine: Machine

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every job, runnable or not."""
        return self.plan.jobs

    def records(self) -> list[dict[str, Any]]:
        """Return what is to be known of each job, as plain values."""
        return [_described(job, self.done) for job in self.jobs]

    def frame(self) -> pd.DataFrame:
        """Return a table with a row per job: what it is, whether it is to run, and how long it may take."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def _repr_html_(self) -> str:
        shown = ["backbone", "task", "dataset", "protocol", "seed", "image_size", "budget", "state", "estimate_s"]
        return str(self.frame()[shown].to_html(max_rows=60))


def planned_of(
    request: Request, settings: Settings, *, device: str = "auto", machine: Machine | None = None
) -> Planned:
    """Return the plan of a request; see ``bob.plan``.

    Args:
        request: What is asked for.
        settings: The folders.
        device: Where jobs would run: "auto", "cpu" or "cuda".
        machine: What they would run on; None for this machine.
    """
    if settings.results_dir.exists() and not settings.results_dir.is_dir():
        raise ConfigError(
            f"the results folder {str(settings.results_dir)!r} is a file.", hint="Name a folder with --results DIR."
        )
    suite, source = request.resolve()
    kind, here = ("auto", machine) if machine else machine_here(device)
    data = request.data if request.suite else ()
    expanded = expand(suite, source, settings, data=data, machine=here)
    for text in request.data:
        if is_path(text) and text in expanded.missing_data:
            # What a suite names may be on another machine; what is named for this run must be here.
            parent = str(Path(text.partition(":")[2] or text).expanduser().parent)
            raise DataError(expanded.missing_data[text], hint=f"Look for it: ls {parent!r}")
    done = frozenset(finished(expanded.jobs, settings))
    return Planned(plan=expanded, settings=settings, done=done, device=kind, request=request, machine=here)


def machine_here(choice: str) -> tuple[str, Machine]:
    """Return "cpu" or "cuda", and what jobs will run on here, without importing torch."""
    device, hardware = choose_device(choice)
    return device, Machine(hardware=hardware, cores=cpu_count(), gpus=len(gpus()) if device == "cuda" else 0)


def finished(jobs: Iterable[Job], settings: Settings) -> set[str]:
    """Return the ids of the jobs that have an ``ok`` row."""
    statuses = ResultStore(settings.results_dir).statuses()
    return {job.id for job in jobs if statuses.get(job.id) == "ok"}


def fetch_of(planned: Planned) -> Fetched:
    """Bring the checkpoints and data sets of a plan to this machine."""
    return fetch_all(planned.plan.backbones, planned.plan.missing_data, planned.settings)


def prepare(
    planned: Planned, *, download: bool = True, tell: Callable[[Planned], None] = lambda planned: None
) -> Planned:
    """Return the plan as it is once what was missing has been fetched, and every picture looked at if it must be.

    Args:
        planned: The plan.
        download: Whether to fetch what is missing.
        tell: Called with the plan once nothing more is fetched, before pictures are looked at.

    Raises:
        DataError: A picture cannot be read, and the suite says that this is an error.
    """
    missing = planned.plan.missing_backbones or planned.plan.missing_data
    if missing and download:
        fetch_of(planned)
        machine = planned.machine
        again = planned_of(planned.request, planned.settings, machine=machine)
        planned = replace(again, device=planned.device)
    tell(planned)
    if planned.plan.suite.bad_pictures == "error":
        _refuse_bad_pictures(planned)
    return planned


def execute(
    jobs: Sequence[Job],
    settings: Settings,
    *,
    device: str = "auto",
    workers: int | None = None,
    processes: int = 1,
    timeout_min: float | None = None,
    loader_workers: int = 0,
    display: str = "auto",
    anew: bool = False,
) -> Summary:
    """Run on this machine what the store does not have yet; arguments as for ``bob.run``.

    Args:
        anew: Whether starts without an end, of an earlier submission, are forgotten first.
    """
    from bob.runners.local.local_runner import LocalRunner

    if timeout_min is not None and not timeout_min > 0:
        raise ConfigError(f"timeout_min is {timeout_min}: expected more than 0 minutes.")
    Cancellations(settings.results_dir).remove(job.id for job in jobs)
    for job in jobs if anew else ():
        Starts(settings.results_dir).forget(job.id)
    if timeout_min is not None:
        jobs = [replace(job, timeout_min=timeout_min) for job in jobs]
    runner = LocalRunner(
        jobs,
        results_dir=settings.results_dir.absolute(),
        cache_dir=settings.cache_dir.absolute(),
        workers=workers,
        device=device,
        loader_workers=loader_workers,
        display=display,
        processes=processes,
    )
    return runner.run()


def in_this_process(planned: Planned, progress: Progress) -> Context:
    """Return the circumstances of work that this process does itself; what is unfinished is kept in the cache."""
    cache_dir = planned.settings.cache_dir.absolute()
    return Context(
        results_dir=cache_dir / "unfinished",
        cache_dir=cache_dir,
        device="cuda:0" if planned.device == "cuda" else "cpu",
        threads=cpu_count(),
        progress=progress,
    )


def rows_of(planned: Planned) -> pd.DataFrame:
    """Return the rows of a plan's jobs."""
    rows = ResultStore(planned.settings.results_dir).load()
    rows = rows[rows["job_id"].isin({job.id for job in planned.jobs})].reset_index(drop=True)
    rows.attrs |= {"results": str(planned.settings.results_dir), "suite": planned.plan.suite.name}
    return rows


def _refuse_bad_pictures(planned: Planned) -> None:
    """Look at every picture before anything runs, also where earlier runs left the bad ones out.

    Raises:
        DataError: A picture cannot be read.
    """
    from bob.data.dense_pictures import open_dense
    from bob.data.multilabel_pictures import open_whole
    from bob.data.pictures import DENSE, open_unlabelled

    cache_dir, jobs = planned.settings.cache_dir, planned.jobs
    for spec, task in {(job.dataset_spec, job.task) for job in jobs if job.dataset_spec}:
        annotation = TASKS.get(task).annotation_of(spec)
        assert annotation is not None, "the planner gives a task no data that it cannot use"
        for split, count in spec.sizes:
            if not count:
                continue
            if annotation in DENSE:
                open_dense(spec, split, annotation=annotation, cap=None, cache_dir=cache_dir)
            else:
                open_whole(spec, split, annotation=annotation, cap=None, cache_dir=cache_dir)
    for spec in {other.spec for job in jobs for other in job.others if other.spec}:
        open_unlabelled(spec, "test", cap=None, cache_dir=cache_dir)


def _described(job: Job, done: frozenset[str]) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "backbone": job.backbone,
        "task": job.task,
        "dataset": job.dataset,
        "protocol": job.protocol,
        "seed": job.seed,
        "image_size": job.input.image_size,
        "precision": job.precision,
        "budget": job.budget.label(),
        "params": dict(job.params),
        "weights_sha256": job.weights_sha256,
        "state": "done" if job.id in done else "skipped" if job.missing else "to run",
        "reason": job.missing,
        "estimate_s": job.estimate_s,
        "needs": [need.key for need in needs_of(job)],
    }
