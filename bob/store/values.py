"""From what a job hands over to what a record holds: flat JSON values, typed, finite."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from bob.core.errors import StoreError
from bob.jobs.row import BY_NAME, ROW_SCHEMA_VERSION, STATUSES

SCORES = ("score", "score_low", "score_high")


def clean_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row as plain JSON values, with its schema version.

    A score must be a finite number, and an ``ok`` row must have one. Any other number that is not finite becomes null
    and its column's name is listed in ``nonfinite``. Dicts and lists become JSON text.

    Raises:
        StoreError: A value does not fit its column, a score is not finite, or the status is not known.
    """
    values = {str(name): storable(value) for name, value in row.items()}
    if values.get("status") not in STATUSES:
        raise StoreError(f"status {values.get('status')!r} is not one of {', '.join(STATUSES)}.")
    _check_scores(values)
    lost = sorted(name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value))
    values.update(dict.fromkeys(lost))
    if lost:
        values["nonfinite"] = ",".join(lost)
    values = {name: fit(name, value) for name, value in values.items()}
    return {**values, "schema_version": ROW_SCHEMA_VERSION}


def storable(value: Any) -> Any:
    """Return one value as None, bool, int, float or str: numpy scalars unwrapped, containers as JSON text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return storable(value.item())
    return json.dumps(_storable_tree(value), sort_keys=True, allow_nan=False)


def _storable_tree(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _storable_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [
            _storable_tree(item) for item in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)
        ]
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) > 0:
        return _storable_tree(value.tolist())
    is_scalar = value is None or isinstance(value, str | numbers.Real | PurePath) or getattr(value, "ndim", None) == 0
    if not is_scalar:
        raise StoreError(f"a value of type {type(value).__name__} cannot be stored in a row: {value!r:.100}.")
    leaf = storable(value)
    return str(leaf) if isinstance(leaf, float) and not math.isfinite(leaf) else leaf


def _check_scores(values: Mapping[str, Any]) -> None:
    for name in SCORES:
        value = values.get(name)
        if value is None and not (name == "score" and values["status"] == "ok"):
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise StoreError(
                f"{name} {value!r} of job {values.get('job_id')} is not a finite number; a row that is not a result "
                "has status 'failed' and no score."
            )


def fit(name: str, value: Any) -> Any:
    """Return the value in its column's type if that loses nothing; a column of a plug-in takes any.

    Raises:
        StoreError: The value is of another type.
    """
    column = BY_NAME.get(name)
    if column is None or value is None:
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if column.dtype == "string" and isinstance(value, str):
        return value
    if column.dtype == "bool" and isinstance(value, bool):
        return value
    if column.dtype == "float64" and is_number:
        return float(value)
    if column.dtype == "int64" and is_number and float(value).is_integer():
        return int(value)
    raise StoreError(f"column {name!r} is {column.dtype} ({column.doc}) but the row has {value!r:.100}.")
