"""What a forward pass would give and which parameters it would use, found on the meta device: no values, no time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

Shape = tuple[int, ...]


def tried(model: nn.Module, sides: tuple[int, int]) -> tuple[list[Shape], frozenset[str]]:
    """Return the shapes of a model's outputs for one picture and the names of the parameters that they depend on.

    Args:
        model: From (1, 3, height, width) to a tensor or a sequence of tensors. Its mode is evaluation meanwhile.
        sides: Height and width.

    Returns:
        The shapes, and names as in ``model.named_parameters()`` whatever ``requires_grad`` says.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        return _on_meta(model, sides)
    except (RuntimeError, NotImplementedError, TypeError, ValueError):
        # A user's module may read values or keep tensors that are no buffers: then only a real pass shows it.
        return _for_real(model, sides)
    finally:
        for module, mode in modes.items():
            module.training = mode


def _on_meta(model: nn.Module, sides: tuple[int, int]) -> tuple[list[Shape], frozenset[str]]:
    leaves = {
        name: torch.empty_like(value, device="meta").requires_grad_(value.is_floating_point())
        for name, value in model.named_parameters()
    }
    buffers = {name: torch.empty_like(value, device="meta") for name, value in model.named_buffers()}
    with torch.enable_grad():
        outputs = functional_call(model, {**leaves, **buffers}, (torch.zeros(1, 3, *sides, device="meta"),))
    return _read(outputs, leaves)


def _for_real(model: nn.Module, sides: tuple[int, int]) -> tuple[list[Shape], frozenset[str]]:
    leaves = dict(model.named_parameters())
    wanted = {name: value.requires_grad for name, value in leaves.items()}
    device = next(iter(leaves.values())).device if leaves else torch.device("cpu")
    for value in leaves.values():
        value.requires_grad_(value.is_floating_point())
    try:
        with torch.enable_grad():
            return _read(model(torch.zeros(1, 3, *sides, device=device)), leaves)
    finally:
        for name, value in leaves.items():
            value.requires_grad_(wanted[name])


def _read(outputs: Any, leaves: Mapping[str, torch.Tensor]) -> tuple[list[Shape], frozenset[str]]:
    maps: Sequence[torch.Tensor] = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
    used = _leaves_behind(maps)
    return [tuple(item.shape) for item in maps], frozenset(name for name, leaf in leaves.items() if id(leaf) in used)


def _leaves_behind(outputs: Sequence[torch.Tensor]) -> set[int]:
    """Return the ids of the leaves of the graph that ends in these outputs."""
    nodes: list[Any] = [item.grad_fn for item in outputs if item.grad_fn is not None]
    seen, leaves = set(nodes), set()
    while nodes:
        node = nodes.pop()
        if hasattr(node, "variable"):
            leaves.add(id(node.variable))
        new = [following for following, _ in node.next_functions if following is not None and following not in seen]
        seen.update(new)
        nodes.extend(new)
    return leaves
