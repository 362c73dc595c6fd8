"""What a detector is made of: the head's name and its numbers. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bob.core.errors import ConfigError, unknown_name
from bob.heads.head_registry import HEADS, heads_that


@dataclass(frozen=True, kw_only=True)
class DetectorOptions:
    """A head and its size. The defaults are the published full heads; a light one takes smaller numbers.

    Attributes:
        head: A head that produces boxes, or boxes with masks for instance segmentation.
        classes: Classes of the data set; none of them is "background".
        masks: Whether objects have masks: true for heads that produce masks, and only for them.
        channels: Width of the feature pyramid and of every convolution on it.
        anchor_scale: Side of an anchor in units of its level's stride; 8 is the published value of every head. RoIs
            and, for FCOS, objects are given to levels in the same proportion: half the scale does at half the picture
            size what the full one does at full size.
        proposals: Two-stage heads: RoIs per picture after the first stage, and per level before its suppression
            (twice as many in training). One-stage heads: candidates per level before suppression.
        roi_batch: RoIs per picture that the second stage trains on, at most a quarter of them objects.
        rpn_batch: Anchors per picture that the first stage trains on, at most half of them objects.
        max_detections: Most objects found in one picture.
        score_threshold: Objects of a lower score are not reported.
        box_width: Units of the two layers of a box head (of each stage in a cascade).
        convs: 3x3 convolutions of the mask head, and of each tower of FCOS and RetinaNet.
        seed: Of the fresh weights.
        extra: Values of the head's own parameters, by name.
    """

    head: str
    classes: int
    masks: bool = False
    channels: int = 256
    anchor_scale: float = 8.0
    proposals: int = 1000
    roi_batch: int = 512
    rpn_batch: int = 256
    max_detections: int = 100
    score_threshold: float = 0.05
    box_width: int = 1024
    convs: int = 4
    seed: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*heads_that("boxes"), *heads_that("masks"))
        if self.head not in known:
            raise unknown_name("detection head", self.head, known, hint=_choices())
        head = HEADS.get(self.head)
        if self.masks != (head.produces == "masks"):
            word = "masks" if self.masks else "no masks"
            raise ConfigError(f"head {self.head!r} does not go with {word}.", hint=_choices())
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: expected at least {least}.")
        if self.anchor_scale <= 0 or not 0 <= self.score_threshold < 1:
            raise ConfigError(
                f"anchor_scale {self.anchor_scale} must be positive, and score_threshold {self.score_threshold} "
                "in [0, 1)."
            )
        if head.check is not None:
            head.check(self)


_LEAST = {
    "classes": 1,
    "channels": 1,
    "proposals": 1,
    "roi_batch": 4,  # a quarter are objects: fewer would never train on one
    "rpn_batch": 2,
    "max_detections": 1,
    "box_width": 1,
    "convs": 1,
}


def _choices() -> str:
    return f"For boxes: {', '.join(heads_that('boxes'))}. For masks: {', '.join(heads_that('masks'))}."
