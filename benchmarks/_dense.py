"""What the comparisons of dense tasks share: BoB's side, the peer's backbone and loop, the table."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from benchmarks._jobs import benchmark_job
from bob.backbones import catalogue, weights
from bob.backbones.loader import build_backbone
from bob.core.registry import load_reference
from bob.data.resolve import resolve_dataset
from bob.jobs.context import Context
from bob.jobs.job import Budget
from bob.tasks.result import TaskResult
from bob.tasks.spec import TASKS

ARCH = "tf_efficientnet_lite0"
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@dataclass(frozen=True, kw_only=True)
class Side:
    """BoB's side of a comparison.

    Attributes:
        task: A dense task.
        size: Short side of the input in pixels.
        epochs: Passes over train.
        metrics: Columns to print, by label.
        params: Protocol parameters that differ from the defaults.
    """

    task: str
    size: int
    epochs: int
    metrics: dict[str, str]
    params: dict[str, Any]


Peer = Callable[[str, Path, Path], dict[str, float]]


def compare(doc: str | None, *, name: str, side: Side, peer: Peer, peer_name: str) -> None:
    """Run BoB's side and the peer on both checkpoints, as the command line says, and print a line each.

    Args:
        doc: The benchmark's description.
        name: The data set's folder below ``../shared/data``.
        side: BoB's.
        peer: Called with (tag, data, a folder for caches); returns its figures by label.
        peer_name: For the lines.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / name)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tags", nargs="+", default=["in1k", "random"], help="which checkpoints of lite0")
    parser.add_argument("--sides", nargs="+", default=["bob", "peer"], choices=["bob", "peer"])
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"skipped: there is no folder {options.data}; --data names one")
        return
    torch.set_num_threads(options.threads)
    print(f"{ARCH}, short side {side.size}, {side.epochs} epochs, {options.threads} CPU threads", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for tag in options.tags:
            if "bob" in options.sides:
                report(f"BoB, {tag}", bob_figures(tag, options.data, side, root, options.threads))
            if "peer" in options.sides:
                report(f"{peer_name}, {tag}", peer(tag, options.data, root))


def bob_figures(tag: str, data: Path, side: Side, root: Path, threads: int) -> dict[str, float]:
    """Return the metrics of BoB's `finetune` on ``ARCH.tag`` and its seconds in training and in all."""
    context = Context(results_dir=root / f"results-{tag}", cache_dir=root / "cache", threads=threads)
    task = TASKS.get(side.task)
    spec = resolve_dataset(str(data), cache_dir=context.cache_dir)
    budget = Budget(images_seen=side.epochs * spec.counts(task.annotation)["train"], trials=1)
    job = benchmark_job(
        f"{ARCH}.{tag}",
        str(data),
        "finetune",
        size=side.size,
        context=context,
        task=side.task,
        budget=budget,
        **side.params,
    )
    started = time.perf_counter()
    result: TaskResult = load_reference(task.protocols["finetune"].run)(job, context)
    metrics = {label: result.metrics[column] for label, column in side.metrics.items()}
    return {**metrics, "train_s": result.cost["train_s"], "wall_s": time.perf_counter() - started}


def peer_backbone(tag: str, root: Path) -> nn.Module:
    """Return timm's own feature extractor of ``ARCH``: maps at strides 4 to 32, from the same checkpoint or none."""
    described = catalogue.find(f"{ARCH}.{tag}")
    path = None
    if not described.is_control:
        path = weights.locate(described, weights_dirs=(), cache_dir=root / "cache").path
    whole = build_backbone(described, weights_path=path, image_size=224, seed=0).arch_module
    features = timm.create_model(ARCH, features_only=True, out_indices=(1, 2, 3, 4))
    missing, _ = features.load_state_dict(whole.state_dict(), strict=False)
    if missing:
        raise RuntimeError(f"the peer's backbone lacks {missing[:3]}")
    return features


def freeze_batch_norm(model: nn.Module) -> None:
    """Put every batch norm of the backbone in evaluation mode, as detectors are trained in small batches."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def train_peer(
    model: nn.Module,
    frozen_norms: nn.Module | None,
    batches: Callable[[int], Iterator[Any]],
    loss: Callable[[Any], torch.Tensor],
    *,
    epochs: int,
    steps_per_epoch: int,
    lr: float,
) -> float:
    """Train with AdamW, a short warm-up and a cosine; return the seconds."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.05)
    steps = epochs * steps_per_epoch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=lr, total_steps=steps, pct_start=0.1)
    started = time.perf_counter()
    for epoch in range(epochs):
        model.train()
        if frozen_norms is not None:
            freeze_batch_norm(frozen_norms)
        for batch in batches(epoch):
            optimiser.zero_grad()
            value = loss(batch)
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    return time.perf_counter() - started


def shuffled(count: int, batch_size: int, epoch: int) -> list[list[int]]:
    """Return the whole batches of one epoch."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(epoch)).tolist()
    return [order[start : start + batch_size] for start in range(0, count - batch_size + 1, batch_size)]


def report(name: str, figures: dict[str, float]) -> None:
    """Print one model's line."""
    print(f"{name:<28}" + "  ".join(f"{label} {value:.3f}" for label, value in figures.items()), flush=True)
