"""Profiles that were taken again after rows had been written with a disturbed one. The fold puts them into the rows.

A row is written once. A latency that another process doubled would stand in it for ever, though its job, which is done,
has no reason to run again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from bob.core.files import canonical_json, read_regular, write_text
from bob.jobs.cost_columns import PROFILE_TIMES
from bob.store.layout import Layout, entries
from bob.store.records import DamagedError, set_aside

if TYPE_CHECKING:
    import pyarrow as pa

_NAME = re.compile(r"(?P<key>[a-z]+-[0-9a-f]{16})\.(?P<taken>\d{4}-\d\d-\d\dT\d{6}Z)\.json")
KEY, TAKEN = "profile_key", "profile_taken_at"


def is_amendment(file: str) -> bool:
    """Tell whether a file name is an amendment's."""
    return _NAME.fullmatch(file) is not None


def names(layout: Layout) -> set[str]:
    """Return the file names of the amendments that a store has."""
    return set(filter(is_amendment, entries(layout.profiles)))


def write(layout: Layout, key: str, figures: Mapping[str, Any]) -> None:
    """Keep a profile that replaces an earlier one of the same address, durably."""
    name = f"{key}.{figures[TAKEN].replace(':', '')}.json"
    kept = {column: figures.get(column) for column in PROFILE_TIMES}
    write_text(layout.own(layout.profiles / name), canonical_json(kept))


def read_all(layout: Layout, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the latest amendment of each profile's address; what cannot be read is set aside with a warning."""
    latest: dict[str, dict[str, Any]] = {}
    for file in sorted(files):  # by address, then by time
        path = layout.profiles / file
        try:
            latest[file.partition(".")[0]] = _figures(read_regular(path))
        except FileNotFoundError:
            continue
        except DamagedError as error:
            set_aside(layout, path, str(error), then="the rows keep the profile that they had")
    return latest


def _figures(content: bytes) -> dict[str, Any]:
    try:
        figures = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not JSON ({error})") from error
    if not isinstance(figures, dict) or not isinstance(figures.get(TAKEN), str):
        raise DamagedError(f"it is no profile with {TAKEN}")
    return {column: figures.get(column) for column in PROFILE_TIMES}


def amended(table: pa.Table, profiles: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Return the rows with the times of the profiles, wherever a row has an earlier one of the same address."""
    import pyarrow as pa

    if KEY not in table.column_names:  # an earlier version's, without a row of this one
        return table
    keys, taken = table[KEY].to_pylist(), table[TAKEN].to_pylist()
    newer = [
        profiles[key] if key in profiles and (when or "") < profiles[key][TAKEN] else None
        for key, when in zip(keys, taken, strict=True)
    ]
    if not any(newer):
        return table
    for column in PROFILE_TIMES:
        place, old = table.schema.get_field_index(column), table[column]
        values = [
            value if profile is None else profile[column] for value, profile in zip(old.to_pylist(), newer, strict=True)
        ]
        table = table.set_column(place, column, pa.array(values, type=old.type))
    return table
