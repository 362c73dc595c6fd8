"""Which rows stay: one per job, and none that a later row of its cell has settled. Imports pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from bob.store.columns import merged, rows_to_table
from bob.store.layout import RecordName
from bob.store.table import Folded

_KEYS = ("job_id", "attempt", "status", "cell", "finished_at")


@dataclass(frozen=True)
class _Key:
    """What decides about a row, and where it stands."""

    name: RecordName
    cell: str | None
    finished_at: str | None
    place: int

    @property
    def settling(self) -> tuple[bool, str, str]:
        """The order within a cell: what ran comes after what was skipped, then the later, then any fixed order."""
        return (self.name.status != "skipped", self.finished_at or "", self.name.job_id)


def add_rows(folded: Folded, rows: Sequence[dict[str, Any]]) -> Folded:
    """Return the table with the records' rows folded in.

    The outcome does not depend on the order of the records or on how often this is called.
    """
    if not rows:
        return folded
    old = _keys(zip(*(folded.table[name].to_pylist() for name in _KEYS), strict=True))
    new = _keys((tuple(row.get(name) for name in _KEYS) for row in rows), start=len(old))
    places = sorted(key.place for key in _settled(_one_per_job([*old, *new])))
    kept_old = [place for place in places if place < len(old)]
    # Types come from the rows that stay, so that the table is the same however the records were folded.
    kept_new = [rows[place - len(old)] for place in places[len(kept_old) :]]
    table = merged(folded.table.take(pa.array(kept_old, pa.int64())), rows_to_table(kept_new))
    return Folded(table=table, covered=folded.covered | {key.name.file for key in new})


def _keys(values: Iterable[tuple[Any, ...]], *, start: int = 0) -> list[_Key]:
    return [
        _Key(RecordName(job_id, attempt, status), cell, finished_at, place)
        for place, (job_id, attempt, status, cell, finished_at) in enumerate(values, start)
    ]


def _one_per_job(keys: Sequence[_Key]) -> list[_Key]:
    best: dict[str, _Key] = {}
    for key in keys:
        known = best.get(key.name.job_id)
        if known is None or key.name.rank > known.name.rank:
            best[key.name.job_id] = key
    return list(best.values())


def _settled(keys: Sequence[_Key]) -> list[_Key]:
    """Drop ``skipped`` rows whose cell has a row of another job: one that ran, or a later skip.

    The weights or data that were missing arrived, which gave the job another id.
    """
    best: dict[str, _Key] = {}
    for key in keys:
        if key.cell and (key.cell not in best or key.settling > best[key.cell].settling):
            best[key.cell] = key
    return [key for key in keys if key.name.status != "skipped" or not key.cell or best[key.cell] is key]
