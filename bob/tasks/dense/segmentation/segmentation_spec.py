"""Task `semantic_segmentation` as data. No torch: planning reads this."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from bob.heads.head_registry import further_params, heads_that
from bob.jobs.protocol_params import OneOf
from bob.tasks.dense.dense_params import DenseParams, dense_protocols
from bob.tasks.spec import Task
from bob.tasks.training_params import BATCH_SIZE, LRS, Rate

USUAL_HEAD = "upernet"

METRICS = {
    "miou": "mean over the classes that occur, in truth or prediction, of intersection over union of all test pixels",
    "pixel_accuracy": "share of labelled pixels that are right",
    "mean_accuracy": "mean over the classes that occur in truth of the share of their pixels that are right",
}


class SegmentationParams(DenseParams):
    """Of `semantic_segmentation`."""

    head: Annotated[str, OneOf(lambda: heads_that("semantic"))] = Field(
        USUAL_HEAD, description="what turns the pyramid into a class per pixel"
    )
    channels: int = Field(256, ge=8, description="channels of the head")
    lrs: tuple[Rate, ...] = Field((1e-3, 3e-4, 3e-3, 1e-4), description=LRS)
    batch_size: int = Field(8, ge=2, description=BATCH_SIZE)
    scale: tuple[Annotated[float, Field(ge=0.05, le=4)], ...] = Field(
        (0.5, 2.0),
        description="least and greatest size of a training picture, in sizes that just fit (`whole`) or cover "
        "(`slide`)",
    )
    inference: Literal["whole", "slide"] = Field(
        "whole",
        description="`whole`: the picture fitted into the input; `slide`: windows over the picture that covers it",
    )
    overlap: float = Field(0.33, ge=0, le=0.9, description="share of a window that the next one repeats (`slide`)")


SEMANTIC_SEGMENTATION = Task(
    name="semantic_segmentation",
    version=1,
    metric="miou",
    metrics=METRICS,
    protocols=dense_protocols(
        "bob.tasks.dense.segmentation.segmentation_protocols",
        SegmentationParams,
        epochs=16,
        further_params=partial(further_params, usual=USUAL_HEAD),
    ),
    annotation="semantic",
    cost="bob.jobs.estimate:dense_s",
)
