"""Profiles that were taken again after rows had been written with a disturbed one. The fold puts them into the rows.

A row is written once. A latency that another process doubled would stand in it for ever, though its job, which is done,
has no reason to run again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bob.core.files import canonical_json, read_regular, write_text
from bob.jobs.cost_columns import PROFILE_TIMES, PROFILE_TRAINING
from bob.jobs.row import BY_NAME
from bob.store.layout import Layout, entries
from bob.store.records import DamagedError, set_aside

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_NAME = re.compile(r"(?P<key>[a-z]+-[0-9a-f]{16})\.(?P<taken>\d{4}-\d\d-\d\dT\d{6}Z)\.json")
KEY, TAKEN, MICRO_BATCH = "profile_key", "profile_taken_at", "micro_batch"
AMENDED = (*PROFILE_TIMES, *PROFILE_TRAINING)
MOST = 2**53  # floats hold no greater whole number exactly


def is_amendment(file: str) -> bool:
    """Tell whether a file name is an amendment's."""
    return _NAME.fullmatch(file) is not None


def names(layout: Layout) -> set[str]:
    """Return the file names of the amendments that a store has."""
    return set(filter(is_amendment, entries(layout.profiles)))


def file_name(key: str, figures: Mapping[str, Any]) -> str:
    """Return the file name of a profile that replaces an earlier one of the same address."""
    return f"{key}.{figures[TAKEN].replace(':', '')}.json"


def write(layout: Layout, key: str, figures: Mapping[str, Any]) -> None:
    """Keep a profile that replaces an earlier one of the same address, durably."""
    kept = {column: figures.get(column) for column in AMENDED}
    write_text(layout.own(layout.profiles / file_name(key, figures)), canonical_json(kept))


def read_all(layout: Layout, files: Iterable[str]) -> tuple[dict[str, dict[str, Any]], set[str]]:
    """Return the latest amendment of each profile's address, and the names of the files that could be read.

    What is damaged is set aside with a warning.
    """
    latest: dict[str, dict[str, Any]] = {}
    read: set[str] = set()
    for file in sorted(files):  # by address, then by time
        path = layout.profiles / file
        try:
            latest[file.partition(".")[0]] = _figures(file, read_regular(path))
            read.add(file)
        except DamagedError as error:
            set_aside(layout, path, str(error), then="the rows keep the profile that they had")
        except OSError as error:
            log.warning("%s cannot be read and is left out: %s.", path, error)
    return latest, read


def _figures(file: str, content: bytes) -> dict[str, Any]:
    try:
        figures = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not JSON ({error})") from error
    if not isinstance(figures, dict) or not isinstance(figures.get(TAKEN), str):
        raise DamagedError(f"it is no profile with {TAKEN}")
    if file_name(file.partition(".")[0], figures) != file:
        raise DamagedError(f"its content says {TAKEN} {figures[TAKEN]!r}"[:200])
    return {column: _value(column, figures.get(column)) for column in AMENDED}


def _value(column: str, value: Any) -> Any:
    """Return a value as its column holds it.

    Raises:
        DamagedError: It is of another type, or no finite number.
    """
    dtype = BY_NAME[column].dtype
    if value is None:
        return None
    if dtype == "float64" and type(value) in (int, float) and abs(value) < MOST:
        return float(value)
    if dtype == "int64" and type(value) is int and abs(value) < MOST:
        return value
    if (dtype == "bool" and type(value) is bool) or (dtype == "string" and type(value) is str):
        return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
    raise DamagedError(f"{column} is {value!r:.80}")


def amended(table: pa.Table, profiles: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Return the rows with the times of the profiles, wherever a row has an earlier one of the same address.

    The training rate of a job that trained is its own (it has a ``micro_batch``), and stays.
    """
    from bob.store.columns import column_of

    if not {KEY, MICRO_BATCH, *AMENDED} <= set(table.column_names):  # an earlier version's, without a row of this one
        return table
    newer = [
        profiles[key] if key in profiles and (taken or "") < profiles[key][TAKEN] else None
        for key, taken in zip(table[KEY].to_pylist(), table[TAKEN].to_pylist(), strict=True)
    ]
    if not any(newer):
        return table
    trained = [batch is not None for batch in table[MICRO_BATCH].to_pylist()]
    for column in AMENDED:
        values = [
            old if profile is None or (own and column in PROFILE_TRAINING) else profile[column]
            for old, profile, own in zip(table[column].to_pylist(), newer, trained, strict=True)
        ]
        table = table.set_column(table.schema.get_field_index(column), column, column_of(column, values))
    return table
