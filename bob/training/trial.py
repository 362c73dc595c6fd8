"""One training run: a model, its optimiser, a fixed number of steps, and all it takes to go on from the middle."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from bob.core.errors import NumericalError
from bob.training.checkpoint import rng_state, set_rng_state
from bob.training.distributed import ALONE, Ranks, synchronise_norms
from bob.training.optimiser import build_adamw, lr_factor, set_rates
from bob.training.step import Stepper, SumLoss, moved

log = logging.getLogger(__name__)

ACCELERATE_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
UNTIMED_STEPS = 3
LOSSES_ON_GPU = 20
Batches = Iterable[tuple[Tensor, Any]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one trial trains.

    Attributes:
        lr: Peak learning rate, for messages; the groups carry what acts.
        steps: Optimiser steps in all.
        warmup_steps: Steps of linear rise before the cosine.
        batch_size: Effective batch in pictures.
        clip_norm: Bound on the gradient's global norm; 0 for none.
        precision: "fp32", "bf16" or "fp16".
    """

    lr: float
    steps: int
    warmup_steps: int
    batch_size: int
    clip_norm: float
    precision: str


class Trial:
    """Trains ``model`` in place; at any step ``state()`` is enough to go on bit for bit.

    Args:
        model: On the CPU or the device; moved to the device.
        groups: Optimiser groups with ``peak_lr`` (``parameter_groups``), over the same parameters.
        loss: (model, images, targets) -> summed loss.
        recipe: The settings.
        device: Where it trains.
        micro_batch: Pictures per forward pass to begin with; None for the whole batch, or this process's share of it.
        ranks: This process among those of the job; all build the same trial and train it together.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        groups: list[dict[str, Any]],
        loss: SumLoss,
        recipe: Recipe,
        device: torch.device,
        micro_batch: int | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.recipe = recipe
        self.ranks = ranks
        self.done = 0
        self.clock = Clock(device)
        self._device = device
        self._losses: list[Tensor] = []
        # Convolutions are twice as fast in this layout on a CPU; other layers do not mind.
        self.model = model.to(device).to(memory_format=torch.channels_last)
        if device.type == "cuda" and not ranks.alone:
            synchronise_norms(self.model.train())
        accelerator = build_accelerator(device, recipe.precision)
        self._optimiser = accelerator.prepare_optimizer(build_adamw(groups), device_placement=False)
        self._scaler = accelerator.scaler
        self.stepper = Stepper(
            accelerator=accelerator,
            model=self.model,
            optimiser=self._optimiser,
            loss=loss,
            clip_norm=recipe.clip_norm,
            micro_batch=min(micro_batch or recipe.batch_size, ranks.largest_share(recipe.batch_size)),
            batch_size=recipe.batch_size,
            ranks=ranks,
        )
        self.limit_micro_batch(ranks.limit)

    def run(self, batches: Batches, *, after_step: Callable[[], None]) -> None:
        """Take the remaining steps over ``batches``, which must begin with the one of step ``done``.

        Args:
            batches: Pairs of images (n, 3, H, W) and what ``loss`` takes as their targets, n of them; of several
                processes each is given its share of each batch.
            after_step: Called after each step, outside the training clock; what it raises ends the run.

        Raises:
            NumericalError: A loss is NaN or infinite; the message names the step and the learning rate.
            OutOfMemoryError: Memory ran out with one picture at a time.
        """
        self.model.train()
        self.clock.start()
        for images, targets in batches:
            self._step(images, targets)
            self.clock.lap(len(images) if self.ranks.alone else self.recipe.batch_size)
            after_step()
            self.clock.start()
            if self.done == self.recipe.steps:
                return
        raise RuntimeError(f"the batches ended after step {self.done} of {self.recipe.steps}")

    def limit_micro_batch(self, limit: int | None) -> None:
        """Take at most so many pictures per forward pass; None changes nothing."""
        if limit is not None:
            self.stepper.micro_batch = min(self.stepper.micro_batch, limit)

    def state(self) -> dict[str, Any]:
        """Return the model, optimiser, scaler, generators and counters, for ``load_state``.

        Of several processes all must call it; rank 0's state holds every rank's generators.
        """
        self._check_losses()
        generators = rng_state(self._device)
        return {
            "step": self.done,
            "model": self.model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict() if self._scaler is not None else None,
            "rng": generators,
            "rng_of_ranks": [] if self.ranks.alone else self.ranks.gathered(generators),
            "micro_batch": self.stepper.micro_batch,
            "clock": self.clock.state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go back to where ``state`` was taken, bit for bit with as many processes as then."""
        self.model.load_state_dict(state["model"])
        self._optimiser.load_state_dict(state["optimiser"])
        if self._scaler is not None:
            self._scaler.load_state_dict(state["scaler"])
        self.stepper.micro_batch = min(state["micro_batch"], self.ranks.largest_share(self.recipe.batch_size))
        self.limit_micro_batch(self.ranks.limit)
        self.clock.load_state(state["clock"])
        self.done = state["step"]
        self._load_generators(state["rng"], state.get("rng_of_ranks", []))

    def _load_generators(self, first: dict[str, Any], of_ranks: list[dict[str, Any]]) -> None:
        if max(1, len(of_ranks)) != self.ranks.processes:
            text = "The checkpoint is of %d processes, this job has %d: rates and weights go on, dropout draws anew."
            log.warning(text, max(1, len(of_ranks)), self.ranks.processes)
        if len(of_ranks) == self.ranks.processes:
            set_rng_state(of_ranks[self.ranks.rank], self._device)
        elif self.ranks.first:
            set_rng_state(first, self._device)

    def _step(self, images: Tensor, targets: Any) -> None:
        recipe = self.recipe
        set_rates(self._optimiser, lr_factor(self.done, steps=recipe.steps, warmup_steps=recipe.warmup_steps))
        images = images.to(self._device, non_blocking=True, memory_format=torch.channels_last)
        loss = self.stepper.step(images, moved(targets, self._device))
        self._losses.append(loss)
        self.done += 1
        # Reading a loss waits for the GPU: look at several at once there.
        if self._device.type == "cpu" or len(self._losses) >= LOSSES_ON_GPU or self.done == recipe.steps:
            self._check_losses()

    def _check_losses(self) -> None:
        losses = self.ranks.summed(torch.stack(self._losses)).tolist() if self._losses else []
        first = self.done - len(losses)
        self._losses.clear()
        for offset, value in enumerate(losses):
            if not math.isfinite(value):
                raise NumericalError(
                    f"the loss is {value} at step {first + offset + 1} of {self.recipe.steps}, lr {self.recipe.lr:g}.",
                    hint="Set smaller learning rates (lrs), or precision fp32.",
                )


class Clock:
    """Seconds and pictures of training: waiting for data counts; checkpoints, evaluation and the first steps do not.

    The first steps after each start are left out of the rate, as they pay for allocation and autotuning.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = 0.0
        self._steady_s = 0.0
        self._steady_pictures = 0
        self._steps = 0
        self._device = device
        self._since = time.perf_counter()

    def start(self) -> None:
        """Begin or go on counting."""
        self._since = time.perf_counter()

    def lap(self, pictures: int) -> None:
        """Count a step that just ended."""
        self._steps += 1
        if self._device.type == "cuda" and self._steps == UNTIMED_STEPS:
            torch.cuda.synchronize(self._device)
        elapsed = time.perf_counter() - self._since
        self.seconds += elapsed
        if self._steps > UNTIMED_STEPS:
            self._steady_s += elapsed
            self._steady_pictures += pictures

    def rate(self) -> float | None:
        """Return training pictures per second in the steady state; None if there were too few steps to tell."""
        return self._steady_pictures / self._steady_s if self._steady_s > 0 else None

    def state(self) -> list[float]:
        """Return what ``load_state`` takes."""
        return [self.seconds, self._steady_s, self._steady_pictures]

    def load_state(self, state: list[float]) -> None:
        """Go on counting from ``state``."""
        self.seconds, self._steady_s, self._steady_pictures = state[0], state[1], int(state[2])


def build_accelerator(device: torch.device, precision: str) -> Accelerator:
    """Return an Accelerator for this process; the process-wide state of an earlier one gives way to it.

    It finds the other processes of the job in the environment (``RANK``, ``WORLD_SIZE``, ``LOCAL_RANK``).
    """
    AcceleratorState._reset_state(reset_partial_state=True)
    # A parameter without a gradient on one rank (a mask head without a proposal) must not keep the others waiting;
    # ``Ranks.average_norms`` and ``synchronise_norms`` see to the buffers.
    several = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=ACCELERATE_PRECISION[precision],
        device_placement=False,
        kwargs_handlers=[several],
    )
