"""A little folder of textured pictures, and jobs without a suite: what the tests of tasks run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob.backbones import catalogue, weights
from bob.data.resolve import resolve_dataset
from bob.jobs.context import Context, Progress, no_progress
from bob.jobs.job import Budget, Job, OtherData
from bob.tasks.classification.classification_spec import CLASSIFICATION
from bob.tasks.spec import Task

LITE0 = "tf_efficientnet_lite0.in1k"
CONTROL = "tf_efficientnet_lite0.random"
COUNTS = {"train": 12, "val": 6, "test": 8}
NAMES = ("checks", "dots", "stripes")


def picture(kind: int, rng: np.random.Generator, side: int = 48) -> Image.Image:
    """Draw stripes, checks or dots of a random size and phase under noise."""
    rows, columns = np.mgrid[0:side, 0:side] + rng.integers(0, 16)
    period = rng.integers(6, 12)
    waves = np.sin(2 * np.pi * rows / period), np.sin(2 * np.pi * columns / period)
    shape = (np.sign(waves[0] * waves[1]), np.maximum(*waves) < 0, waves[0])[kind]
    colour = rng.uniform(60, 120, 3)
    pixels = 128 + shape[..., None] * colour + rng.normal(0, 25, (side, side, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_folder(root: Path, names: Sequence[str] = NAMES, counts: dict[str, int] | None = None) -> Path:
    """Write SPLIT/CLASS/*.png."""
    rng = np.random.default_rng(0)
    for split, count in (counts or COUNTS).items():
        for kind, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture(kind, rng).save(folder / f"{number}.png")
    return root


def context_of(tmp_path: Path, progress: Progress = no_progress) -> Context:
    return Context(results_dir=tmp_path / "results", cache_dir=tmp_path / "cache", threads=1, progress=progress)


def job_of(
    data: Path | str,
    context: Context,
    protocol: str,
    *,
    backbone: str = LITE0,
    size: int = 64,
    seed: int = 0,
    budget: Budget | None = None,
    task: Task = CLASSIFICATION,
    others: Sequence[OtherData] = (),
    **params: Any,
) -> Job:
    described = catalogue.find(backbone)
    spec = resolve_dataset(str(data), cache_dir=context.cache_dir, data_dir=None)
    entry = task.protocols[protocol]
    file = None
    if not described.is_control:
        file = weights.locate(described, weights_dirs=(), cache_dir=context.cache_dir)
    chosen = entry.resolve(params)
    return Job(
        backbone=backbone,
        weights_sha256=file.sha256 if file else "random",
        input=catalogue.resolve_input(described, resolution="fixed", image_size=size),
        task=task.name,
        task_version=task.version,
        dataset_fingerprint=spec.fingerprint,
        protocol=protocol,
        params=chosen,
        others=tuple(others),
        classifier=tuple((name, value) for name, value in chosen if name in entry.classifier),
        precision="auto",
        seed=seed,
        budget=budget or Budget(),
        dataset=spec.name,
        dataset_spec=spec,
        weights_path=str(file.path) if file else None,
        uses=entry.uses,
    )


def other_of(data: Path | str, context: Context, role: str) -> OtherData:
    """Return a data set that a job is scored on beside its own."""
    spec = resolve_dataset(str(data), cache_dir=context.cache_dir, data_dir=None)
    return OtherData(role=role, name=spec.name, text=str(data), fingerprint=spec.fingerprint, spec=spec)
