"""Further metrics of a task's rows, computed from the outcomes of its test samples. No torch: planning may read this.

A plug-in adds one with ``METRIC_COLUMNS.add(name, MetricColumn(...))``. Rows that were written before have no value in
the new column: a job that is done is not run again for it, since no number that it has would change.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bob.core.errors import BobError
from bob.core.registry import Registry, resolved
from bob.jobs.row import BY_NAME

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MetricColumn:
    """One metric that rows carry beside those of their task.

    Attributes:
        name: The column, lower case with underscores; a unit is part of the name.
        doc: One line: what it is, with its range.
        tasks: The tasks whose rows have it.
        compute: A function, or ``module:function`` of one: takes the outcomes (``TaskResult.outcomes``: numpy arrays of
            equal length by column name, one entry per test sample) and returns a number; NaN where there is none.
    """

    name: str
    doc: str
    tasks: tuple[str, ...]
    compute: str | Callable[[Mapping[str, Any]], float]

    def __post_init__(self) -> None:
        if self.name in BY_NAME:
            raise BobError(f"column {self.name!r} is one of BoB's own. Give the new one another name.")


METRIC_COLUMNS: Registry[MetricColumn] = Registry("metric column", list_command="bob list metrics")


def further_metrics(task: str, outcomes: Mapping[str, Any]) -> dict[str, float]:
    """Return the value of every registered column of a task.

    A function that fails costs the row its column, never its score: the log has the error, and the value is NaN, which
    the store writes as null under a name in ``nonfinite``.
    """
    found = {}
    for column in map(METRIC_COLUMNS.get, METRIC_COLUMNS):
        if task not in column.tasks:
            continue
        try:
            found[column.name] = float(resolved(column.compute)(outcomes))
        except Exception:
            log.exception("Metric column %r cannot be computed from the outcomes %s.", column.name, ", ".join(outcomes))
            found[column.name] = math.nan
    return found
