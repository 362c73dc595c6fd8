"""What a backbone costs: parameters, multiply-adds, checkpoint size, latency, throughput, peak memory.

Every figure is measured on the device at hand, with warm-up and synchronisation, and comes with its circumstances.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bob.backbones.backbone import Backbone
from bob.backbones.catalogue import control_of
from bob.backbones.loader import BackboneModel, build_backbone, prepare
from bob.backbones.user_backbones import user_backbone
from bob.core.errors import ConfigError
from bob.core.machine import Neighbours, autocast, device_name, faster_precision, seconds
from bob.core.peak_memory import MB, NoCounterError, peak_rise_mb
from bob.core.settings import cache_dir_in_use
from bob.training.memory_backoff import is_out_of_memory
from bob.training.profile_rounds import ROUND_S, is_enough, summary, wants_all

__all__ = ["Circumstances", "device_name", "faster_precision", "measure_profile", "measure_round", "next_round"]

log = logging.getLogger(__name__)

PRECISIONS = ("fp32", "bf16", "fp16", "auto")
WARM_UP = 3
LATENCY_RUNS = (3, 100)  # of a round, at least, at most
LATENCY_BUDGET_S = 0.5
BATCHES = {"cpu": (1, 4, 16), "cuda": (1, 16, 64, 256)}
THROUGHPUT_BUDGET_S = 0.5  # for each batch size
MEMORY_BATCHES = (1, 32)
MEMORY_BUDGET_S = 30.0
TRAIN_BATCH = {"cpu": 8, "cuda": 32}
TRAIN_BUDGET_S = 15.0
TRAIN_COST = 4.0  # a training step in forward passes, with some slack
LEAST_TRAIN_BATCH = 2  # batch norm cannot be trained with less
TRAIN_STEPS = 3  # the optimiser's state exists from the second on


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What the cost of an architecture depends on.

    Attributes:
        image_size: Input side in pixels.
        precision: "fp32", "bf16", "fp16", or "auto" for the fastest clear winner on this device.
        device: "cpu" or "cuda:0".
        threads: CPU threads to use.
    """

    image_size: int
    precision: str
    device: str
    threads: int

    def as_columns(self) -> dict[str, Any]:
        """Return them as columns of a row."""
        return {
            "profile_threads": self.threads,
            "profile_device": device_name(self.device, self.threads),
            "profile_precision": self.precision,
            "profile_image_size": self.image_size,
            "profile_torch": torch.__version__,
        }


def measure_profile(backbone: Backbone, where: Circumstances, *, seed: int = 0) -> dict[str, Any]:
    """Measure what an architecture costs, in rounds that all run in this process; nothing else may run there.

    The weights are random: they change no cost. Arguments and errors are those of ``measure_round``.

    Returns:
        What ``summary`` makes of the rounds; ``docs/results.md`` explains the columns. MB are 1e6 bytes. The training
        figures are absent where memory runs out even at a batch of 2, the peak at 32 where that batch does not fit or
        would take over half a minute, and all peaks where the system has no counter; each is warned of.
    """
    rounds: list[dict[str, Any]] = []
    while not is_enough(rounds):
        rounds.append(next_round(rounds, backbone, where, seed=seed))
    return summary(rounds)


def next_round(
    rounds: Sequence[Mapping[str, Any]], backbone: Backbone, where: Circumstances, *, seed: int = 0
) -> dict[str, Any]:
    """Take the round that follows the rounds taken so far."""
    batch = rounds[0]["throughput_batch"] if rounds else None
    return measure_round(backbone, where, batch=batch, once=wants_all(rounds), seed=seed)


def measure_round(
    backbone: Backbone, where: Circumstances, *, batch: int | None = None, once: bool = True, seed: int = 0
) -> dict[str, Any]:
    """Take one round of a profile: build the architecture with random weights, and time it for about a second.

    Args:
        backbone: Any checkpoint of the architecture.
        where: Size, precision, device and threads.
        batch: Batch of the throughput, in pictures; None tries a few. Big models get fewer passes.
        once: Whether to take also what no round repeats: size, multiply-adds, memory, training. Big models get a
            smaller training batch, which the result states.
        seed: Of the random weights and pictures.

    Returns:
        ``latency_ms_b1_p50`` and ``_p95`` of the round's passes, ``throughput_img_s`` at ``throughput_batch``,
        ``profile_others_cpu`` (the share of the host's CPU time that others took meanwhile) and ``round_s`` (without
        what no round repeats). With ``once`` also ``params_m`` (without a classifier), ``gmacs`` (of one picture; a
        multiply-add is one), ``model_mb`` (weights and buffers in fp32), ``layer_kinds``, ``infer_peak_mb_b1`` and
        ``_b32`` at batches of 1 and 32, ``train_peak_mb`` of forward, backward and AdamW at ``train_step_batch`` (all
        peaks include the weights), ``train_img_s`` of such a step without the first, and the circumstances.

    Raises:
        ConfigError: Another precision, or the architecture cannot be built for this size.
    """
    if where.precision not in PRECISIONS:
        raise ConfigError(f"precision {where.precision!r} is not known: expected one of {', '.join(PRECISIONS)}.")
    with _threads(where.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if where.precision == "auto":
            where = replace(where, precision=faster_precision(where.device, cache_dir_in_use()))
        start = time.perf_counter()
        model = _untrained(backbone, where.image_size, seed)
        static = _static_costs(model) if once else {}
        bench = _Bench(prepare(model, where.device), device=where.device, precision=where.precision)
        neighbours = Neighbours()
        timed: dict[str, Any] = {**bench.latency(), **bench.throughput(batch)}
        timed[ROUND_S] = time.perf_counter() - start
        if once:
            static |= {**bench.memory(weights_mb=static["model_mb"]), **where.as_columns()}
        timed["profile_others_cpu"] = neighbours.share()
    return {**static, **timed}


def gmacs(model: BackboneModel) -> float:
    """Return the multiply-adds of one picture's forward pass in 1e9: half the FLOPs that torch's counter counts.

    The counter knows convolutions and matrix products, as published figures do; attention is computed by its plain
    formula meanwhile, so that its products are counted whatever kernel a device has.
    """
    device = next(model.parameters()).device
    picture = torch.zeros(1, 3, model.image_size, model.image_size, device=device)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.features(picture)
    return counter.get_total_flops() / 2 / 1e9


def _untrained(backbone: Backbone, image_size: int, seed: int) -> BackboneModel:
    user = user_backbone(backbone.name)
    # A user's build function that brings its own weights cannot be had without them.
    spec = backbone if user is not None and user.weights is None else control_of(backbone)
    return build_backbone(spec, weights_path=None, image_size=image_size, seed=seed)


def layer_kinds(model: BackboneModel) -> str:
    """Return the kinds of a model's layers that have weights, sorted: their classes, grouped convolutions apart.

    Models that differ only in depth and width have the same.
    """
    kinds = set()
    for layer in model.modules():
        if next(layer.parameters(recurse=False), None) is not None:
            grouped = "grouped " if getattr(layer, "groups", 1) > 1 else ""
            kinds.add(grouped + type(layer).__name__)
    return ", ".join(sorted(kinds))


def _static_costs(model: BackboneModel) -> dict[str, Any]:
    tensors = [*model.parameters(), *model.buffers()]
    return {
        "layer_kinds": layer_kinds(model),
        "params_m": sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        "gmacs": gmacs(model),
        "model_mb": sum(tensor.numel() * tensor.element_size() for tensor in tensors) / MB,
    }


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Bench:
    """One model on one device, measured in several ways."""

    def __init__(self, model: BackboneModel, *, device: str, precision: str) -> None:
        self.model = model
        self.device = device
        self.kind = device.partition(":")[0]
        self.precision = precision
        self.forward_s = math.nan  # of one picture, known after ``latency``

    def latency(self) -> dict[str, float]:
        times = self._repeat(1, LATENCY_BUDGET_S, *LATENCY_RUNS)
        self.forward_s = float(np.median(times))
        return {
            "latency_ms_b1_p50": self.forward_s * 1e3,
            "latency_ms_b1_p95": float(np.percentile(times, 95)) * 1e3,
        }

    def throughput(self, batch: int | None = None) -> dict[str, float]:
        """Return the rate at a batch, or at the best of a few."""
        rates: dict[int, float] = {}
        for size in (batch,) if batch else BATCHES[self.kind]:
            # More than one pass of a bigger batch must fit the budget, or the smaller batch's figure stands.
            if rates and size * self.forward_s > 2 * THROUGHPUT_BUDGET_S:
                break
            try:
                rates[size] = size / float(np.mean(self._repeat(size, THROUGHPUT_BUDGET_S, 1, 50)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or not rates:
                    raise
                log.warning("Batch %d does not fit the device: the throughput is that of a smaller one.", size)
                break
        best = max(rates, key=lambda size: rates[size])
        return {"throughput_img_s": rates[best], "throughput_batch": best}

    def memory(self, *, weights_mb: float) -> dict[str, float]:
        infer = {f"infer_peak_mb_b{batch}": self._inference_peak(batch, weights_mb) for batch in MEMORY_BATCHES}
        known = {name: peak for name, peak in infer.items() if peak is not None}
        return {**known, **self._training(weights_mb)}

    def _inference_peak(self, batch: int, weights_mb: float) -> float | None:
        """Return the peak of one forward pass at a batch that is the same for every backbone; None if it is not had."""
        if batch > 1 and batch * self.forward_s > MEMORY_BUDGET_S:
            log.warning("A forward pass at batch %d would take too long: its peak of memory is not measured.", batch)
            return None
        try:
            pictures = self._pictures(batch)
            rise = self._rise_mb(lambda: self._forward(pictures))
        except (RuntimeError, MemoryError) as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
            log.warning("A forward pass at batch %d does not fit the memory.", batch)
            return None
        return None if rise is None else weights_mb + rise

    def _training(self, weights_mb: float) -> dict[str, float]:
        """Return the training figures at the largest batch that fits; nothing if not even the least one does."""
        batch = self._train_batch()
        while batch >= LEAST_TRAIN_BATCH:
            try:
                return self._training_at(batch, weights_mb)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            log.warning("A training step at batch %d does not fit the memory.", batch)
            batch //= 2
        log.warning("No training step fits the memory: the profile has no training figures.")
        return {}

    def _training_at(self, batch: int, weights_mb: float) -> dict[str, float]:
        pictures = self._pictures(batch)
        times: list[float] = []
        rise = self._rise_mb(lambda: times.extend(self._train(pictures)))
        # Without a counter the work was not begun, or it was done and only its peak is unknown.
        times = times or self._train(pictures)
        peak = {} if rise is None else {"train_peak_mb": weights_mb + rise}
        return {"train_img_s": batch / min(times[1:]), "train_step_batch": batch, **peak}

    def _rise_mb(self, work: Callable[[], None]) -> float | None:
        try:
            return peak_rise_mb(work, self.device)
        except NoCounterError as error:
            log.warning("The profile lacks a peak of memory: %s", error.message)
            return None

    def _train_batch(self) -> int:
        batch = TRAIN_BATCH[self.kind]
        while batch > LEAST_TRAIN_BATCH and batch * self.forward_s * TRAIN_COST * TRAIN_STEPS > TRAIN_BUDGET_S:
            batch //= 2
        return batch

    def _repeat(self, batch: int, budget_s: float, least: int, most: int) -> list[float]:
        """Return the seconds of each of several forward passes, after a warm-up, within a time budget."""
        pictures = self._pictures(batch)
        work = functools.partial(self._forward, pictures)
        start = time.perf_counter()
        for _ in range(WARM_UP):
            seconds(work, self.device)
            if time.perf_counter() - start > budget_s / 2:
                break
        times: list[float] = []
        while len(times) < least or (sum(times) < budget_s and len(times) < most):
            times.append(seconds(work, self.device))
        return times

    def _pictures(self, batch: int) -> torch.Tensor:
        size = self.model.image_size
        return torch.randn(batch, 3, size, size).to(self.device)

    @torch.inference_mode()
    def _forward(self, pictures: torch.Tensor) -> None:
        with autocast(self.device, self.precision):
            self.model(pictures)

    def _train(self, pictures: torch.Tensor) -> list[float]:
        """Take a few training steps and return the seconds of each."""
        self.model.train()
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0)
        step = functools.partial(self._train_step, pictures, optimizer)
        try:
            return [seconds(step, self.device) for _ in range(TRAIN_STEPS)]
        finally:
            optimizer.zero_grad()  # a step that ran out of memory leaves gradients, which a smaller one has no room for
            self.model.eval()

    def _train_step(self, pictures: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        with autocast(self.device, self.precision):
            loss = self.model(pictures).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
