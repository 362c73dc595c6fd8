"""One job without a suite file, and the bare pass that jobs on frozen features are compared with."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from bob.backbones import catalogue, weights
from bob.data.pictures import Pictures
from bob.data.resolve import resolve_dataset
from bob.data.transforms import eval_transform
from bob.jobs.context import Context
from bob.jobs.job import Budget, Job, OtherData
from bob.tasks.setup import EVALUATION_BATCH, Setup
from bob.tasks.spec import TASKS


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Return the command line of a comparison with a bare pass."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="tf_efficientnet_lite0.in1k")
    parser.add_argument("--data", default="scenes")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def benchmark_job(
    backbone: str,
    data: str,
    protocol: str,
    *,
    size: int,
    context: Context,
    task: str = "classification",
    budget: Budget | None = None,
    others: Sequence[OtherData] = (),
    **params: Any,
) -> Job:
    """Return the job of a packaged checkpoint or a control, protocol defaults changed by ``params``."""
    described = catalogue.find(backbone)
    spec = resolve_dataset(data, cache_dir=context.cache_dir, data_dir=None)
    described_task = TASKS.get(task)
    entry = described_task.protocols[protocol]
    file = None
    if not described.is_control:
        file = weights.locate(described, weights_dirs=(), cache_dir=context.cache_dir)
    chosen = dict(entry.resolve(params))
    return Job(
        backbone=backbone,
        weights_sha256=file.sha256 if file else "random",
        input=catalogue.resolve_input(described, resolution="fixed", image_size=size),
        task=described_task.name,
        task_version=described_task.version,
        dataset_fingerprint=spec.fingerprint,
        protocol=protocol,
        params=tuple(sorted(chosen.items())),
        others=tuple(others),
        classifier=tuple((name, chosen[name]) for name in sorted(chosen) if name in entry.classifier),
        precision="fp32",
        seed=0,
        budget=budget or Budget(),
        dataset=spec.name,
        dataset_spec=spec,
        weights_path=str(file.path) if file else None,
        uses=entry.uses,
    )


def bare_pass(job: Job, context: Context, model: torch.nn.Module, sets: Iterable[Pictures]) -> float:
    """Return the seconds of decode, transform and forward over sets of pictures."""
    transform = eval_transform(job.input)

    def read(pictures: Pictures, index: int) -> torch.Tensor:
        return transform(pictures.load(index))

    started = time.perf_counter()
    with ThreadPoolExecutor(context.threads) as pool, torch.inference_mode():
        for pictures in sets:
            waiting = None
            for first in range(0, len(pictures) + EVALUATION_BATCH, EVALUATION_BATCH):
                indices = range(first, min(first + EVALUATION_BATCH, len(pictures)))
                coming = [pool.submit(read, pictures, index) for index in indices]
                if waiting:
                    images = torch.stack([future.result() for future in waiting])
                    model(images.to(memory_format=torch.channels_last))
                waiting = coming
    return time.perf_counter() - started


def ready_model(job: Job, context: Context) -> torch.nn.Module:
    """Return the job's backbone, warm."""
    model = Setup.of(job, context).model().to(memory_format=torch.channels_last).eval()
    side = job.input.image_size
    with torch.inference_mode():
        model(torch.zeros(EVALUATION_BATCH, 3, side, side))
    return model
