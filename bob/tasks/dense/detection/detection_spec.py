"""Tasks `detection` and `instance_segmentation` as data. No torch: planning reads this."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from bob.heads.detector_options import DetectorOptions
from bob.heads.head_registry import ALL_LEVELS, further_params, heads_that
from bob.jobs.protocol_params import OneOf
from bob.tasks.dense.dense_params import DenseParams, dense_protocols
from bob.tasks.spec import Protocol, Task
from bob.tasks.training_params import BATCH_SIZE, LRS, Rate

Size = Annotated[float, Field(ge=0.05, le=4)]
AREAS = {"small": "under 32 x 32 pixels", "medium": "32 x 32 to 96 x 96 pixels", "large": "over 96 x 96 pixels"}
FREQUENCIES = {
    "rare": "in 1 to 10 training pictures, of data in LVIS' format",
    "common": "in 11 to 100, likewise",
    "frequent": "in more, likewise",
}


def _metrics(kind: str, word: str) -> dict[str, str]:
    """Return the COCO metrics of boxes or masks with their definitions."""
    found = {
        f"{kind}_ap": f"COCO AP of {word}: mean over classes and IoU .50:.05:.95, 101-point interpolation; "
        "on data in LVIS' format its federated AP, of at most 300 detections a picture",
        f"{kind}_ap50": f"AP of {word} at IoU .50",
        f"{kind}_ap75": f"AP of {word} at IoU .75",
    }
    found |= {f"{kind}_ap_{name}": f"AP of {word} of objects {doc}" for name, doc in AREAS.items()}
    found |= {f"{kind}_ap_{name}": f"AP of {word} of the classes that are {doc}" for name, doc in FREQUENCIES.items()}
    found |= {f"{kind}_ar{count}": f"average recall of {word}, {count} detections a picture" for count in (1, 10, 100)}
    return found | {f"{kind}_ar_{name}": f"average recall of {word} of objects {doc}" for name, doc in AREAS.items()}


class DetectionParams(DenseParams):
    """Of `detection`."""

    head: Annotated[str, OneOf(lambda: heads_that("boxes"))] = Field(
        "faster_rcnn", description="what turns the pyramid into objects"
    )
    levels: tuple[Annotated[int, OneOf(lambda: ALL_LEVELS)], ...] = Field(
        ALL_LEVELS, description="strides of the pyramid that the head sees"
    )
    channels: int = Field(256, ge=8, description="channels of the feature pyramid network")
    anchor_scale: float = Field(
        8.0, ge=0.5, description="side of an anchor in strides of its level; which objects fcos gives to a level"
    )
    proposals: int = Field(1000, ge=1, description="regions per picture, or candidates per level of a one-stage head")
    roi_batch: int = Field(512, ge=4, description="regions per picture that a two-stage head learns from")
    box_width: int = Field(1024, ge=8, description="width of a two-stage head's fully connected layers")
    convs: int = Field(
        4, ge=1, description="3 x 3 convolutions of a mask head, and of each tower of fcos and retinanet"
    )
    max_detections: int = Field(100, ge=1, description="objects kept per picture, the surest")
    lrs: tuple[Rate, ...] = Field((5e-4, 2e-4, 1e-3, 1e-4), description=LRS)
    batch_size: int = Field(8, ge=1, description=BATCH_SIZE)
    scale: tuple[Size, ...] = Field(
        (0.6, 1.0),
        description="least and greatest size of a training picture, in sizes that just fit; 0.1,2 is large-scale "
        "jitter",
    )

    def options(self, *, classes: int, seed: int = 0, extra: Mapping[str, Any] | None = None) -> DetectorOptions:
        """Return what a detector is made of.

        Args:
            classes: Classes of the data set.
            seed: Of the fresh weights.
            extra: Values of the head's own parameters.

        Raises:
            ConfigError: The parameters do not go together.
        """
        return DetectorOptions(
            head=self.head,
            classes=classes,
            masks=self.head in heads_that("masks"),
            channels=self.channels,
            anchor_scale=self.anchor_scale,
            proposals=self.proposals,
            roi_batch=self.roi_batch,
            box_width=self.box_width,
            convs=self.convs,
            max_detections=self.max_detections,
            seed=seed,
            extra=extra or {},
        )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.options(classes=1)
        return self


class InstanceSegmentationParams(DetectionParams):
    """Of `instance_segmentation`."""

    head: Annotated[str, OneOf(lambda: heads_that("masks"))] = Field(
        "mask_rcnn", description="what turns the pyramid into objects"
    )


def _protocols(params: type[DetectionParams], usual: str) -> dict[str, Protocol]:
    return dense_protocols(
        "bob.tasks.dense.detection.detection_protocols",
        params,
        epochs=12,
        further_params=partial(further_params, usual=usual),
    )


DETECTION = Task(
    name="detection",
    version=1,
    metric="box_ap",
    metrics=_metrics("box", "boxes"),
    protocols=_protocols(DetectionParams, "faster_rcnn"),
    annotation="boxes",
    cost="bob.jobs.estimate:dense_s",
)

INSTANCE_SEGMENTATION = Task(
    name="instance_segmentation",
    version=1,
    metric="mask_ap",
    metrics={**_metrics("mask", "masks"), **_metrics("box", "boxes")},
    protocols=_protocols(InstanceSegmentationParams, "mask_rcnn"),
    annotation="instances",
    cost="bob.jobs.estimate:dense_s",
)
