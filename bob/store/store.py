"""The store as the rest of BoB sees it: append rows, ask for statuses, fold, load."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob.core.errors import StoreError
from bob.core.files import write_bytes
from bob.core.lease import Lease, holding
from bob.store import amendments
from bob.store.layout import STORED, TEMPORARY_PREFIX, Layout, RecordName, checked_job_id
from bob.store.records import (
    REASON_SUFFIX,
    DamagedError,
    claim_attempt,
    explained,
    read_all,
    read_record,
    set_aside,
    write_record,
)
from bob.store.values import clean_row

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from bob.store.table import Folded

log = logging.getLogger(__name__)

FOLD_EVERY_S = 10.0
FOLD_WAIT_S = 20.0
LEFTOVER_AGE_S = 24 * 3600.0
MAX_REASON = 2000
LEASE_SUFFIX = ".lease"


class ResultStore:
    """The results of any number of suites in one folder, written by any number of processes on any number of hosts.

    Args:
        results_dir: The folder; it is made at the first write.
    """

    def __init__(self, results_dir: Path | str) -> None:
        self.layout = Layout(Path(results_dir))

    def append(
        self,
        row: Mapping[str, Any],
        outcomes: Mapping[str, np.ndarray] | None = None,
        replicates: np.ndarray | None = None,
    ) -> None:
        """Keep one attempt, durably: when this returns, no crash loses it.

        Args:
            row: Values by column name (``bob.jobs.row.COLUMNS``; others are a plug-in's). ``job_id`` and ``status`` are
                needed; ``attempt`` and ``schema_version`` are set here.
            outcomes: Columns of equal length, an entry per test sample; written before the record is.
            replicates: (resamples,) the score on resampled test sets, kept with the outcomes; needs them.

        Raises:
            StoreError: A value does not fit, or the folder cannot be written.
        """
        job_id = checked_job_id(row.get("job_id", ""))
        values = clean_row(row)
        if replicates is not None and outcomes is None:
            raise StoreError(f"the replicates of job {job_id} have no outcomes to stand beside.")
        with explained(self.layout.root):
            attempt = claim_attempt(self.layout, job_id)
            if outcomes is not None:
                from bob.store.outcomes import write_outcomes

                write_outcomes(self.layout.own(self.layout.outcomes(job_id, attempt)), outcomes, replicates)
            name = RecordName(job_id, attempt, values["status"])
            try:
                write_record(self.layout, name, {**values, "attempt": attempt})
            except OSError:
                # Outcomes of a row that does not exist are read by nobody, and the disk may be full.
                if not self.layout.record(name).exists():
                    with contextlib.suppress(OSError):
                        self.layout.outcomes(job_id, attempt).unlink()
                raise

    def keep_sheet(self, job_id: str, png: bytes) -> str:
        """Keep a job's contact sheet, durably; call it before ``append``. Return its path relative to the folder.

        Raises:
            StoreError: The folder cannot be written.
        """
        path = self.layout.own(self.layout.sheet(job_id))
        with explained(self.layout.root):
            write_bytes(path, png)
        return path.relative_to(self.layout.root).as_posix()

    def amend_profile(self, key: str, figures: Mapping[str, Any]) -> None:
        """Put a profile that was taken again into the rows that have the earlier one, from the next fold on.

        Args:
            key: The profile's address, the rows' ``profile_key``.
            figures: Its columns.

        Raises:
            StoreError: The folder cannot be written.
        """
        with explained(self.layout.root):
            amendments.write(self.layout, key, figures)

    def statuses(self) -> dict[str, str]:
        """Return the status of every job by id, from file names alone."""
        best: dict[str, RecordName] = {}
        for name in self.layout.names():
            known = best.get(name.job_id)
            if known is None or name.rank > known.rank:
                best[name.job_id] = name
        return {job_id: name.status for job_id, name in best.items()}

    def attempts(self, job_id: str, *, fresh: bool = False) -> int:
        """Return how many attempts at a job left a record.

        Args:
            job_id: The job.
            fresh: See also what another host has just written, which a network file system may hide for half a minute.
        """
        if fresh:
            self.layout.refresh(job_id)
        return len(self.layout.names_of(job_id))

    def record(self, job_id: str) -> dict[str, Any]:
        """Return the one row of a job: its first ``ok``, else its latest attempt.

        Raises:
            StoreError: The store has no readable record of the job.
        """
        for name in sorted(self.layout.names_of(job_id), key=lambda name: name.rank, reverse=True):
            rows = read_all(self.layout, [name])
            if rows:
                return rows[0]
        raise StoreError(
            f"{self.layout.root} has no record of job {job_id!r}.", hint="'bob status' shows the jobs there are."
        )

    def outcomes(self, job_id: str, columns: Collection[str] | None = None) -> pd.DataFrame | None:
        """Return the outcome of every test sample of a job's row, or the columns named; None if it left none.

        ``attrs["replicates"]``: float64, the score on resampled test sets, where the job left them.
        """
        from bob.store.outcomes import read_outcomes

        names = self.layout.names_of(job_id)
        if not names:
            return None
        path = self.layout.outcomes(job_id, max(names, key=lambda name: name.rank).attempt)
        try:
            return read_outcomes(path, columns)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            set_aside(self.layout, path, str(error))
            return None

    def damaged(self) -> dict[str, str]:
        """Return the files that were set aside because they could not be read, each with the reason."""
        if not self.layout.damaged.is_dir():
            return {}
        paths = [p for p in sorted(self.layout.damaged.iterdir()) if p.suffix != REASON_SUFFIX and p.name[0] != "."]
        reasons = {p: p.with_name(p.name + REASON_SUFFIX) for p in paths}
        return {path.name: _reason(why) for path, why in reasons.items()}

    def refuse_newer(self) -> None:
        """Look at what has not been folded yet, changing nothing, so that no job runs in vain.

        Raises:
            StoreError: The folder holds rows of a newer version of BoB.
        """
        covered: set[str] = set()
        if self.layout.table.exists():  # a new store needs no pyarrow for this, which is 30 MB in every runner
            from bob.store.table import read_folded

            with contextlib.suppress(FileNotFoundError, DamagedError):
                covered = read_folded(self.layout.table).covered
        for name in self.layout.names():
            if name.file not in covered:
                # What is damaged is set aside, and said, when the table is folded.
                with contextlib.suppress(DamagedError, OSError):
                    read_record(self.layout, name)

    def fold(self, *, force: bool = False) -> Path:
        """Bring results.parquet up to date and return its path.

        Without ``force`` this does nothing if it was done in the last ``FOLD_EVERY_S`` seconds or another process
        is at it. With it, the table covers every record that was there at the call.

        Raises:
            StoreError: The folder cannot be written, or holds rows of a newer version of BoB.
        """
        with explained(self.layout.root):
            if not force:
                self._fold_if_due()
                return self.layout.table
            self._fold_now()
        return self.layout.table

    def load(self) -> pd.DataFrame:
        """Return one row per job with every column, typed; the table is folded first if records are missing from it.

        On a store that cannot be written the rows are put together in memory.

        Raises:
            StoreError: The folder does not exist or holds rows of a newer version of BoB.
        """
        from bob.store.table import to_pandas

        self._refuse_missing()
        folded = self._read_table()
        present = {name.file for name in self.layout.names()} | amendments.names(self.layout)
        if folded is None or folded.covered != present:
            try:
                with explained(self.layout.root):
                    folded = self._fold_now()
            except StoreError as error:
                if not isinstance(error.__cause__, OSError):
                    raise
                log.warning("The table is put together in memory, for it could not be written: %s", error.message)
                folded, _ = self._current()
        return to_pandas(folded)

    def _refuse_missing(self) -> None:
        if not self.layout.root.is_dir():
            raise StoreError(
                f"results folder {str(self.layout.root)!r} does not exist.",
                hint="'bob run SUITE --results DIR' makes one; 'bob list suites' shows the suites.",
            )

    def _fold_if_due(self) -> None:
        lease = Lease.try_take(self.layout.own(self.layout.fold_lease))
        if lease is None:
            return
        with lease:
            # By the file system's clock on both sides: the clocks of hosts differ, and jump.
            folded_at = _mtime(self.layout.table)
            if folded_at is None or abs(lease.seen_at() - folded_at) >= FOLD_EVERY_S:
                self._fold(lease)

    def _fold_now(self) -> Folded:
        try:
            with holding(self.layout.own(self.layout.fold_lease), timeout_s=FOLD_WAIT_S) as lease:
                self._remove_leftovers(now=lease.seen_at())
                return self._fold(lease)
        except TimeoutError:
            log.warning("Another process has been folding for %.0f s; folding beside it.", FOLD_WAIT_S)
            return self._fold(None)

    def _fold(self, lease: Lease | None) -> Folded:
        from bob.store.table import write_table

        folded, is_new = self._current()
        if not is_new:
            return folded
        if lease is not None and not lease.held():
            # Whoever took over may have written a newer table; what theirs lacks the next fold sees by its metadata.
            log.warning("The fold of %s was taken over by another process.", self.layout.table)
            return folded
        write_table(self.layout.table, folded)
        return folded

    def _current(self) -> tuple[Folded, bool]:
        """Return the table of all records, and whether that differs from the file's."""
        from bob.store.fold import add_rows
        from bob.store.table import Folded

        names = {name.file: name for name in self.layout.names()}
        profiles = amendments.names(self.layout)
        folded = self._read_table()
        # A record that the table covers and that is gone was removed by hand, for its job to run again.
        is_rebuilt = folded is None or not folded.covered <= names.keys() | profiles
        if folded is None or is_rebuilt:
            folded = Folded()
        is_new = is_rebuilt or not names.keys() | profiles <= folded.covered
        if not is_new:
            return folded, False
        folded = add_rows(
            folded, read_all(self.layout, [names[file] for file in sorted(names.keys() - folded.covered)])
        )
        if profiles:
            figures, read = amendments.read_all(self.layout, profiles)
            folded = Folded(table=amendments.amended(folded.table, figures), covered=folded.covered | read)
        return folded, True

    def _read_table(self) -> Folded | None:
        from bob.store.table import read_folded

        try:
            return read_folded(self.layout.table)
        except FileNotFoundError:
            return None
        except DamagedError as error:
            set_aside(self.layout, self.layout.table, str(error))
            return None

    def _remove_leftovers(self, *, now: float) -> None:
        """Remove temporary files and leases that a killed writer left, once they are too old to be anyone's.

        A lease that somebody holds is touched every few seconds.

        Args:
            now: In seconds, on the file system's clock.
        """
        for folder, folders, files in os.walk(self.layout.root):
            at_root = Path(folder) == self.layout.root
            if at_root:  # what else lies there, in a home folder say, is not ours
                folders[:] = [name for name in folders if name in STORED]
                files = [file for file in files if file.endswith(self.layout.table.name)]
            # Names first: a Path for each of all the store's files took two thirds of a fold.
            passing = [file for file in files if file.startswith(TEMPORARY_PREFIX) or file.endswith(LEASE_SUFFIX)]
            for path in (Path(folder) / file for file in passing):
                written_at = _mtime(path)
                if written_at is not None and now - written_at > LEFTOVER_AGE_S:
                    path.unlink(missing_ok=True)


def _reason(path: Path) -> str:
    """Return why a file was set aside. A link is not followed: it may lead to what no report should show."""
    if path.is_symlink() or not path.is_file():
        return "unknown"
    return path.read_bytes()[:MAX_REASON].decode(errors="replace").strip()


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def load_results(path: Path | str = "results") -> pd.DataFrame:
    """Return the results in a folder, one row per job; docs/results.md explains the columns.

    ``frame.attrs["results"]`` is the folder, for whatever is made of the rows later.

    Raises:
        StoreError: The folder does not exist or holds rows of a newer version of BoB.
    """
    rows = ResultStore(Path(path).expanduser()).load()
    rows.attrs["results"] = str(path)
    return rows
