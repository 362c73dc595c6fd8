"""What runs in an allocation: the local runner on the jobs of one task of a submission's array."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bob.backbones import catalogue, weights
from bob.data.resolve import resolve_dataset
from bob.errors import BobError
from bob.job import Job
from bob.pins import changes, pin
from bob.runners.cancelling import Cancellations
from bob.runners.devices import choose_device, cpu_count
from bob.runners.interrupts import Interrupts
from bob.runners.local import LocalRunner
from bob.runners.submission import Submission, read_jobs, read_submission

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

log = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """One task of an array, as submitit calls it; it holds nothing that a later start could find outdated.

    Attributes:
        folder: The submission's.
        array: Number of the array in the submission.
        task: Number of the allocation in the array.
    """

    folder: str
    array: int
    task: int

    def __call__(self) -> dict[str, int]:
        """Run the jobs; return how many ended how, and how many are ``left``."""
        return run_task(Path(self.folder), self.array, self.task)

    def checkpoint(self) -> DelayedSubmission:
        """Return what submitit starts again when a signal comes before the runner listens: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def run_task(folder: Path, array: int, task: int) -> dict[str, int]:
    """Run the jobs of an allocation that have not been run since their submission.

    SIGUSR2 and SIGTERM have the jobs at work save and end; what is left is for the next start, which the batch script
    sees to (``bob.runners.aftermath``).
    """
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO, force=True)
    with Interrupts(patient=True) as interrupts:
        submission = read_submission(folder)
        shape = submission.arrays[array].shape
        cores = min(cpu_count(), shape.cpus)
        jobs = _jobs(submission, submission.arrays[array].tasks[task], cores=cores)
        runner = LocalRunner(
            jobs,
            results_dir=Path(submission.results_dir),
            cache_dir=Path(submission.cache_dir),
            device=submission.device,
            loader_workers=submission.loader_workers,
            grace_s=submission.grace_s,
            display="lines",
            cores=cores,
            memory_gb=shape.mem_gb,
            known=submission.known,
            attempts=submission.attempts,
            submission=submission.id,
            code_changed=warn_of_changes(submission, jobs),
            interrupts=interrupts,
            processes=shape.processes * shape.nodes,
            nodes=shape.nodes,
        )
        summary = runner.run()
    log.info("Ran %s; %d left.", summary.counts, summary.left)
    return {**summary.counts, "left": summary.left}


def warn_of_changes(submission: Submission, jobs: list[Job]) -> bool:
    """Tell whether the code differs from the submission's, saying how in the log and beside the submission."""
    plugins = sorted({plugin for job in jobs for plugin in job.plugins})
    said = changes(submission.pin, pin(plugins))
    for sentence in said:
        log.warning("The code changed between submission and start: %s.", sentence)
    if said:
        path = submission.folder / "code-changed.txt"
        path.write_text("".join(f"{sentence}\n" for sentence in said))
    return bool(said)


def _jobs(submission: Submission, job_ids: tuple[str, ...], *, cores: int) -> list[Job]:
    """Return an allocation's jobs as they are on this node; those whose weights or data changed say so."""
    known = read_jobs(submission.folder)
    absent = [job_id for job_id in job_ids if job_id not in known]
    if absent:
        raise BobError(
            f"{len(absent)} of {len(job_ids)} jobs have another id under this version of BoB: their identity changed "
            f"since submission {submission.id}.",
            hint="Submit the suite again.",
        )
    cancelled = Cancellations(Path(submission.results_dir)).ids()
    _, hardware = choose_device(submission.device, cores=cores)
    jobs = [replace(known[job_id], hardware=hardware) for job_id in job_ids if job_id not in cancelled]
    found: dict[str, str | None] = {}
    return [_checked(job, submission, found) for job in jobs]


def _checked(job: Job, submission: Submission, found: dict[str, str | None]) -> Job:
    """Return the job, made one that cannot run if what it is identified by is not what lies here now."""
    for plugin in job.plugins:
        catalogue.load_plugin(Path(plugin))
    wanted = {f"weights {job.backbone}": job.weights_sha256} if not job.is_control else {}
    wanted |= {f"data {job.dataset_text}": job.dataset_fingerprint}
    wanted |= {f"data {other.text}": other.fingerprint for other in job.others}
    for name, fingerprint in wanted.items():
        if name not in found:
            found[name] = _fingerprint(name, submission)
        if found[name] != fingerprint:
            what = "is not on this node" if found[name] is None else "changed since the submission"
            log.warning("%s %s: job %s is skipped.", name, what, job.id)
            return replace(job, missing=f"{name} {what} ({submission.id}); submit the suite again")
    return job


def _fingerprint(name: str, submission: Submission) -> str | None:
    kind, _, text = name.partition(" ")
    cache_dir = Path(submission.cache_dir)
    try:
        if kind == "weights":
            folders = [Path(folder) for folder in submission.weights_dirs]
            return weights.locate(catalogue.find(text), weights_dirs=folders, cache_dir=cache_dir).sha256
        policy, data_dir = submission.bad_pictures, Path(submission.data_dir)
        return resolve_dataset(text, cache_dir=cache_dir, data_dir=data_dir, policy=policy).fingerprint
    except BobError as error:
        log.warning("%s: %s", name, error.message)
        return None
