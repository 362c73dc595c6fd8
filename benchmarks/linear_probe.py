"""Time of a `linear` job against decoding, transforming and one bare forward pass over the same pictures.

    python -m benchmarks.linear_probe [--data FOLDER] [--size 224] [--threads 2] [--rounds 3]

Start-up is left out on both sides: imports, building the model, and the check of the pictures that runs once per data
set. The bare side is a DataLoader-free loop: the evaluation transform in threads, batches of 32, channels last, no
gradients. The sides take turns. Target: at most 1.3.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks._jobs import bare_pass, benchmark_job, parser_of, ready_model
from bob.data.dataset import SPLITS
from bob.jobs.context import Context
from bob.tasks.classification.classification_protocols import linear
from bob.tasks.setup import Setup


def main() -> None:
    options = parser_of(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = Context(results_dir=root / "results", cache_dir=root / "cache", threads=options.threads)
        job = benchmark_job(options.backbone, options.data, "linear", size=options.size, context=context)
        model, setup = ready_model(job, context), Setup.of(job, context)
        linear(job, context)
        bare, bob = [], []
        for _ in range(options.rounds):
            bare.append(bare_pass(job, context, model, map(setup.pictures, SPLITS)))
            shutil.rmtree(context.cache_dir / "artifacts")
            started = time.perf_counter()
            linear(job, context)
            bob.append(time.perf_counter() - started)
    ratios = [mine / theirs for mine, theirs in zip(bob, bare, strict=True)]
    print(f"{options.backbone}, {options.size} px, fp32, {options.threads} CPU threads")
    print(f"bare  {[round(value, 2) for value in bare]} s\nlinear {[round(value, 2) for value in bob]} s")
    print(f"ratio {statistics.median(ratios):.3f} (median of {[round(ratio, 3) for ratio in ratios]}; target 1.3)")


if __name__ == "__main__":
    main()
