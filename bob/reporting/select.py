"""Which rows a report is about, and whether they may stand in one table."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bob.core.errors import BobError

log = logging.getLogger(__name__)

Row = Mapping[str, Any]

SAME_ON_A_BOARD = (
    "metric",
    "task_version",
    "dataset_fingerprint",
    "others",
    "protocol_params",
    "plugin_code",
    "budget",
    "resolution",
)
SWEPT = ("protocol_params", "budget")
# A fixed input size is rounded to a model's patch or window (126 px for 128 at patch 14), never by more than this.
ROUNDING_PX = 32


@dataclass(frozen=True)
class Group:
    """Rows that make one board.

    Attributes:
        key: Task, data set, protocol.
        variant: What tells it from the other boards of that key; empty if it is alone.
        rows: Its finished rows, one per backbone and seed.
        notes: What was mixed or left out, in words.
    """

    key: tuple[str, str, str]
    variant: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def choose_rows(rows: Sequence[Row], *, suite: str | None, expected: Sequence[Row] | None) -> list[Row]:
    """Return the rows of the planned jobs if a plan is given, else those of the suite, else all.

    Raises:
        BobError: The rows are of several suites and none was named.
    """
    if expected is not None:
        planned = {job["job_id"] for job in expected}
        return [row for row in rows if row["job_id"] in planned]
    if suite is not None:
        return [row for row in rows if row.get("suite") == suite]
    return list(rows)


def group_rows(rows: Iterable[Row], *, mix: bool) -> list[Group]:
    """Split the finished rows into boards.

    Rows of one task, data set and protocol that differ in parameters or budget become boards of their own if every
    backbone has been through each of them (a sweep); any other difference is an error unless ``mix`` is set.

    Raises:
        BobError: The rows of a board differ in what they must share; the message lists the values.
    """
    by_key: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row["status"] == "ok":
            by_key.setdefault((row["task"], row["dataset"], row["protocol"]), []).append(row)
    groups = []
    for key, members in sorted(by_key.items()):
        groups += [_group(key, variant, part, mix) for variant, part in _variants(members, mix)]
    return groups


def _variants(rows: list[Row], mix: bool) -> list[tuple[str, list[Row]]]:
    differing = [name for name in SWEPT if len({row.get(name) for row in rows}) > 1]
    if mix or not differing:
        return [("", rows)]
    parts: dict[str, list[Row]] = {}
    for row in rows:
        parts.setdefault(", ".join(str(row.get(name)) for name in differing), []).append(row)
    backbones = {row["backbone"] for row in rows}
    is_sweep = all({row["backbone"] for row in part} == backbones for part in parts.values())
    return sorted(parts.items()) if is_sweep else [("", rows)]


def _group(key: tuple[str, str, str], variant: str, rows: list[Row], mix: bool) -> Group:
    differences = find_differences(rows)
    if differences and not mix:
        lines = "; ".join(f"{name}: {' | '.join(values)}" for name, values in differences.items())
        raise BobError(
            f"the rows of {' / '.join(key)} were made under different circumstances and do not belong in one table: "
            f"{lines}.",
            hint="Name the suite ('bob report SUITE') to keep only the rows of its plan, or give --mix to rank them "
            "together all the same.",
        )
    notes = [f"mixed rows: {name} is {' | '.join(values)}" for name, values in differences.items()]
    kept, dropped = _newest(rows)
    if dropped:
        notes.append(
            f"left out, for a newer row of the same backbone and seed stands in for it ({len(dropped)} rows): "
            + ", ".join(sorted({row["backbone"] for row in dropped}))
        )
    return Group(key=key, variant=variant, rows=tuple(kept), notes=tuple(notes))


def find_differences(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Return the columns in which rows of one board differ although they must not, with their values."""
    found = {name: _values(rows, name) for name in SAME_ON_A_BOARD}
    for name in ("hardware_class", "profile_device"):
        found[name] = _values([row for row in rows if row.get(name)], name)
    asked = "requested_precision" if all(row.get("requested_precision") for row in rows) else "precision"
    found[asked] = _values(rows, asked)
    is_native = any(row.get("resolution") == "native" for row in rows)
    for name in ("image_size", "input_height", "input_width"):
        sizes = [int(row[name]) for row in rows if row.get(name) is not None]
        if sizes and not is_native and max(sizes) - min(sizes) >= ROUNDING_PX:
            found[name] = [f"{size} px" for size in sorted(set(sizes))]
    for backbone in {row["backbone"] for row in rows}:
        # One name means one set of weights: seeds of two checkpoints are no seeds of one backbone.
        own = _values([row for row in rows if row["backbone"] == backbone], "weights_sha256")
        if len(own) > 1:
            found["weights_sha256"] = [f"{backbone}: {value[:12]}" for value in own]
    return {name: values for name, values in found.items() if len(values) > 1}


def _values(rows: Sequence[Row], name: str) -> list[str]:
    return sorted({str(row.get(name)) for row in rows})


def _newest(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    latest: dict[tuple[str, Any], Row] = {}
    dropped = []
    for row in sorted(rows, key=lambda row: (str(row.get("finished_at") or ""), row["job_id"])):
        older = latest.pop((row["backbone"], row.get("seed")), None)
        if older is not None:
            dropped.append(older)
        latest[row["backbone"], row.get("seed")] = row
    return list(latest.values()), dropped
