"""One job without a suite file, for benchmarks."""

from __future__ import annotations

from typing import Any

from bob.backbones import catalogue, weights
from bob.context import Context
from bob.data.resolve import resolve_dataset
from bob.job import Budget, Job
from bob.tasks.spec import TASKS


def benchmark_job(
    backbone: str,
    data: str,
    protocol: str,
    *,
    size: int,
    context: Context,
    task: str = "classification",
    budget: Budget | None = None,
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
    return Job(
        backbone=backbone,
        weights_sha256=file.sha256 if file else "random",
        input=catalogue.resolve_input(described, resolution="fixed", image_size=size),
        task=described_task.name,
        task_version=described_task.version,
        dataset_fingerprint=spec.fingerprint,
        protocol=protocol,
        params=tuple(sorted({**{name: param.default for name, param in entry.params.items()}, **params}.items())),
        precision="fp32",
        seed=0,
        budget=budget or Budget(),
        dataset=spec.name,
        dataset_spec=spec,
        weights_path=str(file.path) if file else None,
        uses=entry.uses,
    )
