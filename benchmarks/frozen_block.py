"""Time of everything on frozen features against decode, transform and one bare forward pass over the same pictures.

    python -m benchmarks.frozen_block [--data FOLDER] [--near SET] [--far SET] [--size 224] [--threads 2] [--rounds 3]

The block is one backbone on one data set: `linear`, `knn`, `fewshot` with 1 and 5 shots (each with its calibration),
`retrieval`, and `ood_detection` with its nine post-hoc scores against a near and a far set, without ODIN's gradients.
The bare side goes once over train, val and test and over both other sets. Start-up is left out on both
sides, as in ``linear_probe``; the sides take turns. Target: at most 1.5.
"""

from __future__ import annotations

import itertools
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._jobs import bare_pass, benchmark_job, parser_of, ready_model
from bob.core.registry import load_reference
from bob.data.dataset import SPLITS
from bob.data.resolve import resolve_dataset
from bob.jobs.context import Context
from bob.jobs.job import Job, OtherData
from bob.tasks.setup import Setup
from bob.tasks.spec import TASKS

BLOCK: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("classification", "linear", {}),
    ("classification", "knn", {}),
    ("classification", "fewshot", {"shots": 1}),
    ("classification", "fewshot", {"shots": 5}),
    ("retrieval", "cosine", {}),
    ("ood_detection", "linear", {}),
)


def other_data(text: str, role: str, context: Context) -> OtherData:
    """Return a data set as a job states those beside its own."""
    spec = resolve_dataset(text, cache_dir=context.cache_dir, data_dir=None)
    return OtherData(role=role, name=spec.name, text=text, fingerprint=spec.fingerprint, spec=spec)


def run(jobs: list[Job], context: Context) -> dict[str, float]:
    """Run the jobs one after the other; return the seconds of each."""
    seconds = {}
    for number, job in enumerate(jobs):
        started = time.perf_counter()
        load_reference(TASKS.get(job.task).protocols[job.protocol].run)(job, context)
        seconds[f"{number + 1} {job.task}/{job.protocol}"] = time.perf_counter() - started
    return seconds


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--near", default="scenes:unseen")
    parser.add_argument("--far", default="scenes:domain=negative")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = Context(results_dir=root / "results", cache_dir=root / "cache", threads=options.threads)
        others = [other_data(options.near, "near", context), other_data(options.far, "far", context)]
        jobs = [
            benchmark_job(
                *(options.backbone, options.data, protocol),
                size=options.size,
                context=context,
                task=task,
                others=others if TASKS.get(task).roles else (),
                **params,
            )
            for task, protocol, params in BLOCK
        ]
        model, setup = ready_model(jobs[0], context), Setup.of(jobs[-1], context)
        run(jobs, context)
        bare, bob = [], []
        for _ in range(options.rounds):
            sets = itertools.chain(map(setup.pictures, SPLITS), map(setup.other_pictures, others))
            bare.append(bare_pass(jobs[0], context, model, sets))
            shutil.rmtree(context.cache_dir / "artifacts")
            bob.append(run(jobs, context))
    totals = [sum(each.values()) for each in bob]
    ratios = [mine / theirs for mine, theirs in zip(totals, bare, strict=True)]
    print(f"{options.backbone}, {options.size} px, fp32, {options.threads} CPU threads")
    for name in bob[0]:
        print(f"{name:<32} {statistics.median(each[name] for each in bob):7.2f} s")
    print(f"bare  {[round(value, 2) for value in bare]} s\nblock {[round(value, 2) for value in totals]} s")
    print(f"ratio {statistics.median(ratios):.3f} (median of {[round(ratio, 3) for ratio in ratios]}; target 1.5)")


if __name__ == "__main__":
    main()
