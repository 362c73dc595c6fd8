"""`bob data`: a data set described, and its contact sheet."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bob.cli.common import print_json, settings_from
from bob.core.plugins import load_plugin
from bob.core.settings import Settings, use_cache_dir
from bob.core.text import counted
from bob.jobs.data_overview import ClassOverview, Overview

if TYPE_CHECKING:
    from bob.data.near_copies import NearCopies

SHOWN_CLASSES = 30
SHOWN_FILES = 5
BAR = 24
EVEN = 1.005
SHOWN_PAIRS = 10


def data(options: argparse.Namespace) -> int:
    """Describe a data set, draw its contact sheet, and decode its pictures if that is asked for."""
    from bob.jobs.data_overview import describe_data

    for plugin in options.plugin or ():
        load_plugin(plugin)
    settings = settings_from(options)
    use_cache_dir(settings.cache_dir)
    overview = describe_data(options.dataset, settings, follow_links=options.follow_links)
    bad = _bad(overview, settings) if options.check else None
    near = _near(overview, settings) if options.copies else None
    sheet = None if options.no_sheet else _draw(overview, options.sheet, settings)
    if options.json:
        print_json({**vars(overview), "bad": bad, "near_copies": near, "sheet": str(sheet) if sheet else None})
        return 0
    from bob.core.terminal import Terminal

    print_overview(Terminal(), overview, bad=bad, near=near, sheet=sheet)
    return 0


def _bad(overview: Overview, settings: Settings) -> dict[str, str]:
    from bob.data.check import bad_pictures

    return bad_pictures(overview.spec, settings.cache_dir)


def _near(overview: Overview, settings: Settings) -> NearCopies:
    from rich.progress import Progress

    from bob.data.near_copies import near_copies

    with Progress(transient=True) as progress:
        bar = progress.add_task("comparing pictures", total=None)
        return near_copies(
            overview.spec, settings.cache_dir, lambda done, total: progress.update(bar, completed=done, total=total)
        )


def _draw(overview: Overview, named: str | None, settings: Settings) -> Path:
    from bob.core.files import write_bytes
    from bob.tasks.dense.sheets.data_sheet import data_sheet

    path = Path(named).expanduser() if named else settings.results_dir / "data" / f"{overview.spec.name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data_sheet(overview.spec, cache_dir=settings.cache_dir))
    return path


def print_overview(
    console: Console,
    overview: Overview,
    *,
    bad: dict[str, str] | None,
    near: NearCopies | None,
    sheet: Path | None,
) -> None:
    """Print what a data set holds, the answer first: what it is, its splits, its classes, then what is wrong."""
    spec = overview.spec

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    line(f"[bold]{escape(spec.name)}[/]  read as {spec.kind}: {escape(overview.reason)}.")
    line(f"{escape(spec.root or 'rendered')}, fingerprint {spec.fingerprint[:12]}, licence: {escape(spec.license)}.")
    line("")
    for split in overview.splits:
        part = f", part of {split.taken_from}" if split.taken_from else ""
        line(f"{split.name:6}{split.pictures:>9,} {'picture' if split.pictures == 1 else 'pictures'}{part}")
    line("")
    console.print(_class_table(overview, plain=not _draws_blocks(console)))
    line(_summary(overview))
    line("")
    _print_pictures(line, overview, bad)
    if near is not None:
        _print_near(line, near)
    line("")
    for task, use in overview.tasks.items():
        line(f"{task:24}{escape(use)}")
    if sheet:
        line(f"\nContact sheet: {escape(str(sheet))}")


def _draws_blocks(console: Console) -> bool:
    return console.encoding.lower().startswith("utf")


def _class_table(overview: Overview, *, plain: bool) -> Table:
    """Return the classes with their counts per split, and a bar of the first; of many the largest and smallest."""
    splits = [split.name for split in overview.splits]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="ellipsis", no_wrap=True)
    for split in splits:
        table.add_column(split, justify="right", no_wrap=True)
    table.add_column(overview.counted, no_wrap=True)
    most = max((one.counts[splits[0]] for one in overview.classes), default=0)
    for one in _shown(overview.classes, splits[0]):
        if one is None:
            table.add_row(f"... {len(overview.classes) - SHOWN_CLASSES} more ...")
            continue
        length = round(BAR * one.counts[splits[0]] / most) if most else 0
        counts = (_number(one.counts[split]) for split in splits)
        table.add_row(escape(one.name), *counts, ("#" if plain else "█") * length)
    return table


def _shown(classes: Sequence[ClassOverview], split: str) -> list[ClassOverview | None]:
    """Return the classes to show, None where some are left out; of many the largest and the smallest."""
    if len(classes) <= SHOWN_CLASSES:
        return list(classes)
    ordered = sorted(classes, key=lambda one: (-one.counts[split], one.name))
    half = SHOWN_CLASSES // 2
    return [*ordered[:half], None, *ordered[-half:]]


def _number(count: float) -> str:
    return f"{count:,.0f}" if count == round(count) else f"{count:.2f}"


def _summary(overview: Overview) -> str:
    first = overview.splits[0].name
    empty = [one.name for one in overview.classes if not one.counts[first]]
    text = counted(len(overview.classes), "class", "classes")
    if overview.imbalance is not None and len(overview.classes) > 1:
        what = "pixels" if overview.counted.startswith("%") else overview.counted
        is_even = overview.imbalance < EVEN
        times = f"the largest has {overview.imbalance:.3g} times the {what} of the smallest in {first}"
        text += f"; equally many {what} each in {first}" if is_even else f"; {times}"
    if empty:
        more = " ..." if len(empty) > SHOWN_FILES else ""
        text += f"; nothing in {first}: {', '.join(map(escape, empty[:SHOWN_FILES]))}{more}"
    return text + "."


def _print_pictures(line: Callable[[str], None], overview: Overview, bad: dict[str, str] | None) -> None:
    sizes = overview.sizes
    kinds = ", ".join(f"{kind} {count}" for kind, count in sizes.formats.items())
    line(
        f"Pictures: {_range(sizes.widths)} px wide, {_range(sizes.heights)} px high; {escape(kinds)}; "
        f"{sizes.looked_at} looked at."
    )
    wrong = sizes.unreadable if bad is None else bad
    asked = f"of {sizes.looked_at} looked at" if bad is None else "of all, each decoded"
    named = counted(len(wrong), "bad picture")
    line((f"[yellow]{named}[/]" if wrong else named) + f" {asked}.{_first(wrong)}")
    if overview.ignored:
        named = counted(len(overview.ignored), "file")
        line(f"[yellow]{named} among the pictures without a picture's name[/]: {_names(overview.ignored)}.")
    if overview.copies:
        line(f"[yellow]Copies[/]: {escape(overview.copies)}.")
    for reason, count in overview.faults.items():
        line(f"[yellow]{counted(count, 'annotation')}[/] with {escape(reason)}.")


def _print_near(line: Callable[[str], None], near: NearCopies) -> None:
    """Print the pairs, those of two splits or two classes first, as they matter."""
    apart = [pair for pair in near.pairs if len(set(pair.splits)) > 1 or len(set(pair.classes or ())) > 1]
    line(
        f"{counted(len(near.pairs), 'pair')} of near copies among {near.pictures} pictures, {len(apart)} of them in "
        "two splits or classes. A hash may err: none is left out."
    )
    for pair in apart[:SHOWN_PAIRS]:
        line(f"  {escape(' = '.join(pair.ids))}  ({pair.similarity:.3f})")
    if len(apart) > SHOWN_PAIRS:
        line(f"  and {len(apart) - SHOWN_PAIRS} more; --json lists all")
    if near.crowded:
        line(f"[yellow]{near.crowded} pictures look like so many others that not all were compared.[/]")


def _range(values: tuple[int, int, int]) -> str:
    least, middle, most = values
    return str(least) if least == most else f"{least} to {most} (median {middle})"


def _first(wrong: dict[str, str]) -> str:
    shown = [f"{name} ({reason})" for name, reason in list(wrong.items())[:SHOWN_FILES]]
    return f" {escape('; '.join(shown))}" if shown else ""


def _names(names: Sequence[str]) -> str:
    return escape(", ".join(names[:SHOWN_FILES])) + (" ..." if len(names) > SHOWN_FILES else "")
