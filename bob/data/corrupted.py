"""A corruption as evaluation's batches apply it: to the view that the model is given, after resizing and cropping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bob.core.errors import ConfigError
from bob.data.corruptions import MIN_SIDE, corrupt, corruption_rng
from bob.data.corruptions.photographs import FILES, frost_photograph

SEED = 0  # of every picture's draw: all backbones and seeds of a job see the same corrupted pictures


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """Changes the view of a picture; picklable, and safe to call from threads.

    ImageNet-C too was made of pictures that had been resized and cropped. A picture's draw follows from its id, the
    corruption and the severity alone.

    Attributes:
        name: One of ``bob.data.corruptions.CORRUPTIONS``.
        severity: 1 to 5.
        ids: The pictures' ids, by index.
    """

    name: str
    severity: int
    ids: tuple[str, ...]

    def __call__(self, view: np.ndarray, index: int) -> np.ndarray:
        """Return the corrupted view of picture ``index``: uint8 (S, S, 3) as it came."""
        rng = corruption_rng(SEED, self.ids[index], self.name, self.severity)
        return corrupt(view, self.name, self.severity, rng=rng)


def require_corruptions(names: Sequence[str], *, side: int) -> None:
    """Check that views can be corrupted here, before hours are spent on those that can.

    Args:
        names: Some of ``bob.data.corruptions.CORRUPTIONS``.
        side: Of the views, in pixels.

    Raises:
        ConfigError: The views are too small, or frost's photographs are not installed.
    """
    if names and side < MIN_SIDE:
        raise ConfigError(
            f"views of {side} x {side} pixels are too small to corrupt: at least {MIN_SIDE} a side are expected.",
            hint="Raise image_size, or leave the corruptions out.",
        )
    if "frost" in names:
        for index in range(len(FILES)):
            frost_photograph(index)
