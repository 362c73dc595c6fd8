"""From a suite to its jobs: names looked up, weights and data located, nothing loaded. Neither torch nor pandas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from bob.backbones import catalogue, weights
from bob.backbones.backbone import Backbone, InputConfig
from bob.backbones.user_backbones import user_backbone
from bob.core.errors import (
    DataError,
    SuiteError,
    WeightsMissingError,
)
from bob.core.files import sha256_file
from bob.core.registry import resolved
from bob.core.settings import Settings, use_cache_dir
from bob.core.yaml_source import YamlSource
from bob.data.dataset import DatasetSpec
from bob.jobs.code_version import plugin_code
from bob.jobs.estimate import UNKNOWN_MACHINE, Machine, estimate_s
from bob.jobs.job import MISSING, Budget, Job
from bob.jobs.needs import classifier_need
from bob.jobs.plan_data import (
    UNLABELLED,
    FoundData,
    OtherFound,
    absent_fingerprint,
    check_other_data,
    find_data,
    others_of,
    parted,
    require_used,
    usable_data,
    with_distinct_names,
)
from bob.jobs.suite import BackboneFilter, ProtocolEntry, Suite, TaskEntry
from bob.jobs.suite_source import located_at, with_plugins
from bob.tasks.spec import TASKS, Protocol, Task


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a suite asks for on this machine.

    Attributes:
        suite: The suite at its scale.
        jobs: Every job, runnable or not; one that is not says why in ``missing``.
        backbones: The backbones in the suite's order.
        missing_data: Reason by data set text, for those that are not on this machine.
        left_out: Reason by task, for those that none of the data sets given in place of the suite's can serve.
    """

    suite: Suite
    jobs: tuple[Job, ...]
    backbones: tuple[Backbone, ...]
    missing_data: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def missing_backbones(self) -> dict[str, str]:
        """Reason by backbone whose checkpoint no source on this machine has."""
        return {job.backbone: job.missing for job in self.jobs if job.weights_sha256 == MISSING and job.missing}


@dataclass(frozen=True, kw_only=True)
class _Weights:
    sha256: str
    code: str = "timm"
    path: str | None = None
    source: str | None = None
    missing: str | None = None


def expand(
    suite: Suite,
    source: YamlSource,
    settings: Settings,
    *,
    data: Sequence[str] = (),
    machine: Machine = UNKNOWN_MACHINE,
) -> Plan:
    """Expand a suite (already at its scale) into jobs.

    Args:
        suite: What to expand.
        source: Where it came from, for the file and line in errors.
        settings: Where weights and data lie.
        data: Data sets to use in place of the suite's.
        machine: What the jobs will run on, for the estimate and for the profiles' addresses.

    Raises:
        SuiteError: A backbone, task, protocol, parameter or data set that does not exist; file, line, did-you-mean.
    """
    use_cache_dir(settings.cache_dir)
    suite = with_plugins(suite, source)
    groups = _backbones(suite, source)
    backbones = tuple(dict.fromkeys(backbone for group in groups for backbone in group))
    located = {backbone: _locate(backbone, settings) for backbone in backbones}
    datasets = with_distinct_names(_found(suite, source, settings, data))
    left_out: dict[str, str] = {}
    jobs: list[Job] = []
    for number, entry in enumerate(suite.tasks):
        with located_at(source, "tasks", number, "task"):
            task = TASKS.get(entry.task)
        usable = usable_data(task, [datasets[text] for text in data or entry.datasets or suite.datasets])
        if not usable.fit and data:
            left_out[task.name] = usable.reason
        elif usable.unfit and not data:
            with located_at(source, "tasks", number):
                raise DataError(
                    usable.reason, hint="'bob list datasets' shows what there is; docs/data.md the layouts."
                )
        # Recipes for several data sets of their own are one too many for data given in their place.
        if data and entry.datasets and task.name in {job.task for job in jobs}:
            continue
        with located_at(source, "tasks", number):
            others = others_of(task, entry, datasets)
        for dataset in usable.fit:
            refused = left_out if data else None
            if not _goes_with(dataset, others, task, source, number, refused):
                continue
            with located_at(source, "tasks", number):
                beside = parted(dataset, others, suite, settings.cache_dir)
            own = [(backbone, located[backbone]) for backbone in groups[number]]
            jobs += _task_jobs(suite, source, number, entry, task, dataset, beside, own, machine, refused)
    require_used(data, {job.dataset_text for job in jobs}, datasets)
    if left_out and not jobs:
        raise DataError(" ".join(left_out.values()), hint="docs/data.md shows the layouts that each task reads.")
    missing = {text: found.missing for text, found in datasets.items() if found.missing}
    shared = _share_classifiers(_unique(jobs))
    return Plan(suite=suite, jobs=shared, backbones=backbones, missing_data=missing, left_out=left_out)


def _found(suite: Suite, source: YamlSource, settings: Settings, data: Sequence[str]) -> dict[str, FoundData]:
    """Find all data sets that are named; of what is only near or far the pictures alone are asked for."""
    labelled = {text for task in suite.tasks for text in data or task.datasets or suite.datasets}
    texts = set(labelled)
    for task in suite.tasks:
        for role, named in task.others().items():
            texts.update(named)
            labelled.update(named if role not in UNLABELLED else ())
    return {text: find_data(text, source, settings, suite, labelled=text in labelled) for text in sorted(texts)}


def _goes_with(
    dataset: FoundData,
    others: Sequence[OtherFound],
    task: Task,
    source: YamlSource,
    number: int,
    left_out: dict[str, str] | None,
) -> bool:
    """Tell whether a data set differs from those beside it; if not, say so in ``left_out``, or raise without one."""
    try:
        with located_at(source, "tasks", number):
            check_other_data(dataset, others)
    except SuiteError as error:
        if left_out is None:
            raise
        left_out[task.name] = error.message
        return False
    return True


def _task_jobs(
    suite: Suite,
    source: YamlSource,
    number: int,
    entry: TaskEntry,
    task: Task,
    dataset: FoundData,
    others: tuple[OtherFound, ...],
    located: Sequence[tuple[Backbone, _Weights]],
    machine: Machine,
    left_out: dict[str, str] | None,
) -> Iterator[Job]:
    """Yield the jobs of one task on one data set.

    Where ``left_out`` is given, data that do not go together leave the task out, with the reason; else they are an
    error.
    """
    size = entry.image_size or suite.image_size
    for index, item in enumerate(entry.protocols):
        with located_at(source, "tasks", number, "protocols", index):
            chosen = ProtocolEntry(protocol=item) if isinstance(item, str) else item
            template = _template(suite, task, chosen, dataset, others, machine)
            unfit = _unfit(task, template)
            if unfit is not None and left_out is None:
                raise unfit
        if unfit is not None and left_out is not None:
            left_out[task.name] = unfit.message
            continue
        for backbone, found in located:
            yield from _backbone_jobs(template, backbone, found, size, chosen.seeds or suite.seeds, machine)


def _template(
    suite: Suite,
    task: Task,
    chosen: ProtocolEntry,
    dataset: FoundData,
    others: tuple[OtherFound, ...],
    machine: Machine,
) -> Job:
    """Return a job with everything that does not depend on the backbone or the seed."""
    protocol = task.protocol(chosen.protocol)
    spec = dataset.spec
    budget, settled = _budget(suite, chosen, protocol, spec, task.annotation)
    params = protocol.resolve(chosen.params)
    absent = [other.found.missing for other in others if other.found.missing]
    template = Job(
        backbone="",
        weights_sha256=MISSING,
        input=_NO_INPUT,
        task=task.name,
        task_version=task.version,
        dataset=spec.name if spec else dataset.text,
        dataset_spec=spec,
        dataset_fingerprint=spec.fingerprint if spec else absent_fingerprint(dataset.text),
        protocol=protocol.name,
        params=params,
        others=tuple(other.data() for other in others),
        classifier=tuple((name, value) for name, value in params if name in protocol.classifier),
        precision=suite.precision,
        seed=0,
        dataset_text=dataset.text,
        budget=budget,
        settled=settled,
        suite=suite.name,
        missing=dataset.missing or next(iter(absent), None),
        plugins=tuple(suite.plugins),
        resolution=suite.resolution,
        uses=tuple(kind for kind in protocol.uses if kind != "profile" or suite.profile),
        hardware=machine.hardware,
        timeout_min=suite.timeout_min,
    )
    lack = protocol.lacks(template) if protocol.lacks and template.missing is None else None
    return replace(template, plugin_code=plugin_code(template), missing=template.missing or lack)


def _unfit(task: Task, template: Job) -> DataError | None:
    """Return why a job's data sets do not go together; None if they do."""
    try:
        if task.check:
            resolved(task.check)(template)
    except DataError as error:
        return error
    return None


def _backbone_jobs(
    template: Job, backbone: Backbone, found: _Weights, image_size: int, seeds: Sequence[int], machine: Machine
) -> Iterator[Job]:
    config = _input(backbone, template.resolution, image_size)
    base = replace(
        template,
        backbone=backbone.name,
        weights_sha256=found.sha256,
        code=found.code,
        weights_path=found.path,
        weights_source=found.source,
        missing=found.missing or template.missing,
        input=config,
        estimate_s=estimate_s(template, backbone, config.image_size, machine),
    )
    for seed in seeds:
        yield replace(base, seed=seed)


@lru_cache(maxsize=4096)
def _input(backbone: Backbone, resolution: str, image_size: int) -> InputConfig:
    return catalogue.resolve_input(backbone, resolution=resolution, image_size=image_size)


def _budget(
    suite: Suite, chosen: ProtocolEntry, protocol: Protocol, spec: DatasetSpec | None, annotation: str
) -> tuple[Budget, tuple[str, ...]]:
    """Merge the budgets, keep what the protocol spends, and settle its defaults so that the job states them.

    Returns:
        The budget, and the names of its parts that follow from the data.
    """
    merged = {**suite.budget.model_dump(exclude_none=True), **chosen.budget.model_dump(exclude_none=True)}
    settled = () if "images_seen" in merged or "images_seen" not in protocol.budget else ("images_seen",)
    if settled and spec is not None:
        train = spec.counts(annotation).get("train", 0)
        merged["images_seen"] = protocol.epochs * min(train, merged.get("max_train", train))
    merged.setdefault("trials", protocol.trials)
    return Budget(**{name: value for name, value in merged.items() if name in protocol.budget}), settled


def _backbones(suite: Suite, source: YamlSource) -> list[tuple[Backbone, ...]]:
    """Return the backbones of each task: its own where it names some, else the suite's."""
    for key in ("exclude", "reference"):
        for index, name in enumerate(getattr(suite, key)):
            with located_at(source, key, index):
                catalogue.find(name)
    shared = _matched(suite.backbones, suite.exclude, source, ("backbones",))
    return [
        _matched(entry.backbones, suite.exclude, source, ("tasks", number, "backbones")) if entry.backbones else shared
        for number, entry in enumerate(suite.tasks)
    ]


def _matched(
    items: Sequence[str | BackboneFilter], exclude: Sequence[str], source: YamlSource, path: tuple[str | int, ...]
) -> tuple[Backbone, ...]:
    found: dict[str, Backbone] = {}
    for index, item in enumerate(items):
        with located_at(source, *path, index):
            matches = catalogue.match(item.where) if isinstance(item, BackboneFilter) else (catalogue.find(item),)
            found.update((backbone.name, backbone) for backbone in matches if backbone.name not in exclude)
    if not found:
        raise SuiteError(f"{source.at(path)}the filters match no backbone of the catalogue.")
    return tuple(found.values())


def _locate(backbone: Backbone, settings: Settings) -> _Weights:
    code = _code(backbone)
    if backbone.is_control:
        return _Weights(sha256="random", code=code)
    try:
        file = weights.locate(backbone, weights_dirs=settings.weights_dirs, cache_dir=settings.cache_dir)
    except WeightsMissingError as error:
        return _Weights(sha256=MISSING, code=code, missing=str(error.message))
    return _Weights(sha256=file.sha256, code=code, path=str(file.path), source=file.source)


def _code(backbone: Backbone) -> str:
    own = None if backbone.source == "timm" else user_backbone(backbone.name)
    return sha256_file(own.code)[:16] if own else "timm"


def _unique(jobs: Sequence[Job]) -> tuple[Job, ...]:
    return tuple({job.id: job for job in jobs}.values())


def _share_classifiers(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Let each classifier that several tasks want be an artifact, trained once; one that no other wants is not kept."""
    wanted = {classifier_need(job).key for job in jobs if "classifier" in job.uses}
    return tuple(
        replace(job, uses=("classifier", *job.uses))
        if job.classifier and "classifier" not in job.uses and classifier_need(job).key in wanted
        else job
        for job in jobs
    )


_NO_INPUT = InputConfig(image_size=0, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", crop_pct=1.0)
