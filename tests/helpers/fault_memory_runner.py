"""A runner inside a memory control group with one job that takes more than the group has: for the test of that."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import runner_jobs

from bob.jobs.context import Context
from bob.jobs.job import Job

BLOCK = 16 << 20


def devour(job: Job, context: Context) -> None:
    """Take memory until the kernel has none left, unless that fault was removed."""
    held = []
    while (context.cache_dir / "greedy").exists():
        held.append(bytearray(os.urandom(BLOCK)))
        time.sleep(0.01)


runner_jobs.ACTS["devour"] = devour


def execute(job: Job, context: Context) -> dict[str, Any]:
    """Run a job of ``runner_jobs``, or the one above."""
    return runner_jobs.execute(job, context)


def main(folder: Path, group: Path) -> None:
    """Run once with the greedy job and once without its greed; print what became of the jobs in each."""
    (group / "cgroup.procs").write_text(str(os.getpid()))
    (folder / "cache").mkdir()
    (folder / "cache" / "greedy").touch()
    jobs = [runner_jobs.job(0, "devour"), *(runner_jobs.job(n, "sleep", seconds=1.0) for n in range(1, 4))]
    options = {"execute": "fault_memory_runner:execute", "preload": ("fault_memory_runner",)}
    first = runner_jobs.run_suite(folder, jobs, **options)
    (folder / "cache" / "greedy").unlink()
    second = runner_jobs.run_suite(folder, jobs, **options)
    print(json.dumps([first.counts, second.counts]))
    # Out of the group, so that it can be removed.
    (group.parent / "cgroup.procs").write_text(str(os.getpid()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
