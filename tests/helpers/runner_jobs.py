"""Small jobs without torch for the runner's tests: what each does is told by its parameters."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bob.backbones.backbone import InputConfig
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context, JobStopped
from bob.jobs.job import Budget, Job, Need
from bob.jobs.profiles import PROFILE_FILE
from bob.runners.local.local_runner import LocalRunner, Summary
from bob.store import ResultStore

INPUT = InputConfig(image_size=8, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0)
# What tells that a module was imported by the server, not by a worker: its import notes the process.
IMPORTS = os.environ.get("RUNNER_TEST_IMPORTS")
if IMPORTS:
    with Path(IMPORTS).open("a") as notes:
        notes.write(f"{os.getpid()}\n")


def job(number: int, act: str = "quick", *, seconds: float = 0.0, **fields: Any) -> Job:
    """Return job ``number`` that does ``act``."""
    values = {
        **{"backbone": "toy.a", "weights_sha256": "0" * 64, "input": INPUT, "task": "toy", "task_version": 1},
        **{"dataset_fingerprint": "f", "protocol": "linear", "precision": "fp32", "seed": number},
        **{"budget": Budget(), "dataset": "toys", "estimate_s": 1.0, "timeout_min": 1.0},
        "params": (("act", act), ("seconds", seconds)),
    }
    return Job(**{**values, **fields})


def base_row(job: Job, context: Context) -> dict[str, Any]:
    """The columns every row has, as far as these tests need them."""
    return {
        **{"job_id": job.id, "cell": job.cell, "backbone": job.backbone, "task": job.task, "dataset": job.dataset},
        **{"protocol": job.protocol, "seed": job.seed, "metric": "top1", "log_path": str(context.log_path)},
    }


def failure_row(job: Job, context: Context, *, status: str, error_class: str, message: str) -> dict[str, Any]:
    """The row of a job without a number."""
    return base_row(job, context) | {"status": status, "error_class": error_class, "error_message": message}


def execute(job: Job, context: Context) -> dict[str, Any]:
    """Note who runs, act, append the row."""
    note(context, f"run {job.seed} {os.getpid()} {os.getppid()} {context.threads}")
    print(f"job {job.seed} says hello", flush=True)
    ACTS[dict(job.params)["act"]](job, context)
    score = float("nan") if dict(job.params)["act"] == "nan" else 0.5
    row = base_row(job, context) | {"status": "ok", "score": score}
    ResultStore(context.results_dir).append(row, {"sample_id": np.array(["a"]), "label": np.array([1])})
    note(context, f"end {job.seed}")
    return row


def make(need: Need, job: Job, context: Context) -> Path:
    """Make an artifact; a data set named ``broken`` makes it fail."""
    note(context, f"run {need.key} {os.getpid()} {os.getppid()} {context.threads}")
    if job.dataset == "broken":
        raise ValueError("no artifact of broken things")
    time.sleep(dict(job.params)["seconds"])
    path = ArtifactStore(context.cache_dir).get_or_make(need, lambda folder: (folder / PROFILE_FILE).write_text("{}"))
    note(context, f"end {need.key}")
    return path


def note(context: Context, text: str) -> None:
    """Append a line to the events, atomically between processes."""
    with (context.cache_dir / "events").open("a") as file:
        file.write(text + "\n")


def events(cache_dir: Path) -> list[list[str]]:
    """Return the events so far, as words."""
    path = cache_dir / "events"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


class OddError(Exception):
    """An error that cannot be pickled, whose text fails."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def __str__(self) -> str:
        raise RuntimeError("no text")


def sleep(job: Job, context: Context) -> None:
    """Sleep in small steps, reporting."""
    steps = max(1, round(dict(job.params)["seconds"] / 0.02))
    for step in range(steps):
        context.progress("sleeping", step, steps)
        time.sleep(0.02)


def save(job: Job, context: Context) -> None:
    """Sleep like ``sleep``, but save when asked to stop."""
    try:
        sleep(job, context)
    except JobStopped:
        (context.cache_dir / f"saved-{job.seed}").touch()
        raise


def family(job: Job, context: Context) -> None:
    """Start a child that sleeps, note it, and do not react to anything."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(context, f"child {child.pid}")
    time.sleep(600)


def linger(job: Job, context: Context) -> None:
    """Leave a child behind."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note(context, f"child {child.pid}")


def kill_server(job: Job, context: Context) -> None:
    """Kill the server that this process was forked from; the second time, do nothing."""
    try:
        (context.cache_dir / f"killed-{job.seed}").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def fail(job: Job, context: Context) -> None:
    """Raise an ordinary error."""
    raise ValueError("three is not four")


def odd(job: Job, context: Context) -> None:
    """Raise an error that nothing can be done with."""
    raise OddError


def memory(job: Job, context: Context) -> None:
    """Raise what numpy raises when memory is out."""
    raise MemoryError("no room for 4 GiB")


def chatter(job: Job, context: Context) -> None:
    """Report far more than a pipe holds."""
    for step in range(20_000):
        context.progress(f"phase {step}", step, 20_000)


ACTS = {
    "quick": lambda job, context: None,
    "nan": lambda job, context: None,
    "hang": lambda job, context: time.sleep(600),
    "linger": linger,
    "kill_server": kill_server,
    "sleep": sleep,
    "save": save,
    "family": family,
    "fail": fail,
    "odd": odd,
    "memory": memory,
    "chatter": chatter,
    "kill": lambda job, context: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda job, context: sys.exit(0),
    "hard_exit": lambda job, context: os._exit(3),
    "segfault": lambda job, context: ctypes.string_at(0),
}


def run_suite(folder: Path, jobs: list[Job], **options: Any) -> Summary:
    """Run jobs with this module's functions, quickly, in ``folder``."""
    (folder / "cache").mkdir(parents=True, exist_ok=True)
    here = __name__ if __name__ != "__main__" else "runner_jobs"
    settings = {
        **{"results_dir": folder / "results", "cache_dir": folder / "cache", "workers": 2, "device": "cpu"},
        **{"display": "none", "grace_s": 1.0, "preload": (here,), "execute": f"{here}:execute"},
        **{"make_artifact": f"{here}:make", "failure_row": f"{here}:failure_row"},
    }
    return LocalRunner(jobs, **{**settings, **options}).run()


def main(folder: str, count: str, act: str, seconds: str) -> None:
    """Be a runner of ``count`` jobs, for tests that kill one: ``python -m runner_jobs FOLDER COUNT ACT SECONDS``."""
    summary = run_suite(Path(folder), [job(i, act, seconds=float(seconds)) for i in range(int(count))], display="lines")
    print(json.dumps({**vars(summary), "failures": [str(failure) for failure in summary.failures]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
