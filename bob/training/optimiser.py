"""AdamW with layer decay that acts, and the learning rate's course."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

NamedParameters = Sequence[tuple[str, nn.Parameter]]


def parameter_groups(
    layers: Sequence[NamedParameters],
    *,
    lr: float,
    layer_decay: float,
    weight_decay: float,
    no_decay_names: frozenset[str] = frozenset(),
) -> list[dict[str, Any]]:
    """Return optimiser groups whose own ``lr`` and ``peak_lr`` carry the layer decay.

    The last of ``layers`` (the head) learns at ``lr``, each one below it at ``layer_decay`` times the one above (Clark
    et al. 2020, arXiv 2003.10555). The factor is in the rate itself, since schedulers ignore timm's ``lr_scale``.
    Parameters of one dimension or less (norms, biases) and those in ``no_decay_names`` have no weight decay.

    Args:
        layers: Named parameters per layer, from the stem to the head. Frozen ones are left out.
        lr: Peak learning rate of the head.
        layer_decay: In (0, 1]; 1 gives every layer the same rate.
        weight_decay: Of matrices and kernels.
        no_decay_names: Further parameters without weight decay (a ViT's position embedding).
    """
    groups: list[dict[str, Any]] = []
    for depth, layer in enumerate(layers):
        peak = lr * layer_decay ** (len(layers) - 1 - depth)
        trained = [(name, parameter) for name, parameter in layer if parameter.requires_grad]
        plain = [p for name, p in trained if p.ndim > 1 and name not in no_decay_names]
        bare = [p for name, p in trained if p.ndim <= 1 or name in no_decay_names]
        groups += [
            {"params": parameters, "lr": peak, "peak_lr": peak, "weight_decay": decay}
            for parameters, decay in ((plain, weight_decay), (bare, 0.0))
            if parameters
        ]
    return groups


def build_adamw(groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """Return AdamW (betas 0.9, 0.999) over ``groups``, fused: one kernel per group, without temporary copies."""
    return torch.optim.AdamW(groups, fused=True)


def lr_factor(step: int, *, steps: int, warmup_steps: int) -> float:
    """Return the factor on the peak rate at ``step`` (from 0): a linear rise to 1, then half a cosine towards 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to ``factor`` times its peak."""
    for group in optimiser.param_groups:
        group["lr"] = factor * group["peak_lr"]
