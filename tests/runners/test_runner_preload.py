"""The server that workers fork from: what it holds, and what it must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bob.runners.worker.worker_server import ForkServer, server_environment

LOOK = """
import json, os, sys
import bob.runners.worker.worker_imports
import torch
print(json.dumps({
    "cuda": torch.cuda.is_initialized(),
    "threads": len(os.listdir("/proc/self/task")),
    "timm": "timm" in sys.modules,
    "tasks": "bob.tasks.artifact_makers" in sys.modules,
}))
"""


@pytest.mark.slow
def test_the_preloaded_server_holds_the_libraries_but_no_gpu_and_no_thread() -> None:
    environment = {**os.environ, **server_environment(threads=2, patient=True), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"cuda": False, "threads": 1, "timm": True, "tasks": True}


def report(path: str, names: list[str]) -> None:
    """Run in a worker: write some of its variables."""
    with open(path, "w") as file:  # noqa: PTH123
        json.dump({**{name: os.environ.get(name) for name in names}, "server": os.getppid()}, file)


def variables_of_a_worker(server: ForkServer, path: str, names: list[str]) -> dict[str, str]:
    process = server.start(report, (path, names))
    process.join()
    with open(path) as file:  # noqa: PTH123
        return json.load(file)


def test_workers_get_the_servers_variables_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB_UPLOAD_TOKEN", "sesame")
    monkeypatch.setenv("BOB_RESULTS", "here")
    names = ["BOB_UPLOAD_TOKEN", "BOB_RESULTS", "OMP_WAIT_POLICY", "MALLOC_TRIM_THRESHOLD_"]
    server = ForkServer(preload=(), variables=server_environment(threads=1, patient=True))
    try:
        seen = variables_of_a_worker(server, str(tmp_path / "seen"), names)
    finally:
        server.stop()
    assert [seen[name] for name in names] == [None, "here", "PASSIVE", str(4 << 30)]
    assert (os.environ["BOB_UPLOAD_TOKEN"], "OMP_WAIT_POLICY" in os.environ) == ("sesame", False)


def test_other_variables_mean_another_server_and_the_same_ones_the_same(tmp_path: Path) -> None:
    alone, shared = server_environment(threads=2, patient=False), server_environment(threads=1, patient=True)
    server = ForkServer(preload=(), variables=alone)
    try:
        seen = []
        for number, variables in enumerate((alone, alone, shared)):
            server.use(variables)
            seen.append(variables_of_a_worker(server, str(tmp_path / str(number)), ["GOMP_SPINCOUNT"]))
    finally:
        server.stop()
    assert [one["GOMP_SPINCOUNT"] for one in seen] == [None, None, "0"]
    assert seen[0]["server"] == seen[1]["server"] != seen[2]["server"]


def test_a_server_that_a_broken_off_run_left_is_replaced(tmp_path: Path) -> None:
    left = ForkServer(preload=(), variables={})
    left.ensure()
    server = ForkServer(preload=(), variables={"RUNNER_TEST_VARIABLE": "new"})
    try:
        assert variables_of_a_worker(server, str(tmp_path / "seen"), ["RUNNER_TEST_VARIABLE"])["server"] != left.pid
    finally:
        server.stop()
    assert not left.alive()
