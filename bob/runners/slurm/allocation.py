"""What runs in an allocation: the local runner on the jobs of one task of a submission's array."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bob.backbones import catalogue, weights
from bob.core.devices import choose_device, cpu_count
from bob.core.errors import BobError
from bob.core.interrupts import Interrupts
from bob.core.plugins import load_plugin
from bob.core.settings import use_cache_dir
from bob.core.text import LOG_FORMAT
from bob.data.copies_beside import apart_from
from bob.data.dataset import DatasetSpec
from bob.data.resolve import resolve_dataset
from bob.jobs.code_version import changes, pin, plugin_code
from bob.jobs.job import Job, OtherData
from bob.runners.local.local_runner import LocalRunner
from bob.runners.slurm.packing import Shape
from bob.runners.slurm.submission import Submission, read_jobs, read_submission
from bob.runners.state.cancellations import Cancellations

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

log = logging.getLogger(__name__)


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
    sees to (``bob.runners.slurm.aftermath``).
    """
    logging.basicConfig(format=LOG_FORMAT, level=logging.INFO, force=True)
    with Interrupts(patient=True) as interrupts:
        submission = read_submission(folder)
        shape = submission.arrays[array].shape
        device = device_of(submission, shape)
        cores = min(cpu_count(), shape.cpus)
        jobs = _jobs(submission, submission.arrays[array].tasks[task], device=device, cores=cores)
        runner = LocalRunner(
            jobs,
            results_dir=Path(submission.results_dir),
            cache_dir=Path(submission.cache_dir),
            device=device,
            loader_workers=submission.loader_workers,
            grace_s=submission.grace_s,
            display="lines",
            cores=cores,
            memory_gb=shape.mem_gb or granted_gb(os.environ, cores),
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


def _jobs(submission: Submission, job_ids: tuple[str, ...], *, device: str, cores: int) -> list[Job]:
    """Return an allocation's jobs as they are on this node; those whose weights or data changed say so."""
    known = read_jobs(submission.folder)
    absent = [job_id for job_id in job_ids if job_id not in known]
    if absent:
        raise BobError(
            f"{len(absent)} of {len(job_ids)} jobs have another id under this version of BoB: their identity changed "
            f"since submission {submission.id}.",
            hint="Submit the suite again.",
        )
    use_cache_dir(Path(submission.cache_dir))
    cancelled = Cancellations(Path(submission.results_dir)).ids()
    _, hardware = choose_device(device, cores=cores)
    jobs = [replace(known[job_id], hardware=hardware) for job_id in job_ids if job_id not in cancelled]
    found: dict[str, str] = {}
    return [checked(job, submission, found) for job in jobs]


def device_of(submission: Submission, shape: Shape) -> str:
    """Return what an allocation runs on: the GPUs that were asked for, and no GPU where none was."""
    if submission.device != "auto":
        return submission.device
    return "cuda" if shape.gpus else "cpu"


def granted_gb(environment: Mapping[str, str], cores: int) -> float | None:
    """Return the memory that SLURM grants this allocation on its node, in 10^9 bytes; None if it does not say."""
    of_node, of_core = environment.get("SLURM_MEM_PER_NODE"), environment.get("SLURM_MEM_PER_CPU")
    mib = int(of_node) if of_node else int(of_core) * cores if of_core else 0
    return mib * 2**20 / 1e9 if mib else None


def checked(job: Job, submission: Submission, found: dict[str, str]) -> Job:
    """Return a submitted job, made one that cannot run if what it is identified by has changed since.

    Args:
        job: As it was submitted.
        submission: With which.
        found: Fingerprints of what lies here now, by name; filled as they are looked up.

    Raises:
        BobError: Its data or weights are not on this node: no fault of the job's.
    """
    for plugin in job.plugins:
        load_plugin(plugin)
    if plugin_code(job) != job.plugin_code:
        reason = f"its plug-in changed since the submission ({submission.id}); submit the suite again"
        return replace(job, missing=reason)
    wanted = {f"weights {job.backbone}": job.weights_sha256} if not job.is_control else {}
    wanted |= {f"data {job.dataset_text}": job.dataset_fingerprint}
    beside = {f"data {other.text} as {other.role} of {job.dataset_text}": other for other in job.others}
    wanted |= {name: other.fingerprint for name, other in beside.items()}
    for name, fingerprint in wanted.items():
        if name not in found and name in beside:
            found[name] = _fingerprint_beside(job.dataset_text, beside[name], submission)
        elif name not in found:
            found[name] = _fingerprint(name, submission)
        if found[name] != fingerprint:
            log.warning("%s changed since the submission: job %s is skipped.", name, job.id)
            reason = f"{name} changed since the submission ({submission.id}); submit the suite again"
            return replace(job, missing=reason, dataset_spec=job.dataset_spec if name.startswith("weights") else None)
    return job


def _fingerprint(name: str, submission: Submission) -> str:
    kind, _, text = name.partition(" ")
    cache_dir = Path(submission.cache_dir)
    if kind == "weights":
        folders = [Path(folder) for folder in submission.weights_dirs]
        return weights.locate(catalogue.find(text), weights_dirs=folders, cache_dir=cache_dir).sha256
    return _resolved(text, submission).fingerprint


def _fingerprint_beside(text: str, other: OtherData, submission: Submission) -> str:
    """Return the fingerprint of a data set beside another, as the planner finds it: without what they share."""
    shifted, cache_dir = other.role == "shifts", Path(submission.cache_dir)
    found = _resolved(other.text, submission, labelled=shifted)
    own = _resolved(text, submission)
    return apart_from(own, found, shifted=shifted, policy=submission.copies, cache_dir=cache_dir).fingerprint


def _resolved(text: str, submission: Submission, *, labelled: bool = True) -> DatasetSpec:
    return resolve_dataset(
        text,
        cache_dir=Path(submission.cache_dir),
        data_dir=Path(submission.data_dir),
        policy=submission.bad_pictures,
        labelled=labelled,
        copies=submission.copies,
        follow_links=submission.follow_links,
        picture_bits=submission.picture_bits,
    )
