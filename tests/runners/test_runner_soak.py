"""Thousands of jobs, one in twenty with a fault of some kind: each leaves its one row, and the runner does not grow."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from places import HELPERS
from runner_jobs import events, run_suite
from soak_jobs import EVERY, FAULTS, fault_of, soak_job

from bob.core.lease import Lease
from bob.store import ResultStore
from bob.store.layout import RecordName

SAMPLE_S = 0.25
GROWTH_MB = 1.0  # between the middles of the second and the last quarter, which are half of all jobs apart
FOLDS, FOLD_GROWTH_MB = 60, 10.0


@dataclass
class Samples:
    """What the runner held at each look, by how many jobs had ended."""

    ended: list[int] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    zombies: list[int] = field(default_factory=list)

    def look(self, runner: psutil.Process, ended: int) -> None:
        """Add a sample; a runner that is just gone gives none."""
        with runner.oneshot():
            sample = runner.memory_info().rss / 1e6, runner.num_fds(), runner.num_threads()
        zombies = 0
        for child in runner.children(recursive=True):
            try:
                zombies += child.status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                continue
        self.ended.append(ended)
        for values, value in zip((self.rss_mb, self.files, self.threads), sample, strict=True):
            values.append(value)
        self.zombies.append(zombies)

    def quarter(self, values: list, number: int, count: int) -> float:
        """Return the median of a quarter of the jobs, from 0."""
        inside = [v for v, ended in zip(values, self.ended, strict=True) if number <= 4 * ended / count < number + 1]
        assert len(inside) >= 5, f"{len(inside)} samples in quarter {number}"
        return statistics.median(inside)


def assert_flat(samples: Samples, count: int) -> None:
    """Fail if the runner held more at the end than in the middle."""
    quarters = {name: [samples.quarter(values, n, count) for n in range(4)] for name, values in vars(samples).items()}
    print(quarters)
    assert quarters["rss_mb"][3] - quarters["rss_mb"][1] < GROWTH_MB, f"memory grew: {quarters}"
    assert quarters["files"][3] <= quarters["files"][1] + 2, f"files grew: {quarters}"
    assert quarters["threads"][3] <= quarters["threads"][1] + 1, f"threads grew: {quarters}"
    assert quarters["zombies"][3] <= quarters["zombies"][1] + 1, f"zombies grew: {quarters}"


def prepare(folder: Path, count: int) -> list[Lease]:
    """Damage records that are there before, and take leases."""
    store, leases = ResultStore(folder / "results"), []
    for number in range(count):
        job = soak_job(number)
        if fault_of(number) == "damaged":
            path = store.layout.record(RecordName(job.id, 1, "failed"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"job_id": "')
        elif fault_of(number) == "leased":
            leases.append(Lease.try_take(store.layout.root / "claims" / f"{job.id}.lease"))
    assert all(leases)
    return leases


def soak(folder: Path, count: int, *, leak: int = 0) -> Samples:
    """Run the jobs in a runner of its own, looking at it meanwhile.

    It does not fold before the end, for its fold lease is held here: that would import pyarrow, 100 MB at once, and
    the heap of a fold would hide a leak of a megabyte.
    """
    leases, samples = prepare(folder, count), Samples()
    folding = Lease.try_take(ResultStore(folder / "results").layout.fold_lease)
    assert folding is not None
    # Python's own allocator takes 1 MB at a time: one that a passing need opens late would look like a leak.
    environment = {**os.environ, "PYTHONMALLOC": "malloc", "PYTHONPATH": f"{HELPERS}{os.pathsep}{HELPERS.parent}"}
    command = [sys.executable, "-m", "soak_jobs", str(folder), str(count), str(leak)]
    runner = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    process, logs = psutil.Process(runner.pid), folder / "results" / "logs"
    try:
        while runner.poll() is None:
            started = len(os.listdir(logs)) if logs.is_dir() else 0  # noqa: PTH208 - only their number
            if started > count // 2:
                while leases:
                    leases.pop().release()
            if started >= count:
                folding.release()
            else:
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was asked
                    samples.look(process, started)
            time.sleep(SAMPLE_S)
        out, _ = runner.communicate(timeout=60)
    finally:
        runner.kill()
        for lease in (*leases, folding):
            lease.release()
    assert runner.returncode == 0
    summary = json.loads(out.splitlines()[-1])
    print(summary)
    assert sum(summary["counts"].values()) + summary["elsewhere"] == count and summary["left"] == 0
    return samples


def check_rows(folder: Path, count: int) -> None:
    """Every job has one row, with the status that its fault asks for."""
    store = ResultStore(folder / "results")
    rows = store.load().set_index("job_id")
    jobs = {soak_job(number).id: fault_of(number) for number in range(count)}
    assert rows.index.is_unique and set(rows.index) == set(jobs)
    faults = Counter(filter(None, jobs.values()))
    assert set(faults) == set(FAULTS) and sum(faults.values()) == count // EVERY
    for job_id, fault in jobs.items():
        status, reason = FAULTS.get(fault, ("ok", ""))
        row = rows.loc[job_id]
        assert row["status"] == status, (fault, row["status"], row["error_message"])
        assert not reason or f"{row['error_class']}: {row['error_message']}".startswith(reason), fault
        assert store.attempts(job_id) == 1, fault
    assert len(store.damaged()) == faults["damaged"]
    children = [int(words[1]) for words in events(folder / "cache") if words[0] == "child"]
    assert len(children) >= faults["linger"]
    alive = [pid for pid in children if psutil.pid_exists(pid)]
    assert [pid for pid in alive if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE] == []


def test_each_kind_of_fault_among_jobs_without_leaves_one_row_per_job(tmp_path: Path) -> None:
    count = EVERY * len(FAULTS)
    numbers = [n for n in range(count) if fault_of(n) or n % EVERY == 0]
    leases = prepare(tmp_path, count)
    for lease in leases:
        lease.release()
    summary = run_suite(tmp_path, [soak_job(number) for number in numbers])
    assert sum(summary.counts.values()) + summary.elsewhere == len(numbers)
    rows = ResultStore(tmp_path / "results").load().set_index("job_id")
    assert len(rows) == len(numbers)
    for number in numbers:
        assert rows.loc[soak_job(number).id, "status"] == FAULTS.get(fault_of(number), ("ok", ""))[0], number


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_jobs_with_faults_leave_one_row_each_and_the_runner_does_not_grow(tmp_path: Path) -> None:
    began = time.monotonic()
    samples = soak(tmp_path, 2000)
    print(f"{time.monotonic() - began:.0f} s")
    check_rows(tmp_path, 2000)
    assert_flat(samples, 2000)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_leak_of_four_kilobytes_a_job_does_not_pass_for_flat(tmp_path: Path) -> None:
    samples = soak(tmp_path, 2000, leak=4096)
    with pytest.raises(AssertionError, match="memory grew"):
        assert_flat(samples, 2000)


@pytest.mark.slow
def test_folding_again_and_again_does_not_grow(tmp_path: Path) -> None:
    program = (
        "import sys, psutil\n"
        "from bob.store import ResultStore\n"
        "store = ResultStore(sys.argv[1])\n"
        "row = {'status': 'ok', 'score': 0.5, 'error_message': 'x' * 200}\n"
        "for number in range(2000):\n"
        "    store.append({'job_id': f'{number:06d}', **row})\n"
        f"for number in range(2000, {2000 + FOLDS}):\n"
        "    store.append({'job_id': f'{number:06d}', **row})\n"
        "    store.fold(force=True)\n"
        "    print(psutil.Process().memory_info().rss / 1e6)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HELPERS.parent)}
    command = [sys.executable, "-c", program, str(tmp_path / "results")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    sizes = [float(line) for line in done.stdout.split()]
    assert len(sizes) == FOLDS
    middle, last = sizes[FOLDS // 4 : FOLDS // 2], sizes[-FOLDS // 4 :]
    print(sizes[0], statistics.median(middle), statistics.median(last))
    assert statistics.median(last) - statistics.median(middle) < FOLD_GROWTH_MB, sizes
