"""Which rows stay: one per job, and none that a later row of its cell has settled."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bob.store.layout import RecordName

if TYPE_CHECKING:
    from bob.store.table import Folded


def name_of(row: Mapping[str, Any]) -> RecordName:
    """Return the record name of a row."""
    return RecordName(row["job_id"], row["attempt"], row["status"])


def add_records(folded: Folded, rows: Iterable[dict[str, Any]]) -> None:
    """Fold new rows in, in place. The result does not depend on the order or on how often this is called."""
    for row in rows:
        name = name_of(row)
        folded.covered.add(name.file)
        known = folded.rows.get(name.job_id)
        if known is None or name.rank > name_of(known).rank:
            folded.rows[name.job_id] = {column: value for column, value in row.items() if value is not None}
    _drop_settled(folded.rows)


def _drop_settled(rows: dict[str, dict[str, Any]]) -> None:
    """Drop ``skipped`` rows whose cell has a row of another job: one that ran, or a later skip.

    The weights or data that were missing arrived, which gave the job another id.
    """
    best: dict[str, dict[str, Any]] = {}
    for row in rows.values():
        cell = row.get("cell")
        if cell and (cell not in best or _settling(row) > _settling(best[cell])):
            best[cell] = row
    for job_id, row in list(rows.items()):
        winner = best.get(row.get("cell", ""))
        if row["status"] == "skipped" and winner is not None and winner["job_id"] != job_id:
            del rows[job_id]


def _settling(row: Mapping[str, Any]) -> tuple[bool, str, str]:
    return (row["status"] != "skipped", str(row.get("finished_at") or ""), row["job_id"])
