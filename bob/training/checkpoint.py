"""Checkpoints of unfinished training: whole or absent, read without running code, removed when the job is done."""

from __future__ import annotations

import logging
import pickle
import random
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bob.core.files import replacing

log = logging.getLogger(__name__)

LATEST = "latest.pt"
BEST = "best.pt"
LEAST_INTERVAL_S = 60.0
WRITING_SHARE = 0.05


class Checkpoints:
    """The checkpoint of one job, in a folder of its own.

    Args:
        folder: ``work_dir/JOB_ID``.
        every_s: Least time between two periodic checkpoints; writing takes at most 5 % of the time, so it grows when a
            write is slow.
        every_steps: If given, a checkpoint is due after that many steps instead.
    """

    def __init__(self, folder: Path, *, every_s: float = LEAST_INTERVAL_S, every_steps: int | None = None) -> None:
        self._folder = folder
        self._every_s = every_s
        self._every_steps = every_steps
        self._interval_s = every_s
        self._last = time.monotonic()
        self._steps = 0

    def due(self) -> bool:
        """Tell, once per step, whether a periodic checkpoint should be written now."""
        self._steps += 1
        if self._every_steps is not None:
            return self._steps % self._every_steps == 0
        return time.monotonic() - self._last >= self._interval_s

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint: nested dicts and lists of tensors, numbers and text.

        If it cannot be written, a warning says so, the one before stays, and training goes on: what it is kept for is
        saving work, and a full disk may have room again when the row is written.
        """
        started = time.monotonic()
        try:
            self._write(LATEST, state)
        except OSError as error:
            log.warning("The checkpoint could not be written, and training goes on without it: %s.", error)
        self._last = time.monotonic()
        self._interval_s = max(self._every_s, (self._last - started) / WRITING_SHARE)

    def load(self) -> dict[str, Any] | None:
        """Return the checkpoint, tensors on the CPU; None if there is none or it cannot be read (which is logged)."""
        return self._read(LATEST)

    def save_best(self, state: Mapping[str, Any]) -> None:
        """Keep the best trial's weights.

        Raises:
            OSError: They cannot be written: what is scored in the end would be missing.
        """
        self._write(BEST, state)

    def load_best(self) -> dict[str, Any] | None:
        """Return the best trial's weights, as ``load`` does."""
        return self._read(BEST)

    def clear(self) -> None:
        """Remove the folder: the job is done, or starts again."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str, state: Mapping[str, Any]) -> None:
        with replacing(self._folder / name) as temporary, temporary.open("wb") as file:
            try:
                torch.save(dict(state), file)
            except RuntimeError as error:
                # torch's writer finds its positions wrong after a write that failed, and says only that.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self._folder / name
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            log.warning("The checkpoint %s cannot be read (%s): this training starts again.", path, error)
            return None


def rng_state(device: torch.device) -> dict[str, Any]:
    """Return the state of every random generator a model may use: Python's, numpy's, torch's, the device's."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(internal), gauss],
        "numpy": [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set what ``rng_state`` returned."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
