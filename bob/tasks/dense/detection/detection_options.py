"""From a detection protocol's parameters to what its head is made of. No torch: planning checks them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bob.heads.detector_options import MASK_HEADS, DetectorOptions


def options_of(params: Mapping[str, Any], *, classes: int, seed: int = 0) -> DetectorOptions:
    """Return the options that a protocol's parameters describe.

    Raises:
        ConfigError: They do not go together.
    """
    return DetectorOptions(
        head=str(params["head"]),
        classes=classes,
        masks=params["head"] in MASK_HEADS,
        channels=int(params["channels"]),
        anchor_scale=float(params["anchor_scale"]),
        proposals=int(params["proposals"]),
        roi_batch=int(params["roi_batch"]),
        box_width=int(params["box_width"]),
        convs=int(params["convs"]),
        max_detections=int(params["max_detections"]),
        seed=seed,
    )


def check(params: Mapping[str, Any]) -> None:
    """Raise ConfigError for parameters that no head can be built with."""
    options_of(params, classes=1)
