"""From a suite to its jobs: names looked up, weights and data located, nothing loaded. Neither torch nor pandas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bob.backbones import catalogue, weights
from bob.backbones.plugins import user_backbone
from bob.backbones.spec import Backbone, InputConfig
from bob.data.resolve import resolve_dataset
from bob.data.spec import DatasetSpec
from bob.errors import BobError, DataError, DataMissingError, SuiteError, WeightsMissingError, unknown_name
from bob.estimate import UNKNOWN_MACHINE, Machine, estimate_s
from bob.files import sha256_file
from bob.job import MISSING, Budget, Job, Params
from bob.params import resolve_params
from bob.registry import load_reference
from bob.settings import Settings
from bob.suite import BackboneFilter, ProtocolEntry, Suite, TaskEntry
from bob.tasks.spec import TASKS, Protocol, Task
from bob.yaml_source import YamlSource


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


@dataclass(frozen=True, kw_only=True)
class _Dataset:
    text: str
    spec: DatasetSpec | None = None
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
    suite = suite.model_copy(update={"plugins": [str(_beside(source, plugin)) for plugin in suite.plugins]})
    for index, plugin in enumerate(suite.plugins):
        with _located(source, "plugins", index):
            catalogue.load_plugin(Path(plugin))
    groups = _backbones(suite, source)
    backbones = tuple(dict.fromkeys(backbone for group in groups for backbone in group))
    located = {backbone: _locate(backbone, settings) for backbone in backbones}
    texts = {text for task in suite.tasks for text in data or task.datasets or suite.datasets}
    datasets = _distinct({text: _dataset(text, source, settings, suite.bad_pictures) for text in sorted(texts)})
    left_out: dict[str, str] = {}
    jobs: list[Job] = []
    for number, entry in enumerate(suite.tasks):
        with _located(source, "tasks", number, "task"):
            task = TASKS.get(entry.task)
        usable = _usable(task, [datasets[text] for text in data or entry.datasets or suite.datasets])
        if not usable.fit and data:
            left_out[task.name] = usable.reason
        elif usable.unfit and not data:
            with _located(source, "tasks", number):
                raise DataError(
                    usable.reason, hint="'bob list datasets' shows what there is; docs/data.md the layouts."
                )
        # Recipes for several data sets of their own are one too many for data given in their place.
        if data and entry.datasets and task.name in {job.task for job in jobs}:
            continue
        for dataset in usable.fit:
            own = [(backbone, located[backbone]) for backbone in groups[number]]
            jobs += _task_jobs(suite, source, number, entry, task, dataset, own, machine)
    if left_out and not jobs:
        raise DataError(" ".join(left_out.values()), hint="docs/data.md shows the layouts that each task reads.")
    missing = {text: found.missing for text, found in datasets.items() if found.missing}
    return Plan(suite=suite, jobs=_unique(jobs), backbones=backbones, missing_data=missing, left_out=left_out)


class _Usable(NamedTuple):
    fit: list[_Dataset]
    unfit: list[_Dataset]
    reason: str


def _usable(task: Task, datasets: Sequence[_Dataset]) -> _Usable:
    """Part data sets into those that know what a task needs (or are not here yet) and the others."""
    fit = [found for found in datasets if found.spec is None or task.annotation in found.spec.annotations]
    unfit = [found for found in datasets if found not in fit]
    has = "; ".join(f"{found.text!r} has {', '.join(found.spec.annotations)}" for found in unfit if found.spec)
    reason = f"task {task.name!r} needs data with annotation {task.annotation!r}: {has}."
    return _Usable(fit, unfit, reason)


def _task_jobs(
    suite: Suite,
    source: YamlSource,
    number: int,
    entry: TaskEntry,
    task: Task,
    dataset: _Dataset,
    located: Sequence[tuple[Backbone, _Weights]],
    machine: Machine,
) -> Iterator[Job]:
    size = entry.image_size or suite.image_size
    for index, item in enumerate(entry.protocols):
        with _located(source, "tasks", number, "protocols", index):
            chosen = ProtocolEntry(protocol=item) if isinstance(item, str) else item
            template = _template(suite, task, chosen, dataset, machine)
        for backbone, found in located:
            yield from _backbone_jobs(template, backbone, found, size, chosen.seeds or suite.seeds, machine)


def _template(suite: Suite, task: Task, chosen: ProtocolEntry, dataset: _Dataset, machine: Machine) -> Job:
    """Return a job with everything that does not depend on the backbone or the seed."""
    if chosen.protocol not in task.protocols:
        known = ", ".join(task.protocols)
        raise unknown_name("protocol", chosen.protocol, task.protocols, hint=f"task {task.name!r} has: {known}.")
    protocol = task.protocols[chosen.protocol]
    spec = dataset.spec
    budget, settled = _budget(suite, chosen, protocol, spec, task.annotation)
    return Job(
        backbone="",
        weights_sha256=MISSING,
        input=_NO_INPUT,
        task=task.name,
        task_version=task.version,
        dataset=spec.name if spec else dataset.text,
        dataset_spec=spec,
        dataset_fingerprint=spec.fingerprint if spec else MISSING,
        protocol=protocol.name,
        params=_params(protocol, chosen),
        precision=suite.precision,
        seed=0,
        dataset_text=dataset.text,
        budget=budget,
        settled=settled,
        suite=suite.name,
        missing=dataset.missing,
        plugins=tuple(suite.plugins),
        resolution=suite.resolution,
        uses=tuple(kind for kind in protocol.uses if kind != "profile" or suite.profile),
        hardware=machine.hardware,
        timeout_min=suite.timeout_min,
    )


def _params(protocol: Protocol, chosen: ProtocolEntry) -> Params:
    params = resolve_params(protocol, chosen.params)
    if protocol.check:
        load_reference(protocol.check)(dict(params))
    return params


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
            with _located(source, key, index):
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
        with _located(source, *path, index):
            matches = catalogue.match(item.where) if isinstance(item, BackboneFilter) else (catalogue.find(item),)
            found.update((backbone.name, backbone) for backbone in matches if backbone.name not in exclude)
    if not found:
        raise SuiteError(f"{source.name}:{source.line(path)}: the filters match no backbone of the catalogue.")
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


def _dataset(text: str, source: YamlSource, settings: Settings, policy: str) -> _Dataset:
    try:
        with _located(source, "datasets"):
            spec = resolve_dataset(text, cache_dir=settings.cache_dir, data_dir=settings.data_dir, policy=policy)
            return _Dataset(text=text, spec=spec)
    except DataMissingError as error:
        return _Dataset(text=text, missing=error.message)


def _distinct(datasets: dict[str, _Dataset]) -> dict[str, _Dataset]:
    """Tell apart data sets of one name (`a/pets`, `b/pets`): a table must never take one for the other."""
    names = Counter(found.spec.name for found in datasets.values() if found.spec)
    for text, found in datasets.items():
        if found.spec and names[found.spec.name] > 1:
            named = replace(found.spec, name=f"{found.spec.name}-{found.spec.fingerprint[:6]}")
            datasets[text] = replace(found, spec=named)
    return datasets


def _beside(source: YamlSource, plugin: str) -> Path:
    """Return a plug-in's path: relative to the suite file's folder, as a reader of the file would take it."""
    path = Path(plugin).expanduser()
    return path if path.is_absolute() else (Path(source.name).parent / path).absolute()


def _unique(jobs: Sequence[Job]) -> tuple[Job, ...]:
    return tuple({job.id: job for job in jobs}.values())


class _located:
    """Put ``file:line`` before the message of an error about a name that stands there."""

    def __init__(self, source: YamlSource, *path: str | int) -> None:
        self._source, self._path = source, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, BobError) or isinstance(error, SuiteError | DataMissingError):
            return
        line = self._source.line(self._path)
        raise SuiteError(f"{self._source.name}:{line}: {error.message}", hint=error.hint) from error


_NO_INPUT = InputConfig(image_size=0, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", crop_pct=1.0)
