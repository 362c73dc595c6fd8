"""One of several processes of a job: started fresh by ``rank_launch``, told on stdin, heard on stdout.

It is a process of its own from the start, since CUDA and the libraries that talk between processes survive no fork.
stdin carries the order (8 bytes of length, then a pickle from the launcher, whose pipe nobody else can write to) and
stays open: its end is the launcher's, and this process ends with it. stdout carries lines of JSON; what the job prints
goes to the log.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import MutableMapping
from dataclasses import replace

import psutil

from bob.jobs.context import Context, no_progress
from bob.runners.ranks.rank_commands import LENGTH_BYTES, WARNINGS
from bob.runners.worker.assignment import Assignment
from bob.runners.worker.worker import Reporter, limit_threads, perform, redirect_output

log = logging.getLogger(__name__)

LINGER_S = 30.0
# What the launcher sets, and where SLURM's srun, which starts a job's ranks on several nodes, says the same.
PLACES = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID"}


def main() -> None:
    """Be a rank: read the order, do it with the others, report, and stay until the launcher has heard it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # until it is known whose it is; SLURM sends it to every process
    orders, reports = _private(0, os.O_RDONLY), _private(1, os.O_WRONLY)
    assignment: Assignment = pickle.loads(_read(orders, int.from_bytes(_read(orders, LENGTH_BYTES), "big")))
    lifeline = Lifeline(orders)
    take_place(os.environ, gpus=assignment.gpu)
    rank = int(os.environ["RANK"])
    reporter = Reporter(reports, rank=rank)
    # All stop at the same step: rank 0 says which.
    for number in WARNINGS:
        signal.signal(number, reporter.stop if rank == 0 else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WARNINGS)
    context = rank_context(assignment.context, reporter, rank=rank, local_rank=int(os.environ["LOCAL_RANK"]))
    redirect_output(context.log_path)
    limit_threads(context.threads)
    reporter.tell("ready")
    outcome = perform(assignment, context)
    if outcome["status"] == "ok" and rank:
        outcome = {"status": "ok"}
    reporter.end(outcome)
    if outcome["status"] in ("ok", "stopped"):
        # The others may still be reading what this one sent them.
        lifeline.wait(LINGER_S)
    logging.shutdown()
    for child in multiprocessing.active_children():
        child.kill()
    # Threads of libraries would hold the process for as long as a peer that is gone keeps them waiting.
    os._exit(0 if outcome["status"] in ("ok", "stopped") else 1)


def take_place(environment: MutableMapping[str, str], *, gpus: str) -> None:
    """Say in torch's and Accelerate's variables which rank this is, where only SLURM has said it so far.

    Where SLURM has bound each task to a GPU of its own, that is the first and only one that the task sees.
    """
    for name, of_slurm in PLACES.items():
        if name not in environment:
            environment[name] = environment[of_slurm]
    visible = environment.get("CUDA_VISIBLE_DEVICES", gpus).split(",")
    if gpus and int(environment["LOCAL_RANK"]) >= len(visible):
        environment["LOCAL_RANK"] = "0"


def rank_context(context: Context, reporter: Reporter, *, rank: int, local_rank: int) -> Context:
    """Return a job's circumstances as one of its ranks has them: rank 0 reports, each has a device and a log."""
    log_path = context.log_path
    if rank and log_path is not None:
        log_path = log_path.with_name(f"{log_path.stem}.rank{rank}{log_path.suffix}")
    device = f"cuda:{local_rank}" if context.device.startswith("cuda") else context.device
    progress = no_progress if rank else reporter.progress
    return replace(context, rank=rank, device=device, log_path=log_path, progress=progress)


class Lifeline:
    """Ends this process, and its children, when the launcher's end of stdin closes before the job is through.

    Args:
        pipe: File descriptor of what was stdin.
    """

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._through = threading.Event()
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def wait(self, timeout_s: float) -> None:
        """Wait for the launcher to close its end, which from now on kills nobody."""
        self._through.set()
        self._closed.wait(timeout_s)

    def _watch(self) -> None:
        while os.read(self._pipe, 1):
            log.debug("More on stdin than an order.")
        self._closed.set()
        if self._through.is_set():
            return
        for child in psutil.Process().children(recursive=True):
            child.kill()
        os.kill(os.getpid(), signal.SIGKILL)


def _private(standard: int, flags: int) -> int:
    """Move a standard stream to a descriptor that no child inherits; nothing stands in its place."""
    kept = os.dup(standard)
    nothing = os.open(os.devnull, flags)
    os.dup2(nothing, standard)
    os.close(nothing)
    return kept


def _read(pipe: int, count: int) -> bytes:
    content = b""
    while len(content) < count:
        part = os.read(pipe, count - len(content))
        if not part:
            raise EOFError(f"stdin ended after {len(content)} of {count} bytes: the launcher is gone.")
        content += part
    return content


if __name__ == "__main__":
    main()
