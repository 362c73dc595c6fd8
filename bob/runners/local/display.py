"""What a run shows while it goes on: a live picture on a terminal, plain sentences elsewhere, or nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bob.core.errors import ConfigError
from bob.core.terminal import Terminal
from bob.core.text import counted
from bob.jobs.context import no_progress
from bob.runners.local.schedule import Work
from bob.runners.worker.assignment import AGAIN

KINDS = ("auto", "live", "lines", "none")
STYLES = {"ok": "green", "failed": "red", "oom": "red", "timeout": "yellow", "skipped": "dim"}


class Display(Protocol):
    """What a runner tells while it runs. Every call returns at once."""

    def open(self, *, total: int, workers: int) -> None:
        """The run begins, with this many jobs to do."""

    def begin(self, slot: int, work: Work) -> None:
        """A worker starts on something."""

    def progress(self, slot: int, phase: str, done: int, total: int) -> None:
        """A worker reports how far it is."""

    def end(self, slot: int, work: Work, outcome: Mapping[str, Any]) -> None:
        """A worker is through: status and score, or the error."""

    def settled(self, count: int, eta_s: float | None) -> None:
        """So many jobs of the total are settled, and so many seconds are left."""

    def note(self, text: str) -> None:
        """Say a sentence."""

    def close(self) -> None:
        """The run is over; the terminal is as before."""


def make_display(kind: str, console: Console | None = None) -> Display:
    """Return the display of a kind: ``auto`` is ``live`` on a terminal and in a notebook, ``lines`` elsewhere."""
    console = console or Terminal(stderr=True)
    chosen = _kind_of(kind, console)
    if chosen == "none":
        return SilentDisplay()
    return LiveDisplay(console) if chosen == "live" else LinesDisplay(console)


def _kind_of(kind: str, console: Console) -> str:
    """Return "live", "lines" or "none" for a kind; a notebook draws what is live with ipywidgets alone."""
    if kind not in KINDS:
        raise ConfigError(f"display {kind!r} is not known: expected one of {', '.join(KINDS)}.")
    if kind != "auto":
        return kind
    draws = console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
    return "live" if draws else "lines"


def label(work: Work) -> str:
    """Return what is run in a few words: backbone, task, protocol, data set and seed, or the artifact."""
    job = work.job
    if work.need is not None:
        return f"{job.backbone} {work.need.kind}" + ("" if work.exclusive else f" of {job.dataset}")
    return f"{job.backbone} {job.task}/{job.protocol} on {job.dataset} seed {job.seed}"


def sentence(work: Work, outcome: Mapping[str, Any]) -> str:
    """Return one sentence on how something ended, with its numbers."""
    status, wall = outcome["status"], f"{outcome.get('wall_s', 0.0):.1f} s"
    if status == "ok" and outcome.get("score") is not None:
        interval = ""
        if outcome.get("score_low") is not None and outcome.get("score_high") is not None:
            interval = f" [{outcome['score_low']:.3f}, {outcome['score_high']:.3f}]"
        metric = outcome.get("metric", "score")
        return f"{label(work)}: {metric} {outcome['score']:.3f}{interval} in {wall}."
    if status == "ok":
        return f"{label(work)}: made in {wall}."
    reason = ": ".join(str(outcome[key]) for key in ("error_class", "error_message") if outcome.get(key))
    return f"{label(work)}: {status} after {wall}{': ' if reason else ''}{reason.rstrip('.')}."


def duration(seconds: float) -> str:
    """Return seconds as ``42 s``, ``7 min`` or ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class SilentDisplay:
    """Shows nothing."""

    def open(self, *, total: int, workers: int) -> None:
        """Show nothing."""

    def begin(self, slot: int, work: Work) -> None:
        """Show nothing."""

    def progress(self, slot: int, phase: str, done: int, total: int) -> None:
        """Show nothing."""

    def end(self, slot: int, work: Work, outcome: Mapping[str, Any]) -> None:
        """Show nothing."""

    def settled(self, count: int, eta_s: float | None) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class LinesDisplay(SilentDisplay):
    """One sentence per finished job, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = 0
        self._count = 0
        self._eta = ""

    def open(self, *, total: int, workers: int) -> None:
        """Say how much there is to do."""
        self._total = total
        if total:  # else profiles alone are taken again
            self.note(f"{counted(total, 'job')} to run with {counted(workers, 'worker')}.")

    def end(self, slot: int, work: Work, outcome: Mapping[str, Any]) -> None:
        """Say how it ended; of an artifact that is made in turns, once it is whole."""
        if outcome["status"] == AGAIN:
            return
        self.note(f"[{self._count}/{self._total}{self._eta}] {sentence(work, outcome)}")

    def settled(self, count: int, eta_s: float | None) -> None:
        """Keep the numbers for the next sentence."""
        self._count = count
        self._eta = "" if eta_s is None else f", {duration(eta_s)} left"

    def note(self, text: str) -> None:
        """Say it on a line of its own."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay(SilentDisplay):
    """A bar for the whole and a line per worker, drawn over themselves; sentences of what failed scroll above."""

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        text = TextColumn("{task.description}", markup=False)
        self._overall = Progress(
            *(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
            *(TextColumn("{task.fields[eta]}"), TextColumn("{task.fields[counts]}")),
            console=console,
        )
        self._workers = Progress(
            *(text, TextColumn("{task.fields[phase]}", markup=False), BarColumn(bar_width=20)),
            *(TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.fields[rate]}"), TimeElapsedColumn()),
            console=console,
        )
        self._live = Live(Group(self._overall, self._workers), console=console, refresh_per_second=4)
        self._lines: dict[int, TaskID] = {}
        self._phases: dict[int, tuple[str, float, int]] = {}
        self._counts: Counter[str] = Counter()
        self._whole = self._overall.add_task("jobs", total=None, eta="", counts="")

    def open(self, *, total: int, workers: int) -> None:
        """Draw the bars."""
        self._overall.update(self._whole, total=total)
        self._live.start()

    def begin(self, slot: int, work: Work) -> None:
        """Add the worker's line."""
        self._lines[slot] = self._workers.add_task(label(work), total=None, phase="starting", rate="")

    def progress(self, slot: int, phase: str, done: int, total: int) -> None:
        """Move the worker's bar."""
        now = self._clock()
        known, since, first = self._phases.get(slot, ("", now, done))
        if known != phase:
            since, first = now, done
            self._phases[slot] = (phase, since, first)
        rate = f"{(done - first) / (now - since):.1f}/s" if done > first and now > since + 0.5 else ""
        self._workers.update(self._lines[slot], completed=done, total=total or None, phase=phase, rate=rate)

    def end(self, slot: int, work: Work, outcome: Mapping[str, Any]) -> None:
        """Remove the worker's line; say what did not go well."""
        self._phases.pop(slot, None)
        if slot in self._lines:
            self._workers.remove_task(self._lines.pop(slot))
        if work.need is None:
            self._counts[outcome["status"]] += 1
        counts = " ".join(f"[{STYLES.get(name, 'white')}]{n} {name}[/]" for name, n in self._counts.items())
        self._overall.update(self._whole, counts=counts)
        if outcome["status"] not in ("ok", "stopped", AGAIN):
            self.note(sentence(work, outcome))

    def settled(self, count: int, eta_s: float | None) -> None:
        """Move the whole's bar."""
        eta = "" if eta_s is None else f"{duration(eta_s)} left"
        self._overall.update(self._whole, completed=count, eta=eta)

    def note(self, text: str) -> None:
        """Say it above the bars."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Stop drawing and show the cursor again."""
        self._live.stop()


@contextlib.contextmanager
def one_bar(kind: str) -> Iterator[Callable[[str, int, int], None]]:
    """Show the progress of one piece of work in this process: yield a function to call with (phase, done, total).

    Args:
        kind: As for ``make_display``; "lines" says each phase once.
    """
    console = Terminal(stderr=True)
    chosen = _kind_of(kind, console)
    if chosen == "none":
        yield no_progress
        return
    if chosen == "lines":
        said: set[str] = set()

        def say(phase: str, done: int, total: int) -> None:
            if phase not in said:
                said.add(phase)
                console.print(f"{phase}: {total}", markup=False, highlight=False, soft_wrap=True)

        yield say
        return
    text = TextColumn("{task.description}", markup=False)
    with Progress(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)

        yield draw
