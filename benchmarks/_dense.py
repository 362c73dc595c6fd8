"""What the comparisons of dense tasks share: BoB's side, the peer's backbone and loop, the table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from benchmarks._jobs import benchmark_job
from bob.backbones import catalogue, weights
from bob.backbones.loader import build_backbone
from bob.context import Context
from bob.job import Budget
from bob.registry import load_reference
from bob.tasks.result import TaskResult
from bob.tasks.spec import TASKS

ARCH = "tf_efficientnet_lite0"
DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


def bob_result(
    tag: str, data: Path, *, task: str, size: int, images_seen: int, root: Path, threads: int, **params: Any
) -> tuple[TaskResult, float]:
    """Return the result of BoB's `finetune` on ``ARCH.tag`` and the seconds it took, scoring included."""
    context = Context(results_dir=root / f"results-{tag}", cache_dir=root / "cache", threads=threads)
    budget = Budget(images_seen=images_seen, trials=1)
    job = benchmark_job(
        f"{ARCH}.{tag}", str(data), "finetune", size=size, context=context, task=task, budget=budget, **params
    )
    started = time.perf_counter()
    result = load_reference(TASKS.get(task).protocols["finetune"].run)(job, context)
    return result, time.perf_counter() - started


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


def report(rows: list[tuple[str, dict[str, float]]]) -> None:
    """Print one line per model; figures over one run, or the median of several."""
    for name, figures in rows:
        print(f"{name:<28}" + "  ".join(f"{label} {value:.3f}" for label, value in figures.items()), flush=True)
