"""Writing and reading single records; setting aside what cannot be read."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bob.core.errors import StoreError
from bob.core.files import read_regular, temporary_name, write_bytes, write_text
from bob.jobs.row import ROW_SCHEMA_VERSION
from bob.store.layout import Layout, RecordName

log = logging.getLogger(__name__)

REASON_SUFFIX = ".reason"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


class DamagedError(Exception):
    """A file of the store whose content is not what its name says."""


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn a failed write below ``path`` into an error that says what to do next.

    Raises:
        StoreError: The block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if error.errno in _FULL:
            hint = "Free some space, then give the same command again: what is finished is kept."
        elif error.errno in _READ_ONLY:
            hint = f"Make {path} writable (ls -ld {path}), or choose another folder with --results DIR."
        else:
            hint = f"Check the disk that holds {path} (df -h {path}), then give the same command again."
        raise StoreError(f"{where} cannot be written: {error.strerror or error}.", hint=hint) from error


def claim_attempt(layout: Layout, job_id: str) -> int:
    """Reserve the next number of a job, which no other process on any host can get as well."""
    known = layout.names_of(job_id)
    attempt = known[-1].attempt + 1 if known else 1
    while True:
        path = layout.own(layout.claim(job_id, attempt))
        try:
            os.close(_open_new(path))
            return attempt
        except FileExistsError:
            attempt += 1


def _open_new(path: Path) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        return os.open(path, flags, 0o644)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o644)


def write_record(layout: Layout, name: RecordName, row: Mapping[str, Any]) -> None:
    """Write a record durably; the number is claimed, so no other writer has this name."""
    text = json.dumps(row, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    write_bytes(layout.own(layout.record(name)), text.encode(errors="backslashreplace"))


def read_record(layout: Layout, name: RecordName) -> dict[str, Any] | None:
    """Return a record's row, None if it is gone meanwhile.

    Raises:
        DamagedError: The file is truncated, not JSON, or not the record that its name says.
        StoreError: A newer version of BoB wrote it.
    """
    path = layout.record(name)
    try:
        row = json.loads(read_regular(path))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise DamagedError(f"it holds a {type(row).__name__}, not a row")
    _check_version(path, row.get("schema_version"))
    said = (row.get("job_id"), row.get("attempt"), row.get("status"))
    if said != (name.job_id, name.attempt, name.status):
        raise DamagedError(f"its content says job, attempt, status {said}")
    if any(isinstance(value, dict | list) for value in row.values()):
        raise DamagedError("it is not a flat row")
    return row


def _check_version(path: Path, version: Any) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise DamagedError(f"its schema_version is {version!r}, not a number from 1")
    refuse_newer(path, version)


def refuse_newer(path: Path, version: int) -> None:
    """Raise a StoreError if ``path`` was written under a newer schema than this version of BoB knows."""
    if version > ROW_SCHEMA_VERSION:
        raise StoreError(
            f"{path} has row schema {version}, and this version of BoB reads up to {ROW_SCHEMA_VERSION}.",
            hint="Upgrade BoB (git pull && make test), then give the same command again. Nothing was changed.",
        )


def read_all(layout: Layout, names: Iterable[RecordName]) -> list[dict[str, Any]]:
    """Return the rows of the records, setting damaged ones aside with a warning."""
    rows = []
    for name in names:
        try:
            row = read_record(layout, name)
        except DamagedError as error:
            set_aside(layout, layout.record(name), str(error))
            continue
        except OSError as error:
            log.warning("%s cannot be read and is left out: %s.", layout.record(name), error)
            continue
        if row is not None:
            rows.append(row)
    return rows


def set_aside(layout: Layout, path: Path, reason: str, *, then: str = "its job will run again") -> None:
    """Move a damaged file to ``damaged/``, its reason beside it; on a read-only store only warn."""
    log.warning("%s is damaged: %s. It is set aside in %s, and %s.", path, reason, layout.damaged, then)
    target = layout.damaged / path.name
    if target.exists():
        target = target.with_name(f"{temporary_name(target).name.removeprefix('.tmp-')}")
    try:
        layout.own(path), layout.own(target)
        layout.damaged.mkdir(exist_ok=True)
        path.rename(target)
        write_text(target.with_name(target.name + REASON_SUFFIX), reason + "\n")
    except FileNotFoundError:
        log.debug("%s was set aside by another process.", path)
    except (OSError, StoreError) as error:
        log.warning("%s could not be set aside: %s.", path, error)
