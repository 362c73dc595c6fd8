"""What a user calls from Python, as ``bob.NAME``; the commands parse their flags, call the same, and print.

Importing this imports neither torch nor pandas; the functions import what they need.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bob.core.errors import BobError
from bob.core.plugins import load_plugin
from bob.jobs.asked import Asked, Folders, PathLike, request_from, settings_from, texts
from bob.jobs.listings import listed
from bob.jobs.request import Request
from bob.runners.suite_runs import execute, fetch_of, in_this_process, planned_of, prepare, rows_of
from bob.store import load_results

__all__ = [
    "describe_data",
    "features",
    "fetch",
    "list_backbones",
    "list_datasets",
    "list_heads",
    "list_protocols",
    "list_scores",
    "list_suites",
    "list_tasks",
    "load_backbone",
    "load_results",
    "load_transform",
    "plan",
    "report",
    "run",
    "status",
    "submit",
]

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image
    from torch import Tensor, nn
    from typing_extensions import Unpack

    from bob.jobs.data_overview import Overview
    from bob.jobs.estimate import Machine
    from bob.jobs.fetching import Fetched
    from bob.reporting.build import Report
    from bob.runners.slurm.submitting import Draft
    from bob.runners.suite_runs import Planned
    from bob.tasks.direct_use import Features


def list_backbones(where: str | None = None) -> pd.DataFrame:
    """Return the catalogue of backbones, a row each.

    Args:
        where: A word, or a condition such as ``"params_m < 30"``; None for all.

    Raises:
        ConfigError: The condition says something that cannot be.
    """
    return _frame(listed("backbones", where))


def list_tasks(where: str | None = None) -> pd.DataFrame:
    """Return the tasks with their metrics, a row per metric, those in which the word ``where`` occurs."""
    return _frame(listed("tasks", where))


def list_protocols(where: str | None = None) -> pd.DataFrame:
    """Return the protocols with their parameters, a row per parameter, those in which the word ``where`` occurs."""
    return _frame(listed("protocols", where))


def list_heads(where: str | None = None) -> pd.DataFrame:
    """Return the heads for detection and segmentation, those in which the word ``where`` occurs."""
    return _frame(listed("heads", where))


def list_scores(where: str | None = None) -> pd.DataFrame:
    """Return the out-of-distribution scores with their sources, those in which the word ``where`` occurs."""
    return _frame(listed("scores", where))


def list_datasets(where: str | None = None) -> pd.DataFrame:
    """Return the data sets that have a name, those in which the word ``where`` occurs; any folder works as well."""
    return _frame(listed("datasets", where))


def list_suites(where: str | None = None) -> pd.DataFrame:
    """Return the suites of the current folder and those that come with BoB."""
    return _frame(listed("suites", where))


def describe_data(text: str, **folders: Unpack[Folders]) -> Overview:
    """Return what a data set on this machine holds and how it is read; no model is loaded, torch is not imported.

    Args:
        text: A folder, a file, or a data set's name, as ``data=`` takes it elsewhere.
        folders: See ``Folders``.

    Raises:
        DataError: It is not as its reader expects.
    """
    from bob.jobs import data_overview

    return data_overview.describe_data(text, settings_from(folders))


def plan(
    suite: str | None = None, *, device: str = "auto", machine: Machine | None = None, **asked: Unpack[Asked]
) -> Planned:
    """Return what would run, what is done, and what cannot run and why. Nothing is run, and torch is not imported.

    Args:
        suite: A suite's name or file; None if ``backbones`` are named.
        device: Where jobs would run: "auto", "cpu" or "cuda".
        machine: What they would run on, if not on this machine.
        asked: See ``Asked``.

    Raises:
        ConfigError: Something is asked for that cannot be.
        SuiteError: A name of the suite is not known, or it says something that cannot be; with file and line.
    """
    return planned_of(request_from(suite, asked), settings_from(asked), device=device, machine=machine)


def fetch(suite: str | None = None, **asked: Unpack[Asked]) -> Fetched:
    """Bring the checkpoints and data sets of a suite to this machine; arguments as for ``plan``.

    What cannot be had is among ``missing`` with the reason, and stops nothing else.
    """
    return fetch_of(plan(suite, **asked))


def run(
    suite: str | None = None,
    *,
    workers: int | None = None,
    processes: int = 1,
    device: str = "auto",
    timeout_min: float | None = None,
    loader_workers: int = 0,
    download: bool = True,
    display: str = "auto",
    **asked: Unpack[Asked],
) -> pd.DataFrame:
    """Run what is missing on this machine, and return the rows of all jobs asked for.

    Each job runs in a process of its own, so that this works in a notebook and in a script without a ``__main__``
    guard. Every job leaves its row, whatever becomes of it: look at ``status``. An interrupt lets running jobs save
    what a later call needs to go on.

    Args:
        suite: A suite's name or file; None if ``backbones`` are named.
        workers: Jobs at a time; None for one per GPU, or one per two CPU cores.
        processes: Processes of each job that trains.
        device: "auto", "cpu" or "cuda".
        timeout_min: Minutes after which a job is stopped, whatever the suite says.
        loader_workers: Processes that decode pictures beside each job; 0 for threads of the job itself.
        download: Whether to fetch checkpoints and data sets that are missing.
        display: Progress: "auto", "live", "lines" or "none".
        asked: See ``Asked``.

    Returns:
        A row per job, see docs/results.md for the columns; ``report`` ranks them.

    Raises:
        ConfigError: Something is asked for that cannot be.
        KeyboardInterrupt: It was interrupted; the same call goes on where it stopped.
    """
    planned = prepare(plan(suite, device=device, **asked), download=download)
    summary = execute(
        planned.jobs,
        planned.settings,
        device=planned.device,
        workers=workers,
        processes=processes,
        timeout_min=timeout_min,
        loader_workers=loader_workers,
        display=display,
    )
    if summary.interrupted:
        raise KeyboardInterrupt(f"{summary.left} jobs are left; the same call goes on.")
    return rows_of(planned)


def submit(
    suite: str | None = None,
    *,
    cluster: PathLike | Mapping[str, Any] | None = None,
    trust_cluster: bool = False,
    device: str = "auto",
    loader_workers: int = 0,
    wait: bool = False,
    **asked: Unpack[Asked],
) -> Draft:
    """Submit what is missing to SLURM.

    Args:
        suite: A suite's name or file; None if ``backbones`` are named.
        cluster: A cluster profile's file, or its values by name; None for ``BOB_CLUSTER``, or the suite's own alone.
        trust_cluster: Whether the suite's own set-up lines and options may run.
        device: As for ``run``.
        loader_workers: As for ``run``.
        wait: Whether to return only when no allocation is left in the queue.
        asked: See ``Asked``.

    Returns:
        The submission with its jobs; without arrays if there was nothing to submit.

    Raises:
        BobError: There is no SLURM here, or it does not answer, or refuses.
    """
    from bob.runners.slurm.submitting import cluster_machine, cluster_profile, submit_missing, wait_for

    values = dict(cluster) if isinstance(cluster, Mapping) else {}
    file = os.environ.get("BOB_CLUSTER") if isinstance(cluster, Mapping) or cluster is None else os.fspath(cluster)
    resolved, _ = request_from(suite, asked).resolve()
    profile = cluster_profile(file, resolved, values, trusted=trust_cluster)
    planned = prepare(plan(suite, machine=cluster_machine(profile), **asked))
    drawn = submit_missing(
        planned.jobs, planned.plan.suite, planned.settings, profile, device=device, loader_workers=loader_workers
    )
    if wait and drawn.submission.arrays:
        wait_for(drawn.submission)
    return drawn


def report(
    rows: pd.DataFrame | None = None,
    *,
    results: PathLike | None = None,
    out: PathLike | None = None,
    mix: bool = False,
    reference: Sequence[str] | None = None,
    max_latency_ms: float | None = None,
    max_memory_mb: float | None = None,
) -> Report:
    """Rank rows, and write the report: a web page, tables as Markdown and CSV, plots.

    Args:
        rows: What to rank: what ``run`` or ``load_results`` returned, or some of it; None for all of the store.
        results: The result store; None for the one the rows come from, or else "results".
        out: The folder to write to; None for ``report/`` in the store.
        mix: Whether rows made under different circumstances may stand in one table.
        reference: Backbones whose mean and standard deviation make the z-scores; None for no z-scores.
        max_latency_ms: Recommend within this median latency at batch 1.
        max_memory_mb: Recommend within this peak memory of inference at batch 1.

    Raises:
        BobError: Rows of one table differ in what they must share, and ``mix`` is not set.
        StoreError: The results cannot be read, or ``out`` not written.
    """
    from bob.reporting.build import build_report, expected_of

    attrs = {} if rows is None else rows.attrs
    folder = settings_from({"results": results or attrs.get("results")}).results_dir
    name = attrs.get("suite")
    return build_report(
        folder,
        suite=name,
        reference=reference,
        expected=None if rows is None else expected_of(rows),
        out_dir=Path(out).expanduser() if out else folder / "report" / (name or "all"),
        mix=mix,
        max_latency_ms=max_latency_ms,
        max_memory_mb=max_memory_mb,
    )


def status(results: PathLike | None = None) -> pd.DataFrame:
    """Return how the jobs of a store are: a row per job with its id and state.

    A state is the status of a row ("ok", "failed", ...), or "running", "queued", "lost" or "cancelled".
    """
    from bob.runners.live_jobs import look

    states = look(settings_from({"results": results}).results_dir).states
    return _frame([{"job_id": job_id, "state": state} for job_id, state in states.items()])


def features(
    backbone: str,
    data: PathLike,
    *,
    image_size: int | None = None,
    precision: str = "fp32",
    device: str = "auto",
    display: str = "auto",
    plugins: PathLike | Sequence[PathLike] = (),
    max_pictures: int | None = None,
    **folders: Unpack[Folders],
) -> Features:
    """Return the pooled features of the pictures of a folder or data set, with labels and ids.

    They are kept in the cache by content, shared with every job that needs the same, and computed once.

    Args:
        backbone: ``arch.tag``, or ``arch.random``.
        data: A folder of class folders, or a data set.
        image_size: Side of the input in pixels, rounded to the patch size; None for the backbone's own.
        precision: "fp32", "bf16", "fp16" or "auto".
        device: "auto", "cpu" or "cuda".
        display: "none" shows no progress.
        plugins: Python files with entries of your own.
        max_pictures: At most so many of each split, balanced over classes; None for all.
        folders: See ``Folders``.

    Raises:
        WeightsMissingError: No source has the checkpoint.
        DataError: The data set has no labels, or cannot be read.
    """
    from bob.runners.local.display import one_bar
    from bob.tasks.direct_use import features_of, input_of

    for plugin in texts(plugins):
        load_plugin(plugin)
    settings: dict[str, Any] = {"image_size": image_size or input_of(backbone, None).image_size, "precision": precision}
    if max_pictures is not None:
        settings |= dict.fromkeys(("max_train", "max_val", "max_test"), max_pictures)
    request = Request(
        backbones=(backbone,),
        protocols=("knn",),  # any that uses features
        data=(os.fspath(data),),
        settings={**settings, "profile": False},
        plugins=texts(plugins),
    )
    planned = prepare(planned_of(request, settings_from(folders), device=device))
    (job,) = planned.jobs
    if job.missing:
        raise BobError(job.missing)
    with one_bar(display) as progress:
        return features_of(job, in_this_process(planned, progress))


def load_backbone(
    name: str,
    *,
    pyramid: bool = False,
    image_size: int | None = None,
    seed: int = 0,
    download: bool = True,
    cache: PathLike | None = None,
    weights: Sequence[PathLike] = (),
    **options: Any,
) -> nn.Module:
    """Return a backbone with its weights, on the CPU, in evaluation mode. It is never half-loaded and never random.

    Args:
        name: ``arch.tag``; ``arch.random`` is the architecture without training.
        pyramid: Whether to give maps at strides 4, 8, 16 and 32, (N, C, H / stride, W / stride) each, in place of one
            pooled vector (N, width) per picture.
        image_size: Side of the input in pixels, rounded to what the backbone takes; None for its pretraining's.
        seed: Of what is initialised at random: a control's weights, a neck.
        download: Whether to ask the hub for a checkpoint that is missing.
        cache: Where manifests are kept.
        weights: Folders with checkpoints, looked at first.
        options: For a pooled vector ``num_classes``, of a new linear head; for a pyramid ``levels``, ``frozen`` and
            ``output_stride``.

    Raises:
        UnknownNameError: Nobody has this name.
        WeightsMissingError: No source has the checkpoint.
        WeightsError: It is damaged or does not fit.
    """
    from bob.tasks.direct_use import built_model

    folders = settings_from({"cache": cache, "weights": weights})
    return built_model(name, folders, pyramid=pyramid, image_size=image_size, seed=seed, download=download, **options)


def load_transform(
    name: str, *, pyramid: bool = False, image_size: int | None = None
) -> Callable[[Image.Image], Tensor]:
    """Return how a picture is brought to a backbone at evaluation: an RGB picture to float32 (3, S, S), normalised.

    Args:
        name: The backbone's.
        pyramid: As for ``load_backbone``.
        image_size: As for ``load_backbone``.
    """
    from bob.data.transforms import eval_transform
    from bob.tasks.direct_use import input_of

    return eval_transform(input_of(name, image_size, multiple=32 if pyramid else 1))


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows)
