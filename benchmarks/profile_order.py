"""How often profiles tell a wrong order of six backbones whose order is known, alone and beside a busy neighbour.

Run: ``python -m benchmarks profile_order [--times 10] [--out FILE]``. The six are scalings of two architectures: each
is wider or deeper than the one before, and the smallest of the second has seven times the multiply-adds of the largest
of the first. Every time the runner takes their profiles anew, in turns, into an empty cache; each of the 15 pairs is
then told right, told wrong, or not told, as its two intervals are apart or not; "disturbed" are pairs that no report
compares. Beside it stands in how many pairs the medians alone are the wrong way round. The neighbour computes on one
core, on and off for 1 to 8 s. Target: no order told wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks._jobs import benchmark_job
from bob.core.devices import choose_device
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import profile_need
from bob.jobs.profiles import is_disturbed, read_profile
from bob.jobs.run import base_row
from bob.runners.local.local_runner import LocalRunner
from bob.store import ResultStore

SIX = (
    *("mobilenetv3_small_050", "mobilenetv3_small_075", "mobilenetv3_small_100"),
    *("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"),
)


def note_only(job: Job, context: Context) -> dict[str, Any]:
    """Stand in for the job that a profile is taken for: append its row, without a score's work."""
    row = base_row(job, context) | {"status": "ok", "score": 0.0}
    ResultStore(context.results_dir).append(row)
    return row


def compute_now_and_then(seed: int) -> None:
    """Hold one core for some seconds, rest as long, for ever."""
    draw = random.Random(seed)
    while True:
        until = time.monotonic() + draw.uniform(1.0, 8.0)
        while time.monotonic() < until:
            math.factorial(2000)
        time.sleep(draw.uniform(1.0, 8.0))


@contextmanager
def neighbour(*, busy: bool, seed: int) -> Iterator[None]:
    """Compute beside the block, or leave it alone."""
    process = multiprocessing.get_context("spawn").Process(target=compute_now_and_then, args=(seed,), daemon=True)
    if busy:
        process.start()
    try:
        yield
    finally:
        if busy:
            process.kill()
            process.join()


def profiles(folder: Path, *, size: int) -> dict[str, dict[str, Any]]:
    """Take the six profiles as a run of a suite does; return them by architecture."""
    context = Context(results_dir=folder / "results", cache_dir=folder / "cache")
    hardware = choose_device("cpu")[1]
    jobs = [
        replace(
            benchmark_job(f"{name}.random", "scenes", "knn", size=size, context=context),
            uses=("profile",),
            hardware=hardware,
        )
        for name in SIX
    ]
    runner = LocalRunner(
        jobs,
        results_dir=context.results_dir,
        cache_dir=context.cache_dir,
        device="cpu",
        display="none",
        execute="benchmarks.profile_order:note_only",
    )
    runner.run()
    artifacts = ArtifactStore(context.cache_dir)
    found = {name: read_profile(artifacts, profile_need(job)) for name, job in zip(SIX, jobs, strict=True)}
    return {name: figures for name, figures in found.items() if figures is not None}


def told(small: dict[str, Any], large: dict[str, Any]) -> str:
    """Return what a report says of two backbones, the first of which is the faster."""
    if is_disturbed(small) or is_disturbed(large):
        return "disturbed"
    if small["latency_ms_b1_high"] < large["latency_ms_b1_low"]:
        return "right"
    return "wrong" if large["latency_ms_b1_high"] < small["latency_ms_b1_low"] else "not told"


def main() -> None:
    """Print the counts of pairs for each condition."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--conditions", nargs="+", default=["alone", "busy"], choices=["alone", "busy"])
    parser.add_argument("--out", type=Path, help="append every profile as a line of JSON")
    options = parser.parse_args()
    for condition in options.conditions:
        counts: Counter[str] = Counter()
        widths: list[float] = []
        start = time.monotonic()
        for number in range(options.times):
            with tempfile.TemporaryDirectory() as folder, neighbour(busy=condition == "busy", seed=number):
                found = profiles(Path(folder), size=options.size)
            for (_, small), (_, large) in itertools.combinations(found.items(), 2):
                counts[told(small, large)] += 1
                counts["medians wrong"] += small["latency_ms_b1_p50"] > large["latency_ms_b1_p50"]
            for name, figures in found.items():
                middle = figures["latency_ms_b1_p50"]
                widths.append((figures["latency_ms_b1_high"] - figures["latency_ms_b1_low"]) / 2 / middle)
                if options.out:
                    line = json.dumps({"condition": condition, "time": number, "backbone": name, **figures})
                    with options.out.open("a") as file:
                        file.write(line + "\n")
            print(f"{condition} {number + 1}: {dict(counts)}", flush=True)
        minutes = (time.monotonic() - start) / 60
        said = ", ".join(f"{counts[name]} {name}" for name in ("right", "wrong", "not told", "disturbed"))
        print(
            f"{condition}: of {15 * options.times} pairs {said}; by medians alone {counts['medians wrong']} are wrong; "
            f"half an interval is {statistics.median(widths):.1%} of its median (median), {max(widths):.0%} at most; "
            f"{minutes:.1f} min"
        )


if __name__ == "__main__":
    main()
