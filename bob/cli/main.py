"""The parser and the one place where an error becomes text and an exit code."""

from __future__ import annotations

import argparse
import gc
import io
import logging
import os
import sys
from collections.abc import Sequence

from bob.cli.slurm_options import add_cluster_options, add_submit_options
from bob.core.errors import BobError
from bob.core.registry import load_reference
from bob.core.text import OnceFilter, VisibleFormatter, visible
from bob.core.version import __version__

GC_THRESHOLDS = (200_000, 50, 50)
EXAMPLES = """\
examples:
  bob run small_backbones                          run a suite, or what is missing of it
  bob run --backbone resnet50.a1_in1k --protocol linear --data ~/pets
  bob plan small_backbones                         what would run, and how long
  bob data ~/pets                                  what a folder of pictures holds, and how it is read
  bob list backbones --filter dino                 the catalogue
  bob report --results results                     the ranking of what is there

exit codes: 0 all well, 1 some jobs did not give a number, 2 a mistake in what was asked, 130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # A plan makes a million objects that stay: looking through them again and again takes a third of its time.
    gc.set_threshold(*GC_THRESHOLDS)
    parser = build_parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help()
        return 0
    options = parser.parse_args(arguments)
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(VisibleFormatter())
        logging.lastResort.filters = [OnceFilter()]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot write becomes a question mark, not an error
            stream.reconfigure(errors="replace")
    try:
        return load_reference(options.handler)(options)
    except BobError as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            # Somebody piped us into `head`: that is no error of ours, and Python must not complain at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(visible(f"error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted.", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="bob",
        description="Battle of the Backbones: which pretrained vision backbone is best for your task.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bob {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_list(commands)
    _add_data(commands)
    _add_suite_commands(commands)
    _add_result_commands(commands)
    _add_queue_commands(commands)
    _add_profile(commands)
    _add_doctor(commands)
    return parser


_Commands = argparse._SubParsersAction  # the type has no public name


def _command(commands: _Commands, name: str, handler: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(handler=handler)
    return parser


def _add_list(commands: _Commands) -> None:
    parser = _command(commands, "list", "bob.cli.registry_commands:list_entries", "Show what is registered.")
    kinds = ("backbones", "tasks", "protocols", "heads", "scores", "metrics", "datasets", "suites")
    parser.add_argument("what", choices=kinds)
    parser.add_argument("--filter", metavar="TEXT", help="a word, or a condition such as 'params_m < 30'")
    parser.add_argument("--plugin", action="append", metavar="FILE", help="a Python file with your own entries")
    _add_json(parser)


def _add_data(commands: _Commands) -> None:
    parser = _command(
        commands,
        "data",
        "bob.cli.data_commands:data",
        "Show what a data set holds and how it is read, without a model.",
    )
    parser.add_argument("dataset", metavar="DATASET", help="a folder, a file, or a data set's name")
    parser.add_argument("--follow-links", action="store_true", help="links may lead out of the folder")
    parser.add_argument("--copies", action="store_true", help="search for copies in another size, compression or crop")
    parser.add_argument("--check", action="store_true", help="decode every picture (kept, as a run does it)")
    parser.add_argument("--sheet", metavar="FILE", help="where the contact sheet goes (default: RESULTS/data/NAME.png)")
    parser.add_argument("--no-sheet", action="store_true", help="draw no contact sheet")
    parser.add_argument("--plugin", action="append", metavar="FILE", help="a Python file with your own readers")
    _add_folders(parser)
    _add_json(parser)


def _add_suite_commands(commands: _Commands) -> None:
    plan = _command(commands, "plan", "bob.cli.suite_commands:plan", "Show what a suite would run, without running it.")
    fetch = _command(
        commands, "fetch", "bob.cli.suite_commands:fetch", "Bring a suite's checkpoints and data sets to this machine."
    )
    run = _command(commands, "run", "bob.cli.suite_commands:run", "Run a suite, or one job; only what is missing.")
    for parser in (plan, fetch, run):
        parser.add_argument("suite", nargs="?", help="a suite's name ('bob list suites') or file")
        _add_job_options(parser)
        _add_folders(parser)
    for parser in (plan, fetch):
        _add_json(parser)
    for parser in (plan, run):
        add_cluster_options(parser)
    add_submit_options(run)
    run.add_argument("--workers", type=int, help="jobs at a time (default: one per GPU, or per CPU core)")
    run.add_argument(
        "--processes", type=int, help="processes of each job that trains (per node): one per GPU, or sharing the cores"
    )
    run.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where jobs run")
    run.add_argument(
        "--timeout-min", type=_minutes, help="minutes after which a job is stopped, whatever the suite says"
    )
    run.add_argument(
        "--loader-workers", type=int, default=0, metavar="N",
        help="processes that decode pictures beside each job (default: 0, threads of the job itself)",
    )  # fmt: skip
    run.add_argument("--no-fetch", action="store_true", help="do not ask the hub for checkpoints that are missing")
    run.add_argument("--display", choices=("auto", "live", "lines", "none"), default="auto", help="progress display")


def _minutes(text: str) -> float:
    minutes = float(text)
    if not minutes > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: more than 0 minutes are expected")
    return minutes


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", help="another scale of the suite, such as paper")
    parser.add_argument(
        "--data", action="append", metavar="DATASET", help="a folder or data set in place of the suite's"
    )
    parser.add_argument("--follow-links", action="store_true", help="links may lead out of a data set's folder")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="sets",
        help="image_size=224, budget.max_train=400, knn.k=10; repeatable",
    )  # fmt: skip
    one = parser.add_argument_group("one job, without a suite file")
    one.add_argument("--backbone", action="append", metavar="NAME", help="arch.tag, or arch.random; repeatable")
    one.add_argument("--task", help="default: classification")
    one.add_argument("--protocol", action="append", metavar="NAME", help="default: linear; repeatable")
    one.add_argument("--seed", action="append", type=int, metavar="N", help="repeatable; default: 0")
    one.add_argument(
        "--shift", action="append", metavar="DATASET", help="a shifted data set of the same classes; repeatable"
    )
    for kind in ("near", "far"):
        one.add_argument(
            f"--{kind}", action="append", metavar="DATASET", help=f"a {kind} out-of-distribution data set; repeatable"
        )
    one.add_argument(
        "--plugin",
        action="append",
        metavar="FILE",
        help="a Python file with your own entries (backbones, tasks, heads, ...); it is run",
    )


def _add_result_commands(commands: _Commands) -> None:
    status = _command(
        commands, "status", "bob.cli.queue_commands:status", "Show how the jobs are: done, running, queued, lost."
    )
    show = _command(commands, "show", "bob.cli.result_commands:show", "Show everything a job left.")
    show.add_argument("job", help="a job id, or the start of one")
    report = _command(commands, "report", "bob.cli.result_commands:report", "Rank the backbones and write the report.")
    status.add_argument("--watch", nargs="?", type=float, const=5.0, metavar="S", help="again every so many seconds")
    for parser in (status, report):
        parser.add_argument("suite", nargs="?", help="only this suite's jobs; its missing ones are counted too")
        _add_as_it_was_run(parser)
    report.add_argument("--out", metavar="DIR", help="where to write (default: RESULTS/report/SUITE)")
    report.add_argument(
        "--mix", action="store_true", help="put rows of different budget, size or hardware in one table"
    )
    report.add_argument("--reference", action="append", metavar="BACKBONE", help="reference set of the z-scores")
    report.add_argument("--max-latency-ms", type=float, help="recommend within this latency at batch 1 (p50)")
    report.add_argument("--max-memory-mb", type=float, help="recommend within this peak memory at batch 1")
    for parser in (status, show, report):
        _add_folders(parser)
        _add_json(parser)


def _add_as_it_was_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scale", help="the suite's scale")
    parser.add_argument("--data", action="append", metavar="DATASET", help="the data the suite was run on")
    parser.add_argument("--follow-links", action="store_true", help="links may lead out of a data set's folder")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")


def _add_queue_commands(commands: _Commands) -> None:
    logs = _command(commands, "logs", "bob.cli.queue_commands:logs", "Print a job's log.")
    logs.add_argument("job", help="a job id, or the start of one")
    logs.add_argument("--follow", "-f", action="store_true", help="go on while the job does")
    logs.add_argument("--allocation", action="store_true", help="the log of its SLURM allocation instead")
    cancel = _command(
        commands, "cancel", "bob.cli.queue_commands:cancel", "Stop jobs, running or queued; they leave no row."
    )
    cancel.add_argument("jobs", nargs="*", metavar="JOB", help="job ids, or their starts")
    cancel.add_argument("--suite", help="every job of this suite")
    cancel.add_argument("--all", action="store_true", help="every job of the store")
    _add_as_it_was_run(cancel)
    retry = _command(commands, "retry", "bob.cli.queue_commands:retry", "Run again what gave no number.")
    retry.add_argument("suite", nargs="?", help="only this suite's jobs (default: what was submitted to SLURM)")
    for kind in ("failed", "oom", "timeout", "lost", "cancelled"):
        retry.add_argument(
            f"--{kind}", action="store_true", help=f"those that are {kind} (default: all of these kinds)"
        )
    _add_job_options(retry)
    add_cluster_options(retry)
    add_submit_options(retry)
    for parser in (logs, cancel, retry):
        _add_folders(parser)


def _add_profile(commands: _Commands) -> None:
    parser = _command(
        commands, "profile", "bob.cli.registry_commands:profile", "Measure a backbone's cost on this machine."
    )
    parser.add_argument("backbone", help="arch.tag")
    parser.add_argument("--image-size", type=int, default=224, metavar="PX")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="fp32")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--plugin", action="append", metavar="FILE", help="a Python file with your own backbones")
    _add_folders(parser)
    _add_json(parser)


def _add_doctor(commands: _Commands) -> None:
    parser = _command(
        commands, "doctor", "bob.cli.doctor:doctor", "Check this machine: packages, devices, folders, the hub."
    )
    _add_folders(parser)
    _add_json(parser)


def _add_folders(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("folders")
    group.add_argument("--results", metavar="DIR", help="the result store (default: results; BOB_RESULTS)")
    group.add_argument(
        "--cache", metavar="DIR", help="features, profiles, manifests (default: ~/.cache/bob; BOB_CACHE)"
    )
    group.add_argument("--data-dir", metavar="DIR", help="downloaded data sets (default: CACHE/data; BOB_DATA)")
    group.add_argument("--weights", action="append", metavar="DIR", help="checkpoints, looked at first (BOB_WEIGHTS)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
