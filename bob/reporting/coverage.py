"""What was asked for and what is there: jobs by status, and what to do about those without a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from bob.jobs.row import STATUSES
from bob.reporting.report_data import Coverage, Reason
from bob.reporting.select import Row

NOT_RUN = "not run"
_BY_CLASS = {
    "WeightsMissingError": "bring the weights: 'bob fetch SUITE' where there is a network, or --weights FOLDER",
    "WeightsError": "the file is not the checkpoint its name says: delete it, then 'bob fetch SUITE'",
    "DataMissingError": "bring the data: 'bob fetch SUITE' where there is a network, or --data FOLDER",
    "DataTooSmallError": "take more pictures, a greater budget, or a protocol that needs fewer",
    "DataError": "look at the pictures that the message names, then run the suite again",
    "NumericalError": "the loss or score was not finite: 'bob show JOB' has the settings and the log",
}
_SAID_BRIEFLY = {"WeightsMissingError": "no weights source on this machine has the checkpoint"}
_BY_STATUS = {
    "oom": "the smallest micro-batch did not fit: use a device with more memory, or --set image_size=N",
    "timeout": "raise timeout_min in the suite, or give the suite a faster device",
    "failed": "'bob show JOB' has the message and the log; running the suite again tries once more",
    "skipped": "running the suite again looks once more",
    NOT_RUN: "run the suite again: it runs what is missing",
}


def measure_coverage(rows: Sequence[Row], expected: Sequence[Row] | None, damaged: Mapping[str, str]) -> Coverage:
    """Count jobs by status and group the reasons of those without a score.

    Args:
        rows: The report's rows.
        expected: The planned jobs (``job_id``, ``backbone``), if the plan is known.
        damaged: Files of the store that were set aside.
    """
    have = {row["job_id"] for row in rows}
    missing = [job for job in expected or () if job["job_id"] not in have]
    counted = Counter(str(row["status"]) for row in rows)
    counts = {status: counted[status] for status in STATUSES if counted[status]}
    if missing:
        counts[NOT_RUN] = len(missing)
    grouped: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["status"] != "ok":
            grouped.setdefault(_reason(row), []).append(row)
    if missing:
        grouped[NOT_RUN, "planned, but there is no row yet", _BY_STATUS[NOT_RUN]] = missing
    reasons = [_as_reason(key, members) for key, members in grouped.items()]
    return Coverage(
        counts=counts,
        reasons=tuple(sorted(reasons, key=lambda reason: (-reason.jobs, reason.status, reason.what))),
        damaged=dict(damaged),
    )


def _reason(row: Row) -> tuple[str, str, str]:
    status = str(row["status"])
    kind = str(row.get("error_class") or "")
    message, _, hint = str(row.get("error_message") or row.get("error") or "no message").partition("\n")
    # One reason per kind of error and not per backbone: the name is in the next column, the places are in the row.
    if kind in _SAID_BRIEFLY:
        return status, _SAID_BRIEFLY[kind], _BY_CLASS[kind]
    what = message.replace(f"'{row.get('backbone')}'", "this backbone").strip()
    return (
        status,
        f"{kind}: {what}" if kind and not what.startswith(kind) else what,
        _action(status, kind, hint.strip()),
    )


def _action(status: str, kind: str, hint: str) -> str:
    return hint.splitlines()[0] if hint else _BY_CLASS.get(kind) or _BY_STATUS[status]


def _as_reason(key: tuple[str, str, str], rows: Sequence[Row]) -> Reason:
    status, what, action = key
    backbones = tuple(sorted({str(row.get("backbone") or "?") for row in rows}))
    return Reason(status=status, what=what, action=action, jobs=len(rows), backbones=backbones)
