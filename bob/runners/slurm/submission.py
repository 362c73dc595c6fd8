"""Submissions: which jobs were handed to which executor, with which code, kept in ``RESULTS/submissions/ID/``."""

from __future__ import annotations

import functools
import json
import logging
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from bob.core.errors import StoreError
from bob.core.files import write_bytes, write_text
from bob.jobs.code_version import Pin, dirty_diff
from bob.jobs.job import Job
from bob.runners.slurm.packing import Shape

log = logging.getLogger(__name__)

FOLDER = "submissions"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Array:
    """One array of allocations of one shape.

    Attributes:
        shape: What each allocation has.
        tasks: Job ids per allocation.
        slurm_id: SLURM's number of the array; None as long as it was not accepted.
    """

    shape: Shape
    tasks: tuple[tuple[str, ...], ...]
    slurm_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was handed to an executor at one time.

    Attributes:
        id: Its name.
        suite: The suite's name.
        executor: ``local`` or ``slurm``.
        created_at: ISO 8601, UTC.
        results_dir: The store, absolute.
        cache_dir: Artifacts and manifests, absolute.
        data_dir: Where data sets lie.
        weights_dirs: Folders with checkpoints.
        pin: The code.
        known: Records that each job had, of those that had any: one with more has been run since.
        arrays: The allocations; empty for ``local``.
        attempts: Starts without an end before a job is given up.
        grace_s: Seconds that jobs have to save.
        device: ``auto``, ``cpu`` or ``cuda``.
        loader_workers: Processes that decode pictures beside each job.
        bad_pictures: The suite's policy.
        copies: The suite's policy.
        follow_links: Likewise.
        picture_bits: Likewise.
        format: Of this file.
    """

    id: str
    suite: str
    executor: str
    created_at: str
    results_dir: str
    cache_dir: str
    data_dir: str
    weights_dirs: tuple[str, ...] = ()
    pin: Pin
    known: dict[str, int]
    arrays: tuple[Array, ...] = ()
    attempts: int = 10
    grace_s: float = 60.0
    device: str = "auto"
    loader_workers: int = 0
    bad_pictures: str = "skip"
    copies: str = "skip"
    follow_links: bool = False
    picture_bits: int | None = None
    format: int = FORMAT

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return Path(self.results_dir) / FOLDER / self.id


def new_id() -> str:
    """Return a name that sorts by time."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def write_submission(submission: Submission, jobs: Sequence[Job]) -> None:
    """Keep a submission, its jobs and the uncommitted changes of the code."""
    folder = submission.folder
    write_bytes(folder / "jobs.json", _jobs_adapter().dump_json(list(jobs)))
    diff = dirty_diff() if submission.pin.git_dirty else b""
    if diff:
        write_bytes(folder / "code.diff", diff)
    update_submission(submission)


def update_submission(submission: Submission) -> None:
    """Replace what is kept of a submission, jobs aside."""
    write_text(submission.folder / "submission.json", _adapter().dump_json(submission, indent=1).decode())


def read_submission(folder: Path) -> Submission:
    """Read a submission.

    Raises:
        StoreError: It is missing, damaged, or of a newer version.
    """
    path = folder / "submission.json"
    try:
        content = path.read_bytes()
        version = json.loads(content).get("format")
        if isinstance(version, int) and version > FORMAT:
            raise StoreError(f"{path} has format {version}, and this version of BoB reads up to {FORMAT}.")
        return _adapter().validate_json(content)
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        raise StoreError(f"submission {path} cannot be read: {_first_line(error)}.") from error


def read_jobs(folder: Path) -> dict[str, Job]:
    """Return a submission's jobs by id.

    Raises:
        StoreError: They cannot be read, or are not those of their ids under this version of BoB.
    """
    path = folder / "jobs.json"
    try:
        jobs = _jobs_adapter().validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {_first_line(error)}.") from error
    frozen = (replace(job, params=_frozen(job.params), classifier=_frozen(job.classifier)) for job in jobs)
    return {job.id: job for job in frozen}


def submissions(results_dir: Path) -> list[Submission]:
    """Return the readable submissions of a store, oldest first; others are warned about."""
    root = results_dir / FOLDER
    found = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if not (folder / "submission.json").exists():
            continue
        try:
            found.append(read_submission(folder))
        except StoreError as error:
            log.warning("%s It is left out.", error.message)
    return found


def jobs_of(results_dir: Path, wanted: Iterable[str]) -> dict[str, tuple[Job, Submission]]:
    """Return jobs by id as their latest submissions have them, with those; ids that none has are left out."""
    left = set(wanted)
    found: dict[str, tuple[Job, Submission]] = {}
    for submission in reversed(submissions(results_dir)):
        if not left:
            break
        jobs = read_jobs(submission.folder)
        own = {job_id: (job, submission) for job_id, job in jobs.items() if job_id in left}
        found |= own
        left -= own.keys()
    return found


def settled(submission: Submission, job_ids: Iterable[str], attempts: Mapping[str, int]) -> set[str]:
    """Return the ids of the jobs that have been run since the submission, whatever came of them.

    Args:
        submission: Whose jobs.
        job_ids: Which of them.
        attempts: Records per job now.
    """
    return {job_id for job_id in job_ids if attempts.get(job_id, 0) > submission.known.get(job_id, 0)}


@functools.lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Submission]:
    return TypeAdapter(Submission)


@functools.lru_cache(maxsize=1)
def _jobs_adapter() -> TypeAdapter[list[Job]]:
    return TypeAdapter(list[Job])


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
