"""Clocks that differ between hosts and jump under a run: leases, folds, durations, and a row per job all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from places import HELPERS
from runner_jobs import events

from bob.core.lease import TTL_S, Lease
from bob.store import ResultStore
from bob.store.store import LEFTOVER_AGE_S

ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{HELPERS}{os.pathsep}{HELPERS.parent}"}
HOURS = 3600
# libfaketime would do, but for its clock_nanosleep, which refuses the absolute times that Python 3.11 sleeps until.
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static long offset(void) {
    long seconds = 0;
    FILE *file = fopen(getenv("CLOCK_OFFSET_FILE"), "r");
    if (file) { if (fscanf(file, "%ld", &seconds) != 1) seconds = 0; fclose(file); }
    return seconds;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return code;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *out, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec; out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
Clock = Callable[[Path], dict[str, str]]
LOOK = """
import json, sys
from bob.core.lease import Lease
from pathlib import Path
lease = Lease.try_take(Path(sys.argv[1]))
print(json.dumps(lease is not None))
"""


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that moves a process's time of day and no other clock; the test skips where none can be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler here to build the clock with")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(CLOCK)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(folder / "clock.so"), str(folder / "clock.c"), "-ldl"]
    subprocess.run(command, check=True)
    return folder / "clock.so"


@pytest.fixture
def clock(library: Path) -> Callable[[Path], dict[str, str]]:
    """Makes the variables of a process whose time of day is off by the seconds in a file, looked at each time."""
    return lambda stamp: {**ENVIRONMENT, "LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(stamp)}


def start(folder: Path, environment: dict[str, str], *, host: str = "", seconds: float = 0.3) -> subprocess.Popen[str]:
    """Start a runner of 8 jobs, on a host of another name if one is given."""
    command = [sys.executable, "-m", "runner_jobs", str(folder), "8", "sleep", str(seconds)]
    if host:
        command = ["unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "sh", *command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, start_new_session=True)


def finish(runner: subprocess.Popen[str]) -> dict[str, object]:
    """Wait for a runner's summary."""
    out, err = runner.communicate(timeout=120)
    assert runner.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def require_namespaces(*kinds: str) -> None:
    """Skip where the kernel lets us make no namespace of our own."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", *kinds, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces can be made here")


def test_the_injected_clock_is_off_and_the_file_systems_is_not(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "stamp").write_text(str(5 * HOURS))
    code = (
        "import time, os, sys; open(sys.argv[1], 'w').close(); "
        "print(time.time(), os.stat(sys.argv[1]).st_mtime, time.monotonic())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file")]
    done = subprocess.run(command, env=clock(tmp_path / "stamp"), capture_output=True, text=True, check=True)
    told, written, monotonic = map(float, done.stdout.split())
    assert told - time.time() == pytest.approx(5 * HOURS, abs=60)
    assert written == pytest.approx(time.time(), abs=60)
    assert monotonic == pytest.approx(time.monotonic(), abs=60)


def test_two_hosts_whose_clocks_are_hours_apart_share_a_store_and_run_no_job_twice(
    tmp_path: Path, clock: Clock
) -> None:
    require_namespaces("--uts")
    stamps = {"ahead": str(5 * HOURS), "behind": str(-30 * HOURS)}
    for host, stamp in stamps.items():
        (tmp_path / host).write_text(stamp)
    runners = [start(tmp_path, clock(tmp_path / host), host=host) for host in stamps]
    summaries = [finish(runner) for runner in runners]
    started = Counter(words[1] for words in events(tmp_path / "cache") if words[0] == "run")
    assert started == Counter({str(number): 1 for number in range(8)})
    assert sum(summary["counts"].get("ok", 0) for summary in summaries) == 8
    assert all(0 < summary["wall_s"] < 100 for summary in summaries)
    table = ResultStore(tmp_path / "results").load()
    assert len(table) == table.job_id.nunique() == 8
    assert not list((tmp_path / "results").rglob("*.lease"))


def test_a_clock_that_jumps_back_and_forth_during_a_run_ends_no_job_and_bends_no_duration(
    tmp_path: Path, clock: Clock
) -> None:
    stamp = tmp_path / "stamp"
    stamp.write_text("0")
    runner = start(tmp_path, clock(stamp), seconds=1.0)
    jumps = [str(hours * HOURS) for hours in (9, -9, 4800, -4800, 1)]
    while runner.poll() is None:
        jumps.append(jumps.pop(0))
        stamp.with_name("next").write_text(jumps[0])
        stamp.with_name("next").replace(stamp)
        time.sleep(0.4)
    summary = finish(runner)
    assert summary["counts"] == {"ok": 8}, "a time limit of a minute was taken from the time of day"
    assert 4 < summary["wall_s"] < 100
    assert len(ResultStore(tmp_path / "results").load()) == 8


def test_a_lease_stands_when_the_clock_of_its_holders_host_is_set(tmp_path: Path) -> None:
    """The kernel tells the time of boot by the clock of now: with it every process's time of birth seems to move."""
    require_namespaces("--mount")
    path, stat = tmp_path / "leases" / "x.lease", tmp_path / "stat"
    lines = Path("/proc/stat").read_text().splitlines()
    moved = [f"btime {int(line.split()[1]) + int(5 * HOURS)}" if line.startswith("btime") else line for line in lines]
    stat.write_text("\n".join(moved) + "\n")
    script = f'mount --bind {stat} /proc/stat && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", LOOK, str(path)]
    lease = Lease.try_take(path)
    assert lease is not None
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
    assert lease.held()
    lease.release()


@pytest.mark.parametrize("stamp", [str(5 * HOURS), str(-5 * HOURS)])
def test_a_lease_of_another_host_stands_and_falls_by_the_file_systems_clock(
    tmp_path: Path, clock: Clock, stamp: str
) -> None:
    path = tmp_path / "leases" / "x.lease"
    path.parent.mkdir()
    (tmp_path / "stamp").write_text(stamp)
    for age_s, is_free in ((0.0, False), (TTL_S / 2, False), (TTL_S + 30, True)):
        path.write_text(json.dumps({"token": "t", "host": "elsewhere", "pid": 1, "born": "long ago"}))
        os.utime(path, (time.time() - age_s,) * 2)
        command = [sys.executable, "-c", LOOK, str(path)]
        done = subprocess.run(command, env=clock(tmp_path / "stamp"), capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) is is_free, age_s


def test_a_host_whose_clock_is_days_ahead_removes_no_file_that_another_is_writing(tmp_path: Path, clock: Clock) -> None:
    store = ResultStore(tmp_path / "results")
    store.append({"job_id": "aa00", "status": "ok", "score": 0.5})
    folder = next(store.layout.records.iterdir())
    young, old = folder / ".tmp-young-x", folder / ".tmp-old-x"
    for path in (young, old):
        path.write_text("half")
    os.utime(old, (time.time() - LEFTOVER_AGE_S - 60,) * 2)
    (tmp_path / "stamp").write_text(str(960 * HOURS))
    code = "import sys; from bob.store import ResultStore; ResultStore(sys.argv[1]).fold(force=True)"
    command = [sys.executable, "-c", code, str(tmp_path / "results")]
    subprocess.run(command, env=clock(tmp_path / "stamp"), check=True, capture_output=True)
    assert (young.exists(), old.exists()) == (True, False)


@pytest.mark.parametrize("stamp", [str(5 * HOURS), str(-5 * HOURS)])
def test_a_table_is_folded_by_the_file_systems_clock(tmp_path: Path, clock: Clock, stamp: str) -> None:
    """Where the time of day of a host is off, a table that was written a moment ago is still young, an old one old."""
    store = ResultStore(tmp_path / "results")
    store.append({"job_id": "aa00", "status": "ok", "score": 0.5})
    table = store.fold(force=True)
    store.append({"job_id": "aa01", "status": "ok", "score": 0.5})
    (tmp_path / "stamp").write_text(stamp)
    code = "import sys; from bob.store import ResultStore; ResultStore(sys.argv[1]).fold()"
    command = [sys.executable, "-c", code, str(tmp_path / "results")]
    before = table.read_bytes()
    subprocess.run(command, env=clock(tmp_path / "stamp"), check=True, capture_output=True)
    assert table.read_bytes() == before
    os.utime(table, (time.time() - 30,) * 2)
    subprocess.run(command, env=clock(tmp_path / "stamp"), check=True, capture_output=True)
    assert table.read_bytes() != before
