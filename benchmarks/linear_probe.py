"""Time of a `linear` job against decoding, transforming and one bare forward pass over the same pictures.

    python -m benchmarks.linear_probe [--data FOLDER] [--size 224] [--threads 2] [--rounds 3]

Start-up is left out on both sides: imports, building the model, and the check of the pictures that runs once per data
set. The bare side is a DataLoader-free loop: the evaluation transform in threads, batches of 32, channels last, no
gradients. The sides take turns. Target: at most 1.3.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks._jobs import benchmark_job
from bob.context import Context
from bob.data.pictures import Pictures
from bob.data.spec import SPLITS
from bob.data.transforms import eval_transform
from bob.job import Job
from bob.tasks.classification import linear
from bob.tasks.setup import EVALUATION_BATCH, Setup


def bare_pass(job: Job, context: Context, model: torch.nn.Module) -> float:
    """Return the seconds of decode, transform and forward over all splits."""
    setup, transform = Setup.of(job, context), eval_transform(job.input)

    def read(pictures: Pictures, index: int) -> torch.Tensor:
        return transform(pictures.load(index))

    started = time.perf_counter()
    with ThreadPoolExecutor(context.threads) as pool, torch.inference_mode():
        for split in SPLITS:
            pictures = setup.pictures(split)
            waiting = None
            for first in range(0, len(pictures) + EVALUATION_BATCH, EVALUATION_BATCH):
                indices = range(first, min(first + EVALUATION_BATCH, len(pictures)))
                coming = [pool.submit(read, pictures, index) for index in indices]
                if waiting:
                    images = torch.stack([future.result() for future in waiting])
                    model(images.to(memory_format=torch.channels_last))
                waiting = coming
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0.in1k")
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        context = Context(results_dir=root / "results", cache_dir=root / "cache", threads=options.threads)
        job = benchmark_job(options.backbone, options.data, "linear", size=options.size, context=context)
        model = Setup.of(job, context).model().to(memory_format=torch.channels_last).eval()
        with torch.inference_mode():
            model(torch.zeros(EVALUATION_BATCH, 3, options.size, options.size))
        linear(job, context)
        bare, bob = [], []
        for _ in range(options.rounds):
            bare.append(bare_pass(job, context, model))
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
