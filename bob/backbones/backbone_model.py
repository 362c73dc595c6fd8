"""A backbone as every task sees it: pictures in, one pooled vector per picture out, layers from stem to top."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bob.backbones.meta_pass import tried
from bob.core.errors import ConfigError

log = logging.getLogger(__name__)

Group = list[tuple[str, nn.Parameter]]
Sides = tuple[int, int]  # height, width in pixels
AnyModel = TypeVar("AnyModel", bound=nn.Module)
POOLING_WORDS = {"token": "cls", "avg": "mean", "map": "attention", "": "none"}
MOST_GROUPS = 30
# What a module raises on a canvas that it was not built for.
_REFUSALS = (ConfigError, RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError)
_EXPECTED = "expected (1, C), or a map (1, C, H, W) or (1, H, W, C) to average"
HEAD_STD = 0.01


class BackboneModel(nn.Module):
    """Any architecture behind one interface.

    Args:
        arch_module: The raw model: timm-like, or any module that gives (N, C), (N, C, H, W) or (N, H, W, C). Which
            axes of a map are its height and width is found out by trial.
        image_size: The input side in pixels that it was built for; of a rectangle, the longer side.
        canvas: Height and width, where it was built for a rectangle: S x S below is then this.
        num_classes: 0 for pooled vectors; else a new linear head is put on top, weights from N(0, 0.01), zero bias:
            the same for every backbone (timm's own would start some of them with a shock).

    Raises:
        ConfigError: A forward pass gives something that cannot be pooled.
    """

    def __init__(
        self, arch_module: nn.Module, *, image_size: int, canvas: Sides | None = None, num_classes: int = 0
    ) -> None:
        super().__init__()
        self.arch_module = arch_module
        self.image_size = image_size
        self.canvas = canvas or (image_size, image_size)
        self.memory_format: torch.memory_format | None = None
        self.head: nn.Module = nn.Identity()
        self.map_axes: tuple[int, int] | None = None
        self.width = self._measure_width()
        if num_classes:
            self.head = nn.Linear(self.width, num_classes)
            nn.init.normal_(self.head.weight, std=HEAD_STD)
            nn.init.zeros_(self.head.bias)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, S, S) to pooled features (N, width), or to logits (N, num_classes) if it has a head."""
        return self.head(self.features(pictures))

    def features(self, pictures: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, S, S) to pooled features (N, width), as the architecture itself pools."""
        pictures = self.laid_out(pictures)
        module: Any = self.arch_module
        if hasattr(module, "forward_head") and hasattr(module, "forward_features"):
            pooled = module.forward_head(module.forward_features(pictures), pre_logits=True)
        else:
            pooled = module(pictures)
        if not isinstance(pooled, torch.Tensor):
            raise ConfigError(f"the backbone gives a {type(pooled).__name__} for one picture: {_EXPECTED}.")
        return pooled if self.map_axes is None else pooled.mean(dim=self.map_axes)

    def laid_out(self, pictures: torch.Tensor) -> torch.Tensor:
        """Bring pictures into the memory layout that ``prepare`` chose."""
        return pictures if self.memory_format is None else pictures.contiguous(memory_format=self.memory_format)

    @property
    def pooling(self) -> str:
        """How the architecture pools: ``cls``, ``mean``, ``attention``, ...; ``own`` if it does not say."""
        for holder in (self.arch_module, getattr(self.arch_module, "head", None)):
            pool = getattr(holder, "global_pool", None)
            kind = pool if isinstance(pool, str) else getattr(pool, "pool_type", None)
            if isinstance(kind, str) and kind:
                return POOLING_WORDS.get(kind, kind)
        return "own"

    @property
    def has_batch_norm(self) -> bool:
        """Whether a layer normalises by statistics over the batch."""
        return any(isinstance(module, _BatchNorm) for module in self.modules())

    @property
    def no_decay_names(self) -> frozenset[str]:
        """Names, as in ``layer_groups``, of what timm trains without weight decay (position embeddings, tokens)."""
        ask = getattr(self.arch_module, "no_weight_decay", None)
        listed = ask() if callable(ask) else ()
        return frozenset(f"arch_module.{name}" for name in listed)

    def layer_groups(self) -> list[Group]:
        """Return all parameters by name in groups from the stem to the top, the new head last, for layer decay.

        The groups are timm's own blocks, or its coarser stages where there are over 30 blocks; a user's module is
        grouped by its direct children.
        """
        groups = self._arch_groups()
        head = [(f"head.{name}", parameter) for name, parameter in self.head.named_parameters()]
        return [*groups, head] if head else groups

    def _arch_groups(self) -> list[Group]:
        module: Any = self.arch_module
        if not hasattr(module, "group_matcher"):
            return self._groups_of_children()
        for coarse in (False, True):
            layer_of = group_parameters(module, module.group_matcher(coarse=coarse), reverse=True)
            groups = self._gather(layer_of)
            if len(groups) <= MOST_GROUPS:
                break
        return groups

    def _gather(self, layer_of: dict[str, int]) -> list[Group]:
        layers: dict[int, Group] = {}
        top = max(layer_of.values())
        for name, parameter in self.arch_module.named_parameters():
            layers.setdefault(layer_of.get(name, top), []).append((f"arch_module.{name}", parameter))
        return [layers[layer] for layer in sorted(layers)]

    def _groups_of_children(self) -> list[Group]:
        names: dict[str, int] = {}
        for name, _ in self.arch_module.named_parameters():
            child = name.partition(".")[0]
            names.setdefault(child, min(len(names), MOST_GROUPS - 1))
        return self._gather({name: names[name.partition(".")[0]] for name, _ in self.arch_module.named_parameters()})

    def _measure_width(self) -> int:
        shape = self._shape(self.canvas)
        if len(shape) == 4:
            self.map_axes = self._axes_of(shape)
            shape = self._shape(self.canvas)
        if len(shape) != 2 or shape[0] != 1:
            raise ConfigError(f"the backbone gives shape {shape} for one picture: {_EXPECTED}.")
        return shape[1]

    def _shape(self, sides: Sides) -> tuple[int, ...]:
        (shape,), _ = tried(self, sides)
        return shape

    def _axes_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Return the two axes of a map that are its height and width.

        They change with the canvas, and the channels do not. A map of one size on any canvas has equal sides; a module
        that takes one canvas alone gives a map whose sides are to each other as those of the canvas. Channels come
        first where both readings are possible of a map of one size.

        Raises:
            ConfigError: Neither tells.
        """
        larger = (2 * self.canvas[0], 3 * self.canvas[1])
        try:
            other, sides = self._shape(larger), (1, 1)
        except _REFUSALS as error:
            log.debug("No forward pass at %d x %d pixels: %s", *larger, error)
            other, sides = shape, self.canvas
        changed = tuple(axis for axis in (1, 2, 3) if len(other) == 4 and other[axis] != shape[axis])
        candidates = [(2, 3), (1, 2)]
        if changed in candidates:
            return changed[0], changed[1]
        fitting = [axes for axes in candidates if shape[axes[0]] * sides[1] == shape[axes[1]] * sides[0]]
        if not changed and (len(fitting) == 1 or (fitting and sides == (1, 1))):
            return fitting[0]
        raise ConfigError(
            f"the backbone gives shape {shape} for one picture of {self.canvas[0]} x {self.canvas[1]} pixels, and "
            f"{other} at {larger[0]} x {larger[1]}: which axes are height and width cannot be told.",
            hint="Average the map in the module and give (N, C).",
        )


def prepare(model: AnyModel, device: str) -> AnyModel:
    """Move a model to a device, in the memory layout that is fast for it, and return it.

    Convolutional networks are laid out channels last (up to twice as fast on CPUs); ``forward`` of the backbone in
    them brings its input into the same layout, so callers need not care.

    Args:
        model: A backbone, or any model around one: a pyramid, a detector.
        device: Where to.
    """
    model.to(device)
    if sum(isinstance(module, nn.Conv2d) for module in model.modules()) > 1:
        model.to(memory_format=torch.channels_last)
        for module in model.modules():
            if isinstance(module, BackboneModel):
                module.memory_format = torch.channels_last
    return model


@torch.no_grad()
def estimate_batch_norm(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Set every batch norm's statistics to their plain average over batches of training pictures.

    A random control has none of its own, and would otherwise be measured with mean 0 and variance 1. Only the
    statistics change: the rest of the model is in evaluation mode meanwhile, then every mode is as before. The same
    batches in the same order give the same statistics.

    Args:
        model: Any model; one without batch norm is left alone, and no batch is drawn.
        batches: Pictures (N, 3, S, S), N at least 2; they are moved to the model's device.

    Raises:
        ConfigError: There are no batches.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the cumulative average
        norm.train()
    try:
        count = sum(1 for batch in batches if model(batch.to(device)) is not None)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    if count == 0:
        raise ConfigError("batch-norm statistics need training pictures: expected at least one batch, got none.")
