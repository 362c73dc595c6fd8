"""A small network with batch norm and dropout, its batches and its search: what the training tests train."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from bob.jobs.context import Progress, no_progress
from bob.training.checkpoint import Checkpoints
from bob.training.inference import Forward
from bob.training.optimiser import parameter_groups
from bob.training.search import Search
from bob.training.step import of_outputs
from bob.training.trial import Recipe, Trial

CPU = torch.device("cpu")
STEPS = 12
BATCH = 8
LOSS = functools.partial(nn.functional.cross_entropy, reduction="sum", label_smoothing=0.1)


def network(*, batch_norm: bool = True, dropout: float = 0.2) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6) if batch_norm else nn.GroupNorm(2, 6)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), norm, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(6, 3)
    )


def batch_of(step: int, size: int = BATCH) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 3, (size,), generator=generator)
    return torch.randn(size, 3, 8, 8, generator=generator) + labels[:, None, None, None], labels


def batches(first: int) -> Iterator[tuple[Tensor, Tensor]]:
    step = first
    while True:
        yield batch_of(step)
        step += 1


def trial(lr: float, *, model: nn.Module | None = None, steps: int = STEPS, clip_norm: float = 1.0) -> Trial:
    model = network() if model is None else model
    layers = [list(child.named_parameters(prefix=name)) for name, child in model.named_children()]
    groups = parameter_groups(layers, lr=lr, layer_decay=0.9, weight_decay=0.05)
    recipe = Recipe(lr=lr, steps=steps, warmup_steps=2, batch_size=BATCH, clip_norm=clip_norm, precision="fp32")
    return Trial(model=model, groups=groups, loss=of_outputs(LOSS), recipe=recipe, device=CPU)


def evaluate(trained: Trial) -> tuple[float, float]:
    images, labels = batch_of(10_000, 64)
    outputs = Forward(trained.model, device=CPU, precision="fp32")(images)
    return float((outputs.argmax(1) == labels).double().mean()), float(nn.functional.cross_entropy(outputs, labels))


def search(
    folder: Path,
    *,
    lrs: tuple[float, ...] = (1e-3, 3e-2),
    every_steps: int = 5,
    progress: Progress = no_progress,
    build: Callable[[float], Trial] = trial,
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]] = batches,
) -> Search:
    return Search(
        lrs=lrs,
        build=build,
        batches=batches,
        evaluate=evaluate,
        checkpoints=Checkpoints(folder, every_steps=every_steps),
        progress=progress,
    )
