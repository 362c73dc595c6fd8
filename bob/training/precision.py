"""Which precision a job runs in, and the autocast that gives it."""

from __future__ import annotations

import contextlib
from pathlib import Path

import torch

from bob.core.errors import ConfigError
from bob.core.machine import faster_precision

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(requested: str, *, device: torch.device, cache_dir: Path) -> str:
    """Return "fp32", "bf16" or "fp16".

    "auto" is fp32 on a CPU, and what was measured faster on a CUDA device. Anything else is taken at its word.

    Raises:
        ConfigError: The precision is unknown, or fp16 on a CPU, which cannot train in it.
    """
    if requested == "auto":
        if device.type == "cpu":
            return "fp32"
        return faster_precision(str(device), cache_dir)
    if requested != "fp32" and requested not in DTYPES:
        raise ConfigError(f"precision {requested!r} is not known: expected auto, fp32, bf16 or fp16.")
    if requested == "fp16" and device.type == "cpu":
        raise ConfigError("precision 'fp16' is not for a CPU.", hint="Use fp32, bf16 or auto.")
    return requested


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Return the context in which a forward pass runs in ``precision``."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])
