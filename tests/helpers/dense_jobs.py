"""Dense jobs small enough for a test, on embedded scenes."""

from __future__ import annotations

from typing import Any

from classification_jobs import job_of

from bob.jobs.context import Context
from bob.jobs.job import Budget, Job
from bob.tasks.spec import TASKS

SCENES = "scenes:train=12,val=4,test=6"
LIGHT = {
    "detection": {"head": "fcos", "levels": (8, 16, 32), "channels": 64, "convs": 1},
    "instance_segmentation": {
        "levels": (8, 16, 32),
        "channels": 32,
        "anchor_scale": 4.0,
        "proposals": 30,
        "roi_batch": 16,
        "box_width": 64,
        "convs": 1,
    },
    "semantic_segmentation": {"channels": 32},
}


def dense_job(
    task: str,
    context: Context,
    protocol: str = "frozen",
    *,
    data: Any = SCENES,
    seen: int = 16,
    trials: int = 1,
    size: int = 64,
    backbone: str = "tf_efficientnet_lite0.in1k",
    seed: int = 0,
    **params: Any,
) -> Job:
    """Return a job with a light head; ``params`` change the protocol's defaults."""
    return job_of(
        data,
        context,
        protocol,
        backbone=backbone,
        size=size,
        seed=seed,
        budget=Budget(images_seen=seen, trials=trials),
        task=TASKS.get(task),
        **{"batch_size": 4, **LIGHT[task], **params},
    )
