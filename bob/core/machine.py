"""What kind of machine this is, and which number format is fast on it. Importing this imports no torch."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from bob.core.devices import processor_name
from bob.core.files import digest, write_text

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

CLEAR_WIN = 1.3  # below this the gain is not worth the rounding
REPEATS = 3
BUSY_SHARE = 0.1  # of the host's CPU time: where others take more, times measured meanwhile are too long


def device_name(device: str, threads: int) -> str:
    """Return what computes, for what depends on it: ``NVIDIA H200``, or ``AMD EPYC 9B14, 2 threads``.

    The hardware class of a row, which says how many cores a job's machine has, is ``devices.choose_device``'s.

    Args:
        device: "cpu", or "cuda:0", which imports torch.
        threads: CPU threads that the process uses; says nothing about a GPU.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return f"{processor_name()}, {threads} thread{'s' if threads != 1 else ''}"


def autocast(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a model computes at a precision: "fp32", "bf16" or "fp16"."""
    import torch

    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    enabled = precision != "fp32"
    dtype = kinds[precision] if enabled else torch.bfloat16
    return torch.autocast(device.partition(":")[0], dtype=dtype, enabled=enabled)


def faster_precision(device: str, cache_dir: Path) -> str:
    """Return "bf16" or "fp16" if training is at least 1.3 times faster with it on this device, else "fp32".

    Measured once per hardware class on a few convolutions and a matrix product, forward and backward, and kept in
    ``cache_dir``. "fp16", which needs loss scaling, is only tried on a GPU without bf16.
    """
    import torch

    key = {"hardware": device_name(device, torch.get_num_threads()), "torch": torch.__version__}
    path = cache_dir / "precision" / f"{digest(key)}.json"
    try:
        return str(json.loads(path.read_text())["precision"])
    except FileNotFoundError:
        log.debug("No precision measured yet for %s.", key["hardware"])
    except (ValueError, KeyError, TypeError) as error:
        log.warning("The cached precision %s is damaged (%r) and is measured again.", path, error)
    other = "fp16" if device.startswith("cuda") and not torch.cuda.is_bf16_supported(False) else "bf16"
    times = {precision: _training_step_s(device, precision) for precision in ("fp32", other)}
    chosen = other if times["fp32"] >= CLEAR_WIN * times[other] else "fp32"
    log.info("On %s a step takes %s s: %s is used.", key["hardware"], times, chosen)
    write_text(path, json.dumps({"precision": chosen, "step_s": times, **key}))
    return chosen


def _training_step_s(device: str, precision: str) -> float:
    """Return the least time of a small training step at a precision, in seconds."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        scale = 4 if device.startswith("cuda") else 1
        model, pictures = _small_network(64 * scale), torch.randn(4 * scale, 3, 64, 64)
    model, pictures = model.to(device), pictures.to(device)

    def step() -> None:
        with autocast(device, precision):
            loss = model(pictures).float().square().mean()
        loss.backward()

    step()
    return min(seconds(step, device) for _ in range(REPEATS))


def _small_network(width: int) -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=4),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 1),
        nn.Flatten(2),
        nn.Linear(256, 256),
    )


def seconds(work: Callable[[], Any], device: str) -> float:
    """Return how long work takes until the device has finished it."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def wait(device: str) -> None:
    """Wait until a GPU has finished what was asked of it; a CPU always has."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize(device)


class Neighbours:
    """How much of the host's CPU time other processes take, from its making on: a busy host spoils a profile."""

    def __init__(self) -> None:
        self._start = self._seconds()

    def share(self) -> float:
        """Return the others' share of the host's CPU time since the start, in [0, 1]."""
        spent, mine, available = (end - start for end, start in zip(self._seconds(), self._start, strict=True))
        return min(1.0, max(0.0, (spent - mine) / available)) if available > 0 else 0.0

    @staticmethod
    def _seconds() -> tuple[float, float, float]:
        host, own = psutil.cpu_times(), psutil.Process().cpu_times()
        idle = host.idle + getattr(host, "iowait", 0.0)
        # Guests' time is part of the users' time already.
        total = sum(host) - getattr(host, "guest", 0.0) - getattr(host, "guest_nice", 0.0)
        return total - idle, own.user + own.system, total


def is_quiet(*, over_s: float = 1.0) -> bool:
    """Tell whether others leave the host alone, as seen over a second; the caller must have nothing at work itself."""
    neighbours = Neighbours()
    time.sleep(over_s)
    return neighbours.share() <= BUSY_SHARE
