"""A job that meets a full results disk at the moment it fails, and has made room again before its process ends."""

from __future__ import annotations

import contextlib
from typing import Any

from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.runners.worker import worker


def fail_on_a_full_disk(job: Job, context: Context) -> dict[str, Any]:
    """Fill the disk and fail; there is room again once the worker has tried to record that."""
    filler = context.results_dir.parent / "filler"
    for size in (4096, 1):
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(b"x" * size)
    record = worker.recorded

    def then_make_room(*args: Any) -> dict[str, Any]:
        outcome = record(*args)
        filler.unlink()
        return outcome

    worker.recorded = then_make_room
    raise ValueError("three is not four")
