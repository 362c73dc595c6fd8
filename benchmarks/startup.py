"""How long `bob --help` and `bob plan` take as whole processes, beside a bare interpreter start.

Run: ``python -m benchmarks startup``. Targets: help under 0.5 s; a plan of 1,500 x 20 jobs under 3 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUITE = """\
name: wide
backbones: [{where: {params_m: "> 0"}}]
datasets: [scenes]
tasks: [{task: classification, protocols: [linear, knn, fewshot, finetune]}]
seeds: [%s]
"""
JOBS = 1500 * 20
RUNS = 5


def wall_s(command: list[str]) -> float:
    start = time.perf_counter()
    ran = subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    if "bob" in command and not ran.stdout:
        raise RuntimeError(f"{' '.join(command)} printed nothing: it is not the command that users call.")
    return seconds


def main() -> None:
    """Print the median of each command over paired runs."""
    from bob.backbones.catalogue import catalogue

    bob = [sys.executable, "-m", "bob"]
    seeds = -(-JOBS // (4 * len(catalogue())))
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "wide.yaml"
        suite.write_text(SUITE % ", ".join(map(str, range(seeds))))
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "bob --help": [*bob, "--help"],
            "bob plan smoke": [*bob, "plan", "smoke", "--results", folder],
            f"bob plan of {seeds * 4 * len(catalogue())} jobs": [*bob, "plan", str(suite), "--results", folder],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(RUNS + 1):
            for name, command in commands.items():
                times[name].append(wall_s(command))
    for name, seen in times.items():
        counted = seen[1:]  # the first run warms the disk cache
        print(f"{name:28} median {statistics.median(counted):.2f} s  (min {min(counted):.2f}, max {max(counted):.2f})")


if __name__ == "__main__":
    main()
