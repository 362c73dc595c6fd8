"""``run_job``: adapt and evaluate a backbone, join its profile, write the row. Imports torch only through the task."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from typing import Any

from bob.backbones import catalogue
from bob.backbones.backbone import Backbone
from bob.core.errors import (
    BobError,
    DataMissingError,
    NumericalError,
    WeightsMissingError,
)
from bob.core.files import canonical_json
from bob.core.peak_memory import is_shortage
from bob.core.plugins import load_plugin
from bob.core.registry import resolved
from bob.core.settings import use_cache_dir
from bob.core.text import without_secrets
from bob.data.dataset import DatasetSpec
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import PROFILE, needs_of
from bob.jobs.profiles import read_profile
from bob.jobs.provenance import allocation_id, now, provenance
from bob.store import ResultStore
from bob.tasks.metric_columns import further_metrics
from bob.tasks.result import TaskResult
from bob.tasks.spec import TASKS


def run_job(job: Job, context: Context) -> dict[str, Any]:
    """Run one job to its row and append that to the store.

    Features the job needs are made here if nobody has made them before; a profile is joined if it is there.

    Returns:
        The row, with status ``ok``; appended by rank 0 of a job's processes, and by nobody else.

    Raises:
        BobError: The job cannot give a number; ``failure_row`` says how its row then looks.
    """
    started, clock = now(), time.perf_counter()
    for plugin in job.plugins:
        load_plugin(plugin)
    task = TASKS.get(job.task)
    result: TaskResult = resolved(task.protocol(job.protocol).run)(job, context)
    wall_s = time.perf_counter() - clock + result.shared_s
    row = base_row(job, context)
    row |= {"status": "ok", "started_at": started, "finished_at": now()}
    row |= {"score": result.score, "score_low": result.score_low, "score_high": result.score_high}
    # What the job measured on its own training is closer to the truth than the profile's single step.
    row |= {**_profile(job, context), **result.metrics, **result.cost, **result.notes}
    row |= further_metrics(job.task, result.outcomes)
    row |= {"wall_s": wall_s, "device_hours": wall_s * context.processes / 3600}
    row |= {"hparams": canonical_json(result.hparams), "search": canonical_json(result.search)}
    _check_score(row)
    if context.rank:
        return row
    store = ResultStore(context.results_dir)
    if result.contact_sheet is not None:
        row["contact_sheet"] = store.keep_sheet(job.id, result.contact_sheet)
    store.append(row, result.outcomes, result.replicates)
    # Only now: a job killed before its row is written goes on from its checkpoint.
    shutil.rmtree(context.work_dir / job.id, ignore_errors=True)
    return row


def base_row(job: Job, context: Context) -> dict[str, Any]:
    """Return the columns every row of a job has, whatever comes of it: identity and provenance. Imports no torch."""
    use_cache_dir(context.cache_dir)
    for plugin in job.plugins:
        load_plugin(plugin)
    backbone = catalogue.find(job.backbone)
    task = TASKS.get(job.task)
    spec = job.dataset_spec
    return {
        **{"job_id": job.id, "cell": job.cell, "suite": job.suite},
        **{"backbone": backbone.name, "arch": backbone.arch, "family": backbone.family},
        **{"pretrain_method": backbone.pretrain_method, "pretrain_data": backbone.pretrain_data},
        **{"is_control": backbone.is_control, "weights_sha256": job.weights_sha256},
        **{"weights_source": job.weights_source, "params_m": backbone.params_m},
        **{"task": job.task, "task_version": job.task_version, "metric": task.metric},
        **{"dataset": job.dataset, "dataset_fingerprint": job.dataset_fingerprint},
        **{"dataset_license": spec.license if spec else None, "smoke": _is_smoke(job)},
        **{"others": _others(job), "copies_left_out": _copies_left_out(job)},
        **{
            "data_overlap": _overlap(backbone, job),
            "protocol": job.protocol,
            "protocol_params": canonical_json(dict(job.params)),
        },
        **{"plugin_code": job.plugin_code or None},
        **{"seed": job.seed, "budget": job.budget.label(), "resolution": job.resolution},
        **{"image_size": job.input.image_size, "interpolation": job.input.interpolation},
        **{"crop_pct": job.input.crop_pct, "requested_precision": job.precision, "device": context.device},
        **{"hardware_class": job.hardware or None, "threads": context.threads, "started_at": now()},
        **{"processes": context.processes},
        **{"log_path": _log_path(context), **provenance()},
        **{"submission": context.submission or None, "code_changed": context.code_changed},
        **{"allocation": allocation_id() or None},
    }


def failure_row(job: Job, context: Context, *, status: str, error_class: str, message: str) -> dict[str, Any]:
    """Return the row of a job that gave no number; its message holds no token and no password."""
    message = without_secrets(message)
    return base_row(job, context) | {
        "status": status,
        "error": f"{error_class}: {message}".strip(),
        "error_class": error_class,
        "error_message": message,
        "finished_at": now(),
    }


def status_of(error: BaseException) -> str:
    """Return the row status an error stands for: ``oom``, ``skipped``, ``timeout`` or ``failed``."""
    if is_shortage(error):
        return "oom"
    if isinstance(error, WeightsMissingError | DataMissingError):
        return "skipped"
    return "timeout" if isinstance(error, TimeoutError) else "failed"


def message_of(error: BaseException) -> str:
    """Return an error's text for a row: without its hint, never empty."""
    text = error.message if isinstance(error, BobError) else str(error)
    return text or repr(error)


def _profile(job: Job, context: Context) -> Mapping[str, Any]:
    """Return the cost columns measured for the job's architecture; nothing if there are none."""
    for need in needs_of(job):
        if need.kind == PROFILE.name:
            # A profile that could not be measured costs the row its cost columns, never its score.
            return read_profile(ArtifactStore(context.cache_dir), need) or {}
    return {}


def _specs(job: Job) -> tuple[DatasetSpec, ...]:
    """Return every data set that the job is scored on, its own first."""
    return tuple(spec for spec in (job.dataset_spec, *(other.spec for other in job.others)) if spec)


def _is_smoke(job: Job) -> bool:
    return any(spec.smoke for spec in _specs(job))


def _others(job: Job) -> str | None:
    """Name the data sets scored beside the job's own, sorted: in what order a suite lists them does not matter."""
    named = sorted([other.role, other.name, other.fingerprint] for other in job.others)
    return canonical_json(named) if named else None


def _copies_left_out(job: Job) -> int | None:
    """Return how many pictures are left out as copies, of the job's own data and of the test pictures beside them."""
    own = job.dataset_spec
    if own is None or own.copies is None:
        return None
    task = TASKS.get(job.task)
    count = own.copies.left_out(task.annotation_of(own) or own.annotations[0])
    for spec in (other.spec for other in job.others if other.spec and other.spec.copies):
        assert spec.copies is not None, "those without are not looked at"
        count += spec.copies.left_out(task.annotation_of(spec) or spec.annotations[0], ("test",))
    return count


def _overlap(backbone: Backbone, job: Job) -> str:
    """Say which of the backbone's pretraining data contain pictures it is scored on; empty if none is known to."""
    known = dict.fromkeys(name for spec in _specs(job) for name in spec.overlaps)
    return ", ".join(name for name in known if name in backbone.pretrain_data)


def _log_path(context: Context) -> str | None:
    """Return the log's path relative to the results folder, which may be moved as a whole."""
    return os.path.relpath(context.log_path, context.results_dir) if context.log_path else None


def _check_score(row: Mapping[str, Any]) -> None:
    if not 0.0 <= row["score"] <= 1.0:
        raise NumericalError(
            f"the score of {row['backbone']} on {row['task']} is {row['score']!r}: expected a number in [0, 1]."
        )
