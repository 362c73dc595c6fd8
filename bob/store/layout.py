"""Where the store's files lie and how they are named; everything that is known from names alone."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bob.core.errors import StoreError
from bob.core.files import temporary_name
from bob.jobs.row import STATUSES

_RECORD = re.compile(r"(?P<job>[A-Za-z0-9_-]{2,64})\.(?P<attempt>\d{3,})\.(?P<status>[a-z]+)\.json")
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{2,64}")
TEMPORARY_PREFIX = ".tmp-"
WORK = "work"
# What the store writes; work and logs are the jobs' own.
STORED = ("records", "claims", "outcomes", "sheets", "profiles", "damaged", "leases", "report")
FOLDERS = (*STORED, "logs", WORK, "starts", "cancelled", "runners", "submissions")


@dataclass(frozen=True, order=True)
class RecordName:
    """What a record's file name says.

    Attributes:
        job_id: The job.
        attempt: Its number, from 1; no two attempts at a job share one.
        status: How the attempt ended.
    """

    job_id: str
    attempt: int
    status: str

    @property
    def file(self) -> str:
        """The file name."""
        return f"{self.job_id}.{self.attempt:03d}.{self.status}.json"

    @property
    def rank(self) -> tuple[bool, int]:
        """The order among attempts at one job: the greatest is its row (the first ``ok``, else the latest)."""
        return (True, -self.attempt) if self.status == "ok" else (False, self.attempt)


def parse_record(file: str) -> RecordName | None:
    """Read a record's file name; None if it is not one."""
    match = _RECORD.fullmatch(file)
    if match is None or match["status"] not in STATUSES:
        return None
    return RecordName(match["job"], int(match["attempt"]), match["status"])


def checked_job_id(job_id: str) -> str:
    """Return the id if it may be part of a file name.

    Raises:
        StoreError: It may not.
    """
    if not isinstance(job_id, str) or not _JOB_ID.fullmatch(job_id):
        raise StoreError(f"job_id {job_id!r} is not 2 to 64 letters, digits, '-' or '_'.")
    return job_id


@dataclass(frozen=True)
class Layout:
    """The folders of one store.

    Attributes:
        root: The results folder.
    """

    root: Path

    @property
    def table(self) -> Path:
        """The folded table."""
        return self.root / "results.parquet"

    @property
    def records(self) -> Path:
        """The attempts' records."""
        return self.root / "records"

    @property
    def profiles(self) -> Path:
        """Profiles that were taken again after rows had them."""
        return self.root / "profiles"

    @property
    def damaged(self) -> Path:
        """Files that could not be read, set aside."""
        return self.root / "damaged"

    @property
    def fold_lease(self) -> Path:
        """The lease of whoever folds."""
        return self.root / "leases" / "fold.lease"

    def record(self, name: RecordName) -> Path:
        """Return a record's path."""
        return self.records / name.job_id[:2] / name.file

    def claim(self, job_id: str, attempt: int) -> Path:
        """Return the path of the empty file that reserves an attempt's number."""
        return self.root / "claims" / job_id[:2] / f"{job_id}.{attempt:03d}"

    def outcomes(self, job_id: str, attempt: int) -> Path:
        """Return the path of an attempt's outcomes."""
        return self.root / "outcomes" / job_id[:2] / f"{job_id}.{attempt:03d}.parquet"

    @property
    def sheets(self) -> Path:
        """Contact sheets."""
        return self.root / "sheets"

    def sheet(self, job_id: str) -> Path:
        """Return the path of a job's contact sheet."""
        return self.sheets / f"{checked_job_id(job_id)}.png"

    def own(self, path: Path) -> Path:
        """Return a path that is about to be written, moved or cleared, having made sure that its folder is the store's.

        Raises:
            StoreError: A link in the results folder leads out of it.
        """
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise StoreError(
                f"{path.parent} leads out of the results folder {self.root}, to {path.parent.resolve()}: nothing is "
                "written there.",
                hint="Remove the link that leads there, or name the folder you mean with --results DIR.",
            )
        return path

    def refuse_links(self) -> None:
        """Make sure that none of the store's folders, nor a job's work, is a link out of it.

        Raises:
            StoreError: One is.
        """
        for folder in FOLDERS:
            self.own(self.root / folder / "any")
        for name in entries(self.root / WORK):
            self.own(self.root / WORK / name / "any")

    def names(self) -> Iterator[RecordName]:
        """Yield the name of every record, in no order; temporary files are none."""
        for folder in entries(self.records):
            for file in entries(self.records / folder):
                name = parse_record(file)
                if name is not None:
                    yield name

    def refresh(self, job_id: str) -> None:
        """Have the folder of a job's records listed anew: a change of one's own drops what NFS remembers of it."""
        probe = temporary_name(self.own(self.records / checked_job_id(job_id)[:2] / "look"))
        # No folder, no record; and where nothing can be written, nobody waits for the newest.
        with contextlib.suppress(OSError):
            probe.touch()
            probe.unlink()

    def names_of(self, job_id: str) -> list[RecordName]:
        """Return the names of one job's records, by attempt."""
        names = map(parse_record, entries(self.records / checked_job_id(job_id)[:2]))
        return sorted(name for name in names if name is not None and name.job_id == job_id)


def entries(folder: Path) -> list[str]:
    """Return the names in a folder; none if there is no such folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all we need, and Path objects cost ten times as much
    except (FileNotFoundError, NotADirectoryError):
        return []
