"""Task `semantic_segmentation` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.tasks.dense.dense_params import dense_protocols
from bob.tasks.spec import Param, Task

HEADS = ("upernet", "deeplabv3plus", "fcn", "linear")

METRICS = {
    "miou": "mean over the classes that occur, in truth or prediction, of intersection over union of all test pixels",
    "pixel_accuracy": "share of labelled pixels that are right",
    "mean_accuracy": "mean over the classes that occur in truth of the share of their pixels that are right",
}

PARAMS = {
    "head": Param(default="upernet", doc="what turns the pyramid into a class per pixel", choices=HEADS),
    "channels": Param(default=256, doc="channels of the head", low=8),
    "batch_size": Param(default=8, doc="effective batch in pictures, whatever the micro-batch", low=2),
    "scale": Param(
        default=(0.5, 2.0),
        doc="least and greatest size of a training picture, in sizes that just fit (`whole`) or cover (`slide`)",
        low=0.05,
        high=4.0,
    ),
    "inference": Param(
        default="whole",
        doc="`whole`: the picture fitted into the input; `slide`: windows over the picture that covers it",
        choices=("whole", "slide"),
    ),
    "overlap": Param(default=0.33, doc="share of a window that the next one repeats (`slide`)", low=0.0, high=0.9),
}


SEMANTIC_SEGMENTATION = Task(
    name="semantic_segmentation",
    version=1,
    metric="miou",
    metrics=METRICS,
    protocols=dense_protocols(
        "bob.tasks.dense.segmentation.segmentation_protocols", PARAMS, rates=(1e-3, 3e-4, 3e-3, 1e-4), epochs=16
    ),
    annotation="semantic",
    cost="bob.jobs.estimate:dense_s",
)
