"""What is registered, as rows: for `bob list` and for the Python API. Imports neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bob.heads.head_registry import HEADS
from bob.jobs.protocol_params import in_words
from bob.jobs.request import suite_files
from bob.jobs.suite import check_suite, read_suite
from bob.probes.post_hoc_scores import OOD_SCORES
from bob.tasks.metric_columns import METRIC_COLUMNS
from bob.tasks.spec import TASKS

_PARAMETER = {"parameter": "", "default": "", "takes": ""}
Rows = Iterator[dict[str, Any]]


def listed(what: str, where: str | None = None) -> list[dict[str, Any]]:
    """Return the entries of one registry, a row each.

    Args:
        what: One of ``LISTINGS``.
        where: A word that must occur, or for backbones a condition such as ``params_m < 30``; None for all.

    Raises:
        ConfigError: A condition says something that cannot be.
    """
    return list(LISTINGS[what](where))


def _backbones(where: str | None) -> Rows:
    from bob.backbones import catalogue

    for backbone in catalogue.select(where) if where else catalogue.catalogue():
        yield {
            "backbone": backbone.name,
            "params_m": backbone.params_m,
            "px": backbone.input.image_size,
            "family": backbone.family,
            "method": backbone.pretrain_method,
            "data": backbone.pretrain_data,
            "license": backbone.license,
        }


def _tasks(where: str | None) -> Rows:
    for task in map(TASKS.get, TASKS):
        for metric, doc in task.metrics.items():
            if _matches(where, task.name, metric, doc):
                primary = " (primary)" if metric == task.metric else ""
                yield {"task": task.name, "version": task.version, "metric": metric + primary, "meaning": doc}


def _protocols(where: str | None) -> Rows:
    for task in map(TASKS.get, TASKS):
        for protocol in task.protocols.values():
            if _matches(where, task.name, protocol.name, protocol.doc):
                yield {"task": task.name, "protocol": protocol.name, **_PARAMETER, "meaning": protocol.doc}
            for key, field in protocol.params.model_fields.items():
                if _matches(where, task.name, protocol.name, key):
                    value, takes = _shown(field.default), in_words(protocol.params, key)
                    about = {"parameter": key, "default": value, "takes": takes, "meaning": field.description}
                    yield {"task": "", "protocol": "", **about}


def _shown(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def _heads(where: str | None) -> Rows:
    for head in map(HEADS.get, HEADS):
        if _matches(where, head.name, head.produces, head.doc):
            yield {"head": head.name, "produces": head.produces, "meaning": head.doc}


def _scores(where: str | None) -> Rows:
    for score in map(OOD_SCORES.get, OOD_SCORES):
        if _matches(where, score.name, score.doc, score.source):
            yield {"score": score.name, "meaning": score.doc, "source": score.source}


def _metrics(where: str | None) -> Rows:
    for column in map(METRIC_COLUMNS.get, METRIC_COLUMNS):
        if _matches(where, column.name, column.doc, *column.tasks):
            yield {"column": column.name, "tasks": ", ".join(column.tasks), "meaning": column.doc}


def _datasets(where: str | None) -> Rows:
    from bob.data.resolve import known_datasets

    return (row for row in known_datasets() if _matches(where, *map(str, row.values())))


def _suites(where: str | None) -> Rows:
    for name, path in suite_files().items():
        suite = check_suite(read_suite(path))
        if _matches(where, name, suite.title):
            yield {"suite": name, "title": suite.title, "scales": ", ".join(suite.scales), "file": str(path)}


def _matches(where: str | None, *values: str) -> bool:
    return where is None or any(where.lower() in value.lower() for value in values)


LISTINGS: dict[str, Callable[[str | None], Rows]] = {
    "backbones": _backbones,
    "tasks": _tasks,
    "protocols": _protocols,
    "heads": _heads,
    "scores": _scores,
    "metrics": _metrics,
    "datasets": _datasets,
    "suites": _suites,
}
