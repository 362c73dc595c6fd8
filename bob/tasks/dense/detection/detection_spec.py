"""Tasks `detection` and `instance_segmentation` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.detector_options import HEADS as BOX_HEADS
from bob.heads.detector_options import MASK_HEADS
from bob.tasks.dense.dense_params import dense_protocols
from bob.tasks.spec import Param, Protocol, Task

RATES = (5e-4, 2e-4, 1e-3, 1e-4)
AREAS = {"small": "under 32 x 32 pixels", "medium": "32 x 32 to 96 x 96 pixels", "large": "over 96 x 96 pixels"}


def _metrics(kind: str, word: str) -> dict[str, str]:
    """Return the COCO metrics of boxes or masks with their definitions."""
    found = {
        f"{kind}_ap": f"COCO AP of {word}: mean over classes and IoU .50:.05:.95, 101-point interpolation",
        f"{kind}_ap50": f"AP of {word} at IoU .50",
        f"{kind}_ap75": f"AP of {word} at IoU .75",
    }
    found |= {f"{kind}_ap_{name}": f"AP of {word} of objects {doc}" for name, doc in AREAS.items()}
    found |= {f"{kind}_ar{count}": f"average recall of {word}, {count} detections a picture" for count in (1, 10, 100)}
    return found | {f"{kind}_ar_{name}": f"average recall of {word} of objects {doc}" for name, doc in AREAS.items()}


def _params(heads: tuple[str, ...]) -> dict[str, Param]:
    return {
        "head": Param(default=heads[0], doc="what turns the pyramid into objects", choices=heads),
        "levels": Param(
            default=(4, 8, 16, 32), doc="strides of the pyramid that the head sees", choices=(4, 8, 16, 32)
        ),
        "channels": Param(default=256, doc="channels of the feature pyramid network", low=8),
        "anchor_scale": Param(
            default=8.0, doc="side of an anchor in strides of its level; which objects fcos gives to a level", low=0.5
        ),
        "proposals": Param(default=1000, doc="regions per picture, or candidates per level of a one-stage head", low=1),
        "roi_batch": Param(default=512, doc="regions per picture that a two-stage head learns from", low=4),
        "box_width": Param(default=1024, doc="width of a two-stage head's fully connected layers", low=8),
        "convs": Param(
            default=4, doc="3 x 3 convolutions of a mask head, and of each tower of fcos and retinanet", low=1
        ),
        "max_detections": Param(default=100, doc="objects kept per picture, the surest", low=1),
        "batch_size": Param(default=8, doc="effective batch in pictures, whatever the micro-batch", low=1),
        "scale": Param(
            default=(0.6, 1.0),
            doc="least and greatest size of a training picture, in sizes that just fit; 0.1,2 is large-scale jitter",
            low=0.05,
            high=4.0,
        ),
    }


def _protocols(heads: tuple[str, ...]) -> dict[str, Protocol]:
    return dense_protocols(
        "bob.tasks.dense.detection.detection_protocols",
        _params(heads),
        rates=RATES,
        epochs=12,
        check="bob.tasks.dense.detection.detection_options:check",
    )


DETECTION = Task(
    name="detection",
    version=1,
    metric="box_ap",
    metrics=_metrics("box", "boxes"),
    protocols=_protocols(BOX_HEADS),
    annotation="boxes",
    cost="bob.jobs.estimate:dense_s",
)

INSTANCE_SEGMENTATION = Task(
    name="instance_segmentation",
    version=1,
    metric="mask_ap",
    metrics={**_metrics("mask", "masks"), **_metrics("box", "boxes")},
    protocols=_protocols(MASK_HEADS),
    annotation="instances",
    cost="bob.jobs.estimate:dense_s",
)
