"""One job over several fresh processes: started, listened to, stopped together; what became of them is one outcome."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import pickle
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from bob.core.errors import BobError
from bob.core.oom_killer import oom_kills
from bob.jobs.context import Context, JobStopped
from bob.jobs.job import Job, Need
from bob.jobs.needs import trains
from bob.runners.ranks.rank_commands import LENGTH_BYTES, WARNINGS, first_host, free_port, local_commands, srun_command
from bob.runners.worker.assignment import Assignment

log = logging.getLogger(__name__)

TICK_S = 0.1
READ_BYTES = 1 << 16
SETTLE_S = 2.0  # the rank that failed may be heard after those that only met its end
CLOSING_S = 2.0
PORTS_AT_MOST = 5
# How a rank sees that another is gone.
ECHO_CLASSES = ("DistBackendError", "DistNetworkError", "DistStoreError")
ECHO_TEXTS = ("gloo/transport", "Connection closed by peer", "Connection reset by peer", "NCCL error", "NCCL Error")

Outcome = dict[str, Any]


def processes_of(job: Job, need: Need | None, processes: int) -> int:
    """Return in how many processes a job runs, or an artifact is made: several only where something is trained."""
    return processes if trains(job, need) else 1


def launch(assignment: Assignment, context: Context, *, port: Callable[[], int] | None = None) -> Outcome:
    """Run a job in ``context.processes`` fresh processes.

    Rank 0 writes the row of a job that ends well; of one that does not the caller writes it. If memory runs out while
    training, all start again from the last checkpoint with half as many pictures at a time, down to one.

    Args:
        assignment: The job; its context's threads are those of each process.
        context: The same, with the ``progress`` to call; ``JobStopped`` out of it has the ranks save and stop.
        port: Chooses the port where the ranks meet; one that turns out to be taken is replaced a few times.

    Returns:
        As ``worker.perform`` does.
    """
    ports = 0
    while True:
        try:
            outcome = _Launch(assignment, context, (port or free_port)()).run()
        except (BobError, OSError) as error:
            log.exception("The job's processes cannot be started.")
            return {"status": "failed", "error_class": type(error).__name__, "error_message": str(error)}
        if outcome.get("error_class") == "PortTakenError" and ports < PORTS_AT_MOST:
            ports += 1
            log.warning("%s Trying another.", outcome["error_message"])
            continue
        tried = outcome.pop("micro_batch", None)
        if tried is None:
            return outcome
        limit = math.ceil(tried / 2)
        before = assignment.context.micro_batch
        if limit >= tried or (before is not None and limit >= before):
            return outcome
        log.warning("%s All start again with %d at a time.", outcome["error_message"], limit)
        assignment = replace(assignment, context=replace(assignment.context, micro_batch=limit))


@dataclass(kw_only=True)
class _Started:
    """A process that is one rank, or srun with all of them."""

    process: subprocess.Popen[bytes]
    ranks: range
    buffer: bytes = b""
    silent: bool = False


@dataclass(kw_only=True)
class _Heard:
    """What the ranks have said and how processes died."""

    ready: set[int] = field(default_factory=set)
    ended: dict[int, Outcome] = field(default_factory=dict)
    failures: list[Outcome] = field(default_factory=list)  # in order of arrival
    first_failure: float | None = None

    def failed(self, rank: int, outcome: Outcome) -> None:
        self.failures.append({**outcome, "rank": rank})
        self.first_failure = self.first_failure or time.monotonic()


class _Launch:
    """One set of ranks, from start to end."""

    def __init__(self, assignment: Assignment, context: Context, port: int) -> None:
        self._assignment = assignment
        self._context = context
        self._count = assignment.context.processes
        self._heard = _Heard()
        self._said = ("starting processes", 0, self._count)
        self._stopping = False
        self._kills_before = oom_kills()
        self._selector = selectors.DefaultSelector()
        self._started: list[_Started] = []
        self._port = port

    def run(self) -> Outcome:
        """Start the ranks, and return the outcome when it is known; none of them is left then."""
        try:
            self._start()
            while (outcome := self._outcome()) is None:
                self._listen()
                self._look_for_deaths()
                self._stop_if_told()
            return outcome
        finally:
            self._end()

    def _start(self) -> None:
        order = pickle.dumps(self._assignment)
        commands: Sequence[tuple[list[str], dict[str, str]]]
        if self._assignment.nodes > 1:
            commands = [srun_command(self._assignment, os.environ, port=self._port, first_host=first_host())]
            ranks = [range(self._count)]
        else:
            commands = local_commands(self._assignment, os.environ, port=self._port)
            ranks = [range(rank, rank + 1) for rank in range(self._count)]
        for (command, variables), own in zip(commands, ranks, strict=True):
            with _warnings_held(self._assignment.nodes == 1):
                process = subprocess.Popen(
                    command, env=variables, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            started = _Started(process=process, ranks=own)
            self._started.append(started)
            os.set_blocking(_stdout(process), False)
            self._selector.register(_stdout(process), selectors.EVENT_READ, started)
            self._tell(process, len(order).to_bytes(LENGTH_BYTES, "big") + order)

    def _tell(self, process: subprocess.Popen[bytes], content: bytes) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(content)
        except BrokenPipeError:
            log.warning("A rank ended before it had its order.")

    def _listen(self) -> None:
        for key, _ in self._selector.select(TICK_S):
            self._read(key.data)
        if not self._selector.get_map():
            time.sleep(TICK_S)

    def _read(self, started: _Started) -> None:
        pipe = _stdout(started.process)
        while not started.silent:
            try:
                content = os.read(pipe, READ_BYTES)
            except BlockingIOError:
                return
            if not content:
                self._selector.unregister(pipe)
                started.silent = True
            *lines, started.buffer = (started.buffer + content).split(b"\n")
            for line in lines:
                self._hear(json.loads(line))

    def _hear(self, message: dict[str, Any]) -> None:
        rank, event = message.pop("rank"), message.pop("event")
        if event == "ready":
            self._heard.ready.add(rank)
        elif event == "progress":
            self._said = (message["phase"], message["done"], message["total"])
        else:
            self._heard.ended[rank] = message
            if message["status"] not in ("ok", "stopped"):
                self._heard.failed(rank, message)

    def _look_for_deaths(self) -> None:
        for started in self._started:
            code = started.process.poll()
            if code is None:
                continue
            self._read(started)  # its last words; a child of it may still hold the pipe
            for rank in started.ranks:
                if rank not in self._heard.ended:
                    death = self._death(code)
                    self._heard.ended[rank] = death
                    self._heard.failed(rank, death)

    def _death(self, code: int) -> Outcome:
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else "unknown"
            text = f"its process was killed by signal {-code} ({name})"
        else:
            text = f"its process ended with exit code {code} and without a result"
        kills = oom_kills()
        lack = kills is not None and self._kills_before is not None and kills > self._kills_before
        if code == -signal.SIGKILL and lack:
            message = f"the kernel's out-of-memory killer ended it; {text}"
            return {"status": "oom", "error_class": "OutOfMemoryError", "error_message": message, "code": code}
        return {"status": "failed", "error_class": "WorkerDied", "error_message": text, "code": code}

    def _stop_if_told(self) -> None:
        try:
            self._context.progress(*self._said)
        except JobStopped:
            if self._stopping:
                return
            self._stopping = True
            if len(self._heard.ready) == self._count:
                # srun ends its step at a SIGTERM; a SIGUSR2 it passes on.
                number = signal.SIGUSR2 if self._assignment.nodes > 1 else signal.SIGTERM
                for started in self._started:
                    started.process.send_signal(number)

    def _outcome(self) -> Outcome | None:
        """Return what became of the job, as soon as that is certain."""
        heard = self._heard
        first = heard.ended.get(0, {})
        if first.get("status") in ("ok", "stopped"):
            return first
        if self._stopping and len(heard.ready) < self._count:
            return {"status": "stopped"}  # nothing has begun that could be saved
        if heard.first_failure is None:
            return None
        settling = time.monotonic() - heard.first_failure < SETTLE_S
        if all(map(_by_warning, heard.failures)):
            # It met a rank that had hardly begun; this process has been warned as well, or is about to be.
            if self._stopping:
                return {"status": "stopped"}
            if settling:
                return None
        waits = len(heard.ended) < self._count and settling
        if waits and all(map(_is_echo, heard.failures)):
            return None
        return self._cause()

    def _cause(self) -> Outcome:
        """Return the failure that brought the others about."""
        cause = dict(sorted(self._heard.failures, key=_is_echo)[0])  # the earliest of a kind comes first
        rank = cause.pop("rank")
        cause.pop("code", None)
        where = f"rank {rank} of {self._count}: " if rank else ""
        return {**cause, "error_message": f"{where}{cause['error_message']}"}

    def _end(self) -> None:
        """Let the ranks go: the end of stdin ends them; what is left after a moment is killed, its children too."""
        for started in self._started:
            if started.process.stdin is not None:
                started.process.stdin.close()
        deadline = time.monotonic() + CLOSING_S
        for started in self._started:
            try:
                started.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill(started.process)
            if started.process.stdout is not None:
                started.process.stdout.close()
        self._selector.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
    except psutil.NoSuchProcess:
        log.debug("Process %d went by itself.", process.pid)
    process.kill()
    process.wait()


def _is_echo(failure: Outcome) -> bool:
    """Tell whether a failure is only how a rank met the end of another."""
    # NCCL's watchdog aborts a process whose peers are gone.
    aborted = failure.get("code") == -signal.SIGABRT
    texts = any(text in str(failure.get("error_message")) for text in ECHO_TEXTS)
    return aborted or texts or failure["error_class"] in ECHO_CLASSES


def _by_warning(failure: Outcome) -> bool:
    """Tell whether a rank died of SLURM's warning, before it could listen."""
    return failure.get("code") in (-signal.SIGUSR2, 128 + signal.SIGUSR2)


@contextlib.contextmanager
def _warnings_held(held: bool) -> Iterator[None]:
    """Start a rank with the signals to stop held back, until it can take them: none is lost, and none kills it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS if held else ())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stdout(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return process.stdout.fileno()
