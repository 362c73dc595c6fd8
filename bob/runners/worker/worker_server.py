"""The server the workers fork from: started once with everything imported, restarted if it dies."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil

from bob.core.errors import BobError
from bob.core.interrupts import SIGNALS
from bob.core.process import import_path
from bob.runners.worker import fork_server_entry as preloading

log = logging.getLogger(__name__)

HAS_SAFE_PATH = sys.version_info >= (3, 11)
SECRET = re.compile(r"^BOB_.*(TOKEN|SECRET|PASSWORD|KEY)", re.IGNORECASE)
DEATH_S = 5.0
# What multiprocessing says of a process whose server can no longer tell.
EXIT_CODE_UNKNOWN = 255
GIB = 1 << 30
# glibc keeps freed memory instead of handing every large buffer back to the kernel and faulting it in again.
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(GIB),
    "MALLOC_TRIM_THRESHOLD_": str(4 * GIB),
    "MALLOC_TOP_PAD_": str(GIB // 16),
}


def server_environment(*, threads: int, patient: bool) -> dict[str, str]:
    """Return the variables that must stand before torch is loaded: allocator, threads, and patience in waiting.

    Args:
        threads: Threads of one worker.
        patient: Whether threads sleep while they wait, because the cores are shared with others.
    """
    variables = {**ALLOCATOR, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if patient:
        # Threads that wait busily take the cores from the neighbours: 10 times slower beside one of them. On a quiet
        # machine the patience costs a quarter.
        variables |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    return variables


def is_running(pid: int) -> bool:
    """Tell whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class ForkServer:
    """Starts processes by forking a preloaded server.

    It is ``multiprocessing``'s, of which an interpreter has one: so has a program one ``ForkServer`` at a time.

    Args:
        preload: Modules the server imports before it forks.
        variables: Environment of the server and so of every worker, added to this process's.

    Attributes:
        pid: The server's process; None before its start.
    """

    def __init__(self, *, preload: Sequence[str], variables: Mapping[str, str]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._token = uuid.uuid4().hex
        self._variables = dict(variables)
        self._preload = tuple(preload)
        self.pid: int | None = None

    def use(self, variables: Mapping[str, str]) -> None:
        """Have the server run with these variables: one that runs with others is ended, to be started anew."""
        if variables != self._variables:
            self.stop()
            self._variables = dict(variables)

    def alive(self) -> bool:
        """Tell whether the server runs."""
        return self.pid is not None and is_running(self.pid)

    def ensure(self) -> None:
        """Start the server unless it runs, and wait until it has imported everything.

        Raises:
            BobError: A module cannot be imported, or the server died of it.
        """
        if self.alive():
            return
        if self.pid is not None:
            log.warning("The server that workers fork from (process %d) died; it is started again.", self.pid)
        try:
            report = self._ask()
        except (EOFError, OSError) as error:
            log.warning("The server that workers fork from died while it imported (%s); it is tried once more.", error)
            self._await_death()
            report = self._ask_again()
        if report["token"] not in (None, self._token):
            log.debug("A run that was broken off has left its server %d; it is ended.", report["server_pid"])
            self.pid = report["server_pid"]
            self.stop()
            report = self._ask_again()
        self._check(report)

    def start(self, target: Callable[..., None], args: tuple[Any, ...]) -> ForkServerProcess:
        """Fork a process that calls ``target(*args)``; the server is started first if it does not run."""
        self.ensure()
        try:
            return self._start(target, args)
        except (EOFError, OSError):
            self._await_death()
            self.ensure()
            return self._start(target, args)

    def stop(self) -> None:
        """End the server, if it is ours; workers that still run are not touched."""
        if self.pid is not None and self.alive():
            os.kill(self.pid, signal.SIGKILL)
            self._await_death()
        self.pid = None

    def _start(self, target: Callable[..., None], args: tuple[Any, ...]) -> ForkServerProcess:
        process = self._context.Process(target=target, args=args)
        self._context.set_forkserver_preload([preloading.__name__])
        content = {"modules": self._preload, "path": import_path(), "folder": str(Path.cwd()), "token": self._token}
        order = json.dumps(content)
        with _without_main():
            with _environment({**self._variables, preloading.VARIABLE: order}), _ignoring_interrupts():
                with _away_from_the_current_folder():
                    forkserver.ensure_running()
            process.start()
        return process

    def _ask(self) -> dict[str, Any]:
        """Fork a process that says what the server has imported; the server starts for that."""
        reader, writer = self._context.Pipe(duplex=False)
        with reader:
            with writer:
                process = self._start(_report, (writer, self._preload))
            report = reader.recv()
        process.join()
        return report

    def _ask_again(self) -> dict[str, Any]:
        try:
            return self._ask()
        except (EOFError, OSError) as error:
            raise BobError(
                f"the server that workers fork from died while it imported {', '.join(self._preload)}.",
                hint="'bob doctor' shows what is wrong with the installation.",
            ) from error

    def lost(self, process: ForkServerProcess, server_pid: int | None) -> bool:
        """Tell whether a process seems gone only because the server it was forked from died.

        Args:
            process: One that ``start`` returned and that has ended.
            server_pid: The server's number at that time.
        """
        if process.exitcode != EXIT_CODE_UNKNOWN or server_pid is None:
            return False
        if server_pid == self.pid:
            # The server's pipes close a moment before it counts as dead.
            self._await_death(timeout_s=1.0)
        return server_pid != self.pid or not self.alive()

    def _await_death(self, *, timeout_s: float = DEATH_S) -> None:
        """Wait until a server that was hit is seen to be dead: only then does the library start another."""
        deadline = time.monotonic() + timeout_s
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.005)

    def _check(self, report: dict[str, Any]) -> None:
        if report["token"] != self._token:
            log.warning("Another fork server runs in this program: workers import their modules one by one.")
            return
        self.pid = report["server_pid"]
        log.debug("Workers fork from process %d.", self.pid)
        if report["errors"]:
            module, text = next(iter(report["errors"].items()))
            log.error("Importing %s failed:\n%s", module, text)
            raise BobError(
                f"module {module!r} cannot be imported: {text.strip().splitlines()[-1]}",
                hint="'bob doctor' shows what is wrong with the installation.",
            )


def _report(writer: Connection, modules: Sequence[str]) -> None:
    """Run in a forked child: say what the server has imported, importing here what it has not."""
    order = json.loads(os.environ.get(preloading.VARIABLE, "{}"))
    errors = dict(preloading.ERRORS)
    for name in modules:
        if name not in errors:
            importlib.import_module(name)
    writer.send({"server_pid": os.getppid(), "token": order.get("token"), "errors": errors})


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Hold variables in this process's environment, from which the server takes its own, and no secret of ours."""
    hidden = [name for name in os.environ if SECRET.match(name)]
    before = {name: os.environ.get(name) for name in (*variables, *hidden)}
    for name in hidden:
        del os.environ[name]
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _away_from_the_current_folder() -> Iterator[None]:
    """Start Python so that it imports nothing from the current folder, which may hold somebody's ``socket.py``.

    ``multiprocessing`` starts its server and its resource tracker with ``python -c``, which looks there first. Python
    3.10 has no variable against that: there they start in the standard library's folder, which they look in anyway,
    and ``preloading`` goes back.
    """
    if HAS_SAFE_PATH:
        with _environment({"PYTHONSAFEPATH": "1"}):
            yield
        return
    before = Path.cwd()
    os.chdir(Path(os.__file__).parent)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module, which ``multiprocessing`` would otherwise run again in every worker.

    A worker needs nothing of it, a console script costs time, and a script without a ``__main__`` guard would start
    the whole suite once more.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start children that a Ctrl-C in the terminal, or what SLURM sends to all processes of a step, passes by.

    The runner alone decides what a signal means: a server that died of it would take word of every worker along.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
