"""`bob list` and `bob profile`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from bob.cli.common import print_json, settings_from, suite_files


def list_entries(options: argparse.Namespace) -> int:
    """Print the entries of one registry."""
    rows = list(_LISTS[options.what](options.filter))
    if options.json:
        print_json(rows)
        return 0
    from rich.markup import escape
    from rich.table import Table

    from bob.core.terminal import Terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, name in enumerate(rows[0] if rows else ()):
        table.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(escape(str(value)) for value in row.values()))
    console = Terminal()
    console.print(table)
    console.print(f"{len(rows)} {options.what}.", highlight=False)
    return 0


def profile(options: argparse.Namespace) -> int:
    """Measure one backbone's cost here and print it with its circumstances."""
    import torch

    from bob.backbones import catalogue
    from bob.core.devices import choose_device, cpu_count
    from bob.core.plugins import load_plugin
    from bob.training.precision import choose_precision
    from bob.training.profiling import measure_profile

    for plugin in options.plugin or ():
        load_plugin(plugin)
    backbone = catalogue.find(options.backbone)
    device, _ = choose_device(options.device)
    cache_dir = settings_from(options).cache_dir
    precision = choose_precision(options.precision, device=torch.device(device), cache_dir=cache_dir)
    config = catalogue.resolve_input(backbone, resolution="fixed", image_size=options.image_size)
    figures = measure_profile(
        backbone, image_size=config.image_size, precision=precision, device=device, threads=cpu_count()
    )
    if options.json:
        print_json({"backbone": backbone.name, **figures})
        return 0
    from bob.core.terminal import Terminal

    console = Terminal()
    for name, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        console.print(f"[bold]{name:24}[/] {text}", highlight=False)
    return 0


def _backbones(text: str | None) -> Iterator[dict[str, Any]]:
    from bob.backbones import catalogue

    for backbone in catalogue.select(text) if text else catalogue.catalogue():
        yield {
            "backbone": backbone.name,
            "family": backbone.family,
            "method": backbone.pretrain_method,
            "data": backbone.pretrain_data,
            "params_m": backbone.params_m,
            "px": backbone.input.image_size,
            "license": backbone.license,
        }


def _tasks(text: str | None) -> Iterator[dict[str, Any]]:
    from bob.tasks.spec import TASKS

    for name in TASKS:
        task = TASKS.get(name)
        for metric, doc in task.metrics.items():
            if _matches(text, name, metric, doc):
                primary = " (primary)" if metric == task.metric else ""
                yield {"task": name, "version": task.version, "metric": metric + primary, "meaning": doc}


def _protocols(text: str | None) -> Iterator[dict[str, Any]]:
    from bob.tasks.spec import TASKS

    for name in TASKS:
        for protocol in TASKS.get(name).protocols.values():
            if _matches(text, name, protocol.name, protocol.doc):
                yield {"protocol": protocol.name, "parameter": "", "default": "", "meaning": protocol.doc}
            for key, param in protocol.params.items():
                if _matches(text, name, protocol.name, key):
                    yield {"protocol": "", "parameter": key, "default": param.default, "meaning": param.doc}


def _datasets(text: str | None) -> Iterator[dict[str, Any]]:
    from bob.data.resolve import known_datasets

    return (row for row in known_datasets() if _matches(text, *map(str, row.values())))


def _suites(text: str | None) -> Iterator[dict[str, Any]]:
    from bob.jobs.suite import check_suite, read_suite

    for name, path in suite_files().items():
        suite = check_suite(read_suite(path))
        if _matches(text, name, suite.title):
            yield {"suite": name, "title": suite.title, "scales": ", ".join(suite.scales), "file": str(path)}


def _matches(text: str | None, *values: str) -> bool:
    return text is None or any(text.lower() in value.lower() for value in values)


_LISTS = {
    "backbones": _backbones,
    "tasks": _tasks,
    "protocols": _protocols,
    "datasets": _datasets,
    "suites": _suites,
}
