"""`bob status`, `bob logs`, `bob cancel` and `bob retry`: jobs while they run, and what becomes of the others."""

from __future__ import annotations

import argparse
import codecs
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from bob.cli.common import full_id, print_json, request_from, settings_from
from bob.cli.result_commands import plan_of, statuses_in_table
from bob.cli.slurm_options import profile_of, refuse_misplaced_options, submit_or_show
from bob.cli.suite_commands import print_summary
from bob.core.errors import ConfigError, StoreError
from bob.core.settings import Settings
from bob.core.terminal import Terminal
from bob.core.text import counted, visible
from bob.runners.live_jobs import LIVE, Live, look, whole_allocations
from bob.runners.suite_runs import execute, planned_of
from bob.store import ResultStore

if TYPE_CHECKING:
    from rich.console import Console

FOLLOW_POLL_S = 0.5
CHUNK_BYTES = 1 << 16


def status(options: argparse.Namespace) -> int:
    """Show how jobs are: of a suite (its missing ones too), or of everything in the store and the queue."""
    settings = settings_from(options)
    expanded = plan_of(options, settings)
    wanted = [job.id for job in expanded.jobs] if expanded else None
    console = Terminal()
    while True:
        live = _look(settings, wanted)
        if options.json:
            print_json(_as_json(live, settings))
            return 0
        if options.watch:
            console.clear()
        _print(console, live, settings)
        if not options.watch or not set(live.states.values()) & {"running", "queued"}:
            return 0
        time.sleep(options.watch)


def logs(options: argparse.Namespace) -> int:
    """Print a job's latest log, or that of its allocation; with ``--follow`` go on as it grows."""
    settings = settings_from(options)
    root = settings.results_dir
    live = look(root)
    job_id = full_id(live.states, options.job)
    paths = _logs(root, job_id)
    if options.allocation or not paths:
        paths = _allocation_logs(live, job_id)
    if not paths:
        raise StoreError(
            f"job {job_id} is {live.states[job_id]} and has no log yet.",
            hint=f"'bob status --results {root}' shows it.",
        )
    shown = None
    while shown != paths[-1]:  # a job that is started again has another log
        shown = paths[-1]
        print(f"==> {shown}", file=sys.stderr)
        _stream(shown, follow=options.follow, going_on=lambda path=shown: _goes_on(root, job_id, path))
        paths = paths if options.allocation or not options.follow else _logs(root, job_id) or paths
    return 0


def _goes_on(root: Path, job_id: str, path: Path) -> bool:
    """Tell whether a job may still write to a log."""
    newest = _logs(root, job_id)[-1:]
    return newest in ([], [path]) and look(root).states.get(job_id) in ("running", "queued")


def cancel(options: argparse.Namespace) -> int:
    """Stop jobs: those named, a suite's, or all; they save what a resume needs and leave no row."""

    from bob.runners.slurm.slurm import cancel as end
    from bob.runners.state.cancellations import Cancellations

    settings = settings_from(options)
    live = look(settings.results_dir)
    wanted = _targets(options, settings, live)
    # What a local runner has still to start is in no queue, and has no state or an old one.
    stoppable = {job_id for job_id in wanted if live.states.get(job_id) != "ok"}
    Cancellations(settings.results_dir).add(stoppable)
    allocations = whole_allocations(live, stoppable)
    end(allocations)
    told = f", {len(allocations)} allocations ended" if allocations else ""
    if live.queue_error:
        told += f"; no allocation is ended, for the queue is unknown ({live.queue_error.rstrip('.')})"
    Terminal().print(
        f"Cancelled {len(stoppable)} of {len(wanted)} jobs{told}. 'bob retry' or the suite's command lets them run."
    )
    return 0


def retry(options: argparse.Namespace) -> int:
    """Run again what gave no number: of a suite, or of what was submitted to SLURM."""
    from bob.runners.retrying import KINDS, of_plan, of_submissions

    settings = settings_from(options)
    refuse_misplaced_options(options)
    kinds = [kind for kind in KINDS if getattr(options, kind)] or list(KINDS)
    on_cluster, console = options.executor == "slurm", Terminal()
    planned = planned_of(request_from(options), settings) if options.suite or options.backbone else None
    if planned is not None:
        found = of_plan(planned.jobs, settings.results_dir, kinds)
    else:
        found = of_submissions(settings.results_dir, kinds, on_cluster=on_cluster)
    if found.unknown:
        print(f"{found.unknown} more are in no submission: name their suite, bob retry SUITE.", file=sys.stderr)
    if not found.jobs:
        console.print(f"No job is {' or '.join(kinds)}: nothing to retry.")
        return 0
    console.print(f"Tried again: {counted(len(found.jobs), 'job')}.", highlight=False)
    if not on_cluster:
        summary = execute(found.jobs, settings, anew=True)
        print_summary(console, summary)
        return 130 if summary.interrupted else 1 if summary.failures or summary.left else 0
    from bob.runners.slurm.submitting import wait_for

    suite = planned.plan.suite if planned is not None else None
    profile = profile_of(options, suite)
    submission = submit_or_show(console, suite or found.suite, found.jobs, settings, options, profile=profile)
    if submission is not None and options.wait:
        wait_for(submission)
    return 0


def _look(settings: Settings, wanted: list[str] | None) -> Live:
    live = look(settings.results_dir, wanted)
    if wanted is None:
        # The table leaves out rows that later ones have settled.
        kept = statuses_in_table(ResultStore(settings.results_dir), settings).keys()
        states = {job_id: state for job_id, state in live.states.items() if state in LIVE or job_id in kept}
        live = Live(**{**vars(live), "states": states})
    return live


def _as_json(live: Live, settings: Settings) -> dict[str, Any]:
    return {
        "counts": live.counts,
        "jobs": live.states,
        "running": [{"host": r.host, "allocation": r.allocation, **vars(job)} for r, job in live.at_work],
        "allocations": [vars(live.queued[name]) for name in sorted(set(live.queued) & set(live.allocations.values()))],
        "queue_unknown": live.queue_error or None,
        "damaged": ResultStore(settings.results_dir).damaged(),
    }


def _print(console: Console, live: Live, settings: Settings) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in sorted(live.counts.items())) or "no jobs yet"
    console.print(
        f"{counted(len(live.states), 'job')} in {settings.results_dir}: {counts}.", highlight=False, soft_wrap=True
    )
    for runner, job in live.at_work:
        where = runner.host + (f", allocation {runner.allocation}" if runner.allocation else "")
        how_far = f"{job.phase} {job.done}/{job.total}" if job.phase else "starting"
        text = f"  {job.job_id} {escape(job.what)}: {escape(how_far)}, {job.for_s:.0f} s, on {where}"
        console.print(text, highlight=False, soft_wrap=True)
    mine = set(live.queued) & set(live.allocations.values())
    waiting = Counter(live.queued[name].reason or live.queued[name].state for name in mine if live.queued[name].waits)
    if mine:
        running = sum(not live.queued[name].waits for name in mine)
        reasons = ", ".join(f"{count} for {reason}" for reason, count in waiting.items())
        held = f"; waiting: {reasons}" if reasons else ""
        console.print(f"SLURM: {running} of {len(mine)} allocations run{held}.", highlight=False, soft_wrap=True)
    if live.queue_error:
        text = f"[yellow]The queue is unknown:[/] {escape(live.queue_error)} What is called queued may be lost."
        console.print(text, highlight=False, soft_wrap=True)
    if live.counts["lost"]:
        console.print(
            "[yellow]lost[/]: the allocation is gone and left no row. 'bob retry --lost' runs them here, with "
            "--executor slurm on the cluster.",
            soft_wrap=True,
        )
    for submission in live.submissions:
        if (submission.folder / "code-changed.txt").exists():
            console.print(
                f"[yellow]The code changed[/] between submission {submission.id} and its start: "
                f"{submission.folder / 'code-changed.txt'}",
                soft_wrap=True,
            )
    damaged = ResultStore(settings.results_dir).damaged()
    if damaged:
        console.print(f"[yellow]{len(damaged)} damaged records were set aside:[/] {', '.join(damaged)}", soft_wrap=True)


def _logs(root: Path, job_id: str) -> list[Path]:
    """Return a job's logs, oldest first; of several processes the first one's."""
    found = [path for path in (root / "logs").glob(f"{job_id}.*.log") if ".rank" not in path.name]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _allocation_logs(live: Live, job_id: str) -> list[Path]:
    found = []
    for submission in live.submissions:
        for array in submission.arrays:
            for task, job_ids in enumerate(array.tasks):
                name = f"{array.slurm_id}_{task}" if len(array.tasks) > 1 else f"{array.slurm_id}"
                if job_id in job_ids and array.slurm_id:
                    found += sorted((submission.folder / "slurm").glob(f"{name}_*log.out"))
    return found


def _stream(path: Path, *, follow: bool, going_on: Any) -> None:
    """Print a file, control characters shown instead of obeyed, and what is added to it while a job goes on."""
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode  # a letter may lie across two chunks
    with path.open("rb") as file:
        while True:
            while content := file.read(CHUNK_BYTES):
                sys.stdout.write(visible(decode(content)))
            sys.stdout.flush()
            if not follow or not going_on():
                sys.stdout.write(visible(decode(b"", final=True)))
                return
            time.sleep(FOLLOW_POLL_S)


def _targets(options: argparse.Namespace, settings: Settings, live: Live) -> set[str]:
    if sum((bool(options.jobs), bool(options.suite), options.all)) != 1:
        raise ConfigError("name jobs, or a suite with --suite, or --all.", hint="'bob status' shows the jobs.")
    if options.all:
        return set(live.states)
    if options.suite:
        expanded = plan_of(options, settings)
        return {job.id for job in expanded.jobs} if expanded else set()
    return {full_id(live.states, start) for start in options.jobs}
