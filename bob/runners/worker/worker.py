"""What runs in a worker: one job or one artifact, then the process ends and takes all its state along."""

from __future__ import annotations

import faulthandler
import json
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bob.core.errors import StoreError
from bob.core.registry import load_reference
from bob.core.text import LOG_FORMAT, VisibleFormatter
from bob.jobs.context import Context, JobStopped, UnfinishedError
from bob.runners.worker.assignment import AGAIN, Assignment, References
from bob.runners.worker.failure_rows import record_failure

log = logging.getLogger(__name__)

REPORT_EVERY_S = 0.1
PIPE_ATOMIC_BYTES = 4096
MAX_MESSAGE = 2000
SHOW_STACKS = signal.SIGUSR1  # every thread's stack goes to the log
# The parts of a row that a runner says in one sentence.
ROW_SUMMARY = ("status", "metric", "score", "score_low", "score_high", "wall_s", "error_class", "error_message")


class Reporter:
    """The worker's end of the pipe to the runner: lines of JSON, dropped rather than waited for.

    Args:
        pipe: Its file descriptor.
        said: What every line carries.
    """

    def __init__(self, pipe: int, **said: Any) -> None:
        self._pipe = pipe
        self._said = said
        self._stopping = threading.Event()
        self._last: tuple[str, float] = ("", 0.0)
        os.set_blocking(pipe, False)

    def stop(self, *_: object) -> None:
        """Have the next report raise ``JobStopped``; this is the handler of SIGTERM and SIGUSR2."""
        self._stopping.set()

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tell the runner how far the job is, a few times a second at most.

        Raises:
            JobStopped: The runner asked for the job's end.
        """
        if self._stopping.is_set():
            raise JobStopped(f"asked to stop in phase {phase!r} at {done} of {total}")
        now = time.monotonic()
        if phase == self._last[0] and done < total and now - self._last[1] < REPORT_EVERY_S:
            return
        self._last = (phase, now)
        line = _line({**self._said, "event": "progress", "phase": phase[:200], "done": done, "total": total})
        try:
            # Up to PIPE_BUF bytes a pipe takes a line whole or not at all.
            os.write(self._pipe, line[:PIPE_ATOMIC_BYTES])
        except BlockingIOError:
            log.debug("The runner is behind; a progress report was dropped.")

    def end(self, outcome: dict[str, Any]) -> None:
        """Tell the runner how it ended, waiting until it listens."""
        self.tell("end", **outcome)

    def tell(self, event: str, **content: Any) -> None:
        """Send an event, waiting until somebody listens."""
        os.set_blocking(self._pipe, True)
        line = memoryview(_line({**self._said, "event": event, **content}))
        while line:
            line = line[os.write(self._pipe, line) :]
        os.set_blocking(self._pipe, False)


def main(assignment: Assignment, writer: Connection) -> None:
    """Be a worker: run the assignment in a process group of its own and report on the pipe."""
    os.setsid()
    context = assignment.context
    redirect_output(context.log_path)
    os.environ["CUDA_VISIBLE_DEVICES"] = assignment.gpu
    limit_threads(context.threads)
    threading.Thread(target=_die_with_runner, name="lifeline", daemon=True).start()
    reporter = Reporter(writer.fileno())
    for number in (signal.SIGTERM, signal.SIGUSR2):  # SLURM sends its warnings to every process of a step
        signal.signal(number, reporter.stop)
    # Even while it waits in C for a device or a file that never answers.
    faulthandler.register(SHOW_STACKS, file=2, all_threads=True)
    told = Context(**{**vars(context), "progress": reporter.progress})
    if context.processes > 1:
        from bob.runners.ranks.rank_launch import launch  # only where it is used: it imports psutil

        outcome = launch(assignment, told)
    else:
        outcome = perform(assignment, told)
    reporter.end(recorded(assignment, outcome))


def perform(assignment: Assignment, context: Context) -> dict[str, Any]:
    """Run the job, which appends its row, or make the artifact; the traceback of an error goes to the log.

    Returns:
        Status, and score or error, as far as the runner prints them. The status is ``stopped``, without a row, if
        the job ended early because it was asked to, and ``again`` if an artifact waits for its next turn.
    """
    job, need, references = assignment.job, assignment.need, assignment.references
    try:
        if need is not None:
            load_reference(references.make_artifact)(need, job, context)
            return {"status": "ok"}
        row = load_reference(references.execute)(job, context)
        return {"status": "ok", **{name: row[name] for name in ROW_SUMMARY if row.get(name) is not None}}
    except JobStopped as stopped:
        log.warning("The job was %s.", stopped)
        return {"status": "stopped"}
    except UnfinishedError:
        return {"status": AGAIN}
    except BaseException as error:
        # SystemExit too is an ending that must leave its row.
        log.exception("%s ended with an error.", need.key if need else job.id)
        said = {"status": load_reference(references.status_of)(error), "error_class": type(error).__name__}
        # What did not fit, where several processes must start again with less.
        micro = {"micro_batch": error.micro_batch} if hasattr(error, "micro_batch") else {}
        return {**said, "error_message": _text(error, references)[:MAX_MESSAGE], **micro}


def recorded(assignment: Assignment, outcome: dict[str, Any]) -> dict[str, Any]:
    """Append the row of a job that ended with an error; return the outcome as it is."""
    if assignment.need is None and "error_class" in outcome:
        try:
            record_failure(
                assignment.references,
                assignment.job,
                assignment.context,
                status=outcome["status"],
                error_class=outcome["error_class"],
                message=outcome["error_message"],
            )
        except StoreError:
            # The runner is told all the same: it finds no record and writes one, or ends with what keeps it from that.
            log.exception("The row of this failure could not be written.")
    return outcome


def _text(error: BaseException, references: References) -> str:
    try:
        return load_reference(references.message_of)(error)
    except Exception as second:  # noqa: BLE001 - an error whose own text fails must still become a row
        return f"{type(error).__name__}, whose message cannot be shown: {type(second).__name__}"


def redirect_output(log_path: Path | None) -> None:
    """Send everything the process and its children write, from C as well, to the log."""
    if log_path is not None:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log_file, 1)
        os.dup2(log_file, 2)
        os.close(log_file)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(VisibleFormatter(LOG_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    logging.captureWarnings(True)
    faulthandler.enable(file=2)


def limit_threads(threads: int) -> None:
    """Set this worker's share of threads: the libraries loaded in the server have read their variables already."""
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _die_with_runner() -> None:
    """Wait for the runner's end and end with it, data-loading children included."""
    runner = multiprocessing.parent_process()
    if runner is not None:
        runner.join()
        os.killpg(0, signal.SIGKILL)


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, default=str).encode() + b"\n"
