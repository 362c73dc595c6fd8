"""Training throughput of the harness against a bare PyTorch loop, in one process, taking turns.

    python -m benchmarks.training_throughput [--data FOLDER] [--size 128] [--batch 32] [--threads 2] [--rounds 4]

The harness decodes, augments and trains as a `finetune` job does; the bare loop trains the same model on one batch
that is held in memory, channels last, with the same optimiser. The harness's first epoch, in which pictures are read
and kept decoded, is its warm-up. Target: at least 0.85 of it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import nn

from benchmarks._jobs import benchmark_job
from bob.jobs.context import Context
from bob.jobs.job import Budget
from bob.tasks.classification.classification_finetune import Finetune
from bob.tasks.setup import Setup


def bare_loop(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, lr: float):
    """Yield after each step of the plainest loop that trains this model well."""
    model = model.to(memory_format=torch.channels_last).train()
    images = images.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05, fused=True)
    while True:
        optimiser.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0.in1k")
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=6, help="steps of each side per round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        root = Path(folder)
        context = Context(results_dir=root / "results", cache_dir=root / "cache", threads=options.threads)
        budget = Budget(max_train=400, max_val=20, max_test=20, images_seen=10**6, trials=1)
        job = benchmark_job(
            options.backbone,
            options.data,
            "finetune",
            size=options.size,
            context=context,
            budget=budget,
            batch_size=options.batch,
        )
        work = Finetune(Setup.of(job, context), stack)
        measure(work, options)


def measure(work: Finetune, options: argparse.Namespace) -> None:
    """Take turns and print both rates and the median of their ratios."""
    trial = work.trial(1e-4)
    trial.model.train()
    batches = iter(work.training_batches(0))
    images, labels = next(batches)
    bare = bare_loop(work.trial(1e-4).model, images.clone(), labels.clone(), 1e-4)
    sides = {"bare": lambda: next(bare), "bob": lambda: trial._step(*next(batches))}
    for name, side in sides.items():
        for _ in range(work.steps_per_epoch if name == "bob" else 3):
            side()
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            for _ in range(options.steps):
                side()
            rates[name].append(options.steps * options.batch / (time.perf_counter() - started))
    ratios = [mine / theirs for mine, theirs in zip(rates["bob"], rates["bare"], strict=True)]
    print(f"{options.backbone}, {options.size} px, batch {options.batch}, fp32, {options.threads} CPU threads")
    for name, values in rates.items():
        print(f"{name:5} {statistics.median(values):7.1f} pictures/s (median of {[round(v, 1) for v in values]})")
    print(f"ratio {statistics.median(ratios):.3f} (median of {[round(ratio, 3) for ratio in ratios]}; target 0.85)")


if __name__ == "__main__":
    main()
