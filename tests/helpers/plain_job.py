"""One job as data, on nothing."""

from __future__ import annotations

from bob.backbones.backbone import InputConfig
from bob.jobs.job import Budget, Job

INPUT = InputConfig(image_size=128, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=0.875)
JOB = Job(
    backbone="resnet50.a1_in1k",
    weights_sha256="ab" * 32,
    input=INPUT,
    task="classification",
    task_version=1,
    dataset_fingerprint="scenes-1",
    protocol="linear",
    params=(("l2", (0.1, 1.0)),),
    precision="fp32",
    seed=0,
    budget=Budget(max_train=400),
    dataset="scenes",
    uses=("features", "profile"),
)
