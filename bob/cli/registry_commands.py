"""`bob list` and `bob profile`."""

from __future__ import annotations

import argparse

from bob.cli.common import print_json, settings_from
from bob.core.plugins import load_plugin
from bob.jobs.listings import listed

LINE_WIDTH = 1000


def list_entries(options: argparse.Namespace) -> int:
    """Print the entries of one registry."""
    for plugin in options.plugin or ():
        load_plugin(plugin)
    rows = listed(options.what, options.filter)
    if options.json:
        print_json(rows)
        return 0
    from rich.markup import escape
    from rich.table import Table

    from bob.core.terminal import Terminal

    table = Table(box=None, pad_edge=False, header_style="bold")
    console = Terminal()
    # One line an entry: whole for whatever reads them from a pipe, cut where a terminal ends.
    width = console.width if console.is_terminal else LINE_WIDTH
    for name in rows[0] if rows else ():
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(escape(" ".join(str(value).split())) for value in row.values()))
    for number, line in enumerate(console.render_lines(table, console.options.update(width=LINE_WIDTH), pad=False)):
        text = "".join(segment.text for segment in line).rstrip()
        style = "bold" if number == 0 else ""
        console.print(text[:width], style=style, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{len(rows)} {options.what}.", highlight=False)
    return 0


def profile(options: argparse.Namespace) -> int:
    """Measure one backbone's cost here and print it with its circumstances."""
    import numpy as np
    import torch

    from bob.backbones import catalogue
    from bob.core.devices import choose_device, cpu_count
    from bob.core.settings import use_cache_dir
    from bob.training.precision import choose_precision
    from bob.training.profiling import Circumstances, measure_profile

    for plugin in options.plugin or ():
        load_plugin(plugin)
    use_cache_dir(settings_from(options).cache_dir)
    backbone = catalogue.find(options.backbone)
    device, _ = choose_device(options.device)
    cache_dir = settings_from(options).cache_dir
    precision = choose_precision(options.precision, device=torch.device(device), cache_dir=cache_dir)
    config = catalogue.resolve_input(backbone, resolution="fixed", image_size=options.image_size)
    size, threads = config.image_size, cpu_count()
    where = Circumstances(image_size=size, precision=precision, device=device, threads=threads)
    figures = {name: value for name, value in measure_profile(backbone, where).items() if value != ""}
    if options.json:
        print_json({"backbone": backbone.name, **figures})
        return 0
    from bob.core.terminal import Terminal

    console = Terminal()
    for name, value in figures.items():
        is_float = isinstance(value, float)
        text = np.format_float_positional(value, 4, fractional=False, trim="-") if is_float else str(value)
        console.print(f"[bold]{name:24}[/] {text}", highlight=False)
    return 0
