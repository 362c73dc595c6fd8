"""The data sets of a plan: found on this machine or not, fit for a task or not, and which go beside which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bob.core.errors import ConfigError, DataError, DataMissingError
from bob.core.settings import Settings
from bob.core.yaml_source import YamlSource
from bob.data.copies_beside import apart_from
from bob.data.dataset import DatasetSpec
from bob.data.picture_bits import require_alike
from bob.data.resolve import resolve_dataset
from bob.jobs.job import MISSING, Job, OtherData
from bob.jobs.suite import Suite, TaskEntry
from bob.jobs.suite_source import located_at
from bob.tasks.spec import TASKS, Task

UNLABELLED = ("near", "far")  # roles whose pictures' labels nobody looks at
TELLS_APART = ("label", "label_sets", "semantic")  # annotations that are no test with one class; one kind of box is


ONE_CLASS_HINT = "Leave it out of --data, or name the folder that holds the folders of its classes."


@dataclass(frozen=True, kw_only=True)
class FoundData:
    """A data set as a suite names it: its description, or why it is not on this machine."""

    text: str
    spec: DatasetSpec | None = None
    missing: str | None = None


class OtherFound(NamedTuple):
    """A data set beside a job's own, and what it is to the job."""

    role: str
    found: FoundData

    def data(self) -> OtherData:
        """Return it as the job states it."""
        spec, text = self.found.spec, self.found.text
        name, fingerprint = (spec.name, spec.fingerprint) if spec else (text, absent_fingerprint(text))
        return OtherData(role=self.role, name=name, text=text, fingerprint=fingerprint, spec=spec)


class Usable(NamedTuple):
    """Data sets that a task can use, those that it cannot, and why not."""

    fit: list[FoundData]
    unfit: list[FoundData]
    reason: str


def usable_data(task: Task, datasets: Sequence[FoundData]) -> Usable:
    """Part data sets into those that a task can be scored on (or that are not here yet) and the others."""
    reasons = {found.text: why_unfit(task, found.spec) for found in datasets if found.spec is not None}
    unfit = [found for found in datasets if reasons.get(found.text)]
    fit = [found for found in datasets if found not in unfit]
    has = "; ".join(f"{found.text!r} {reasons[found.text]}" for found in unfit)
    needs = " or ".join(map(repr, task.annotations))
    reason = f"task {task.name!r} needs data with annotation {needs}: {has}."
    return Usable(fit, unfit, reason)


def why_unfit(task: Task, spec: DatasetSpec) -> str | None:
    """Return why a data set is no test of a task; None if it is one. Data beside a job's own are not asked."""
    annotation = task.annotation_of(spec)
    if not annotation:
        return f"has {', '.join(spec.annotations)}, not {' or '.join(task.annotations)}"
    if annotation in TELLS_APART and spec.occurring < 2:
        named = f" ({spec.classes[0]!r})" if len(spec.classes) == 1 else ""
        return f"has {spec.occurring} class{named}, and one class is no test: any backbone is right"
    return None


def others_of(task: Task, entry: TaskEntry, datasets: Mapping[str, FoundData]) -> tuple[OtherFound, ...]:
    """Return the data sets that a task's jobs are scored on beside their own.

    Raises:
        ConfigError: The task has no use for one that is given, or needs one and none is.
    """
    named = entry.others()
    for role in named:
        if role not in task.roles:
            takes = ", ".join(task.roles) or "none"
            raise ConfigError(f"task {task.name!r} has no use for {role!r}: it takes {takes}.", hint=_takers(role))
    if task.needs_others and not named:
        raise ConfigError(
            f"task {task.name!r} needs data sets beside its own: none is given.",
            hint=f"Name some under {' or '.join(task.roles)}.",
        )
    return tuple(OtherFound(role, datasets[text]) for role, texts in named.items() for text in texts)


def absent_fingerprint(text: str) -> str:
    """Return what stands for the fingerprint of a data set that is not here: two such sets make two jobs."""
    return f"{MISSING}:{text}"


def _takers(role: str) -> str:
    takers = [name for name in TASKS.names() if role in TASKS.get(name).roles]
    return f"{role!r} goes with {' or '.join(takers)}: give it to one of these tasks (--task NAME)."


def check_other_data(dataset: FoundData, others: Sequence[OtherFound]) -> None:
    """Check that sets that are to be shifted or out of distribution are not a job's own, and that each is named once.

    Raises:
        ConfigError: One is the job's own, or two are the same: the score would not say what it claims to.
    """
    seen = {dataset.spec.as_stored().fingerprint: f"the task's own {dataset.text!r}"} if dataset.spec else {}
    for role, found in others:
        if found.spec is None:
            continue
        if dataset.spec is not None:
            require_alike(dataset.spec, found.spec)
        content = found.spec.as_stored().fingerprint
        if content in seen:
            raise ConfigError(
                f"data set {found.text!r} under {role!r} has the content of {seen[content]}: expected other pictures.",
                hint=f"Take it out of {role!r}.",
            )
        seen[content] = f"{role} {found.text!r}"


def parted(dataset: FoundData, others: Sequence[OtherFound], suite: Suite, cache_dir: Path) -> tuple[OtherFound, ...]:
    """Return the data sets beside a job's own without the pictures that are of that.

    Raises:
        DataError: As ``bob.data.copies_beside.apart_from``.
    """
    return tuple(_apart(dataset.spec, other, suite.copies, cache_dir) for other in others)


def _apart(source: DatasetSpec | None, other: OtherFound, policy: str, cache_dir: Path) -> OtherFound:
    spec = other.found.spec
    if source is None or spec is None:
        return other
    spec = apart_from(source, spec, shifted=other.role == "shifts", policy=policy, cache_dir=cache_dir)
    return other._replace(found=replace(other.found, spec=spec))


def copies_said(jobs: Iterable[Job]) -> dict[str, str]:
    """Return what was found about copies in the data sets of jobs, once for each, by name."""
    named: dict[str, DatasetSpec | None] = {}
    for job in jobs:
        named[job.dataset] = job.dataset_spec
        named |= {f"{other.name} beside {job.dataset}": other.spec for other in job.others}
    return {name: spec.copies.said for name, spec in named.items() if spec and spec.copies and spec.copies.said}


def require_used(named: Sequence[str], used: Set[str], datasets: Mapping[str, FoundData]) -> None:
    """Refuse a data set of several that were named for this run, of which no task makes a job, as it has one class.

    Raises:
        DataError: There is one.
    """
    for text in named if used else ():
        spec = datasets[text].spec
        if text not in used and spec is not None and spec.occurring < 2:
            raise DataError(
                f"data set {text!r} has {spec.occurring} class, and one class is no test.", hint=ONE_CLASS_HINT
            )


def find_data(text: str, source: YamlSource, settings: Settings, suite: Suite, *, labelled: bool = True) -> FoundData:
    """Find a data set; an error about it names the suite's line. Without labels its pictures alone are asked for."""
    try:
        with located_at(source, "datasets"):
            spec = resolve_dataset(
                text,
                cache_dir=settings.cache_dir,
                data_dir=settings.data_dir,
                policy=suite.bad_pictures,
                labelled=labelled,
                copies=suite.copies,
                follow_links=suite.follow_links,
                picture_bits=suite.picture_bits,
            )
            return FoundData(text=text, spec=spec)
    except DataMissingError as error:
        return FoundData(text=text, missing=error.message)


def with_distinct_names(datasets: dict[str, FoundData]) -> dict[str, FoundData]:
    """Tell apart data sets of one name (`a/pets`, `b/pets`): a table must never take one for the other."""
    names = Counter(found.spec.name for found in datasets.values() if found.spec)
    for text, found in datasets.items():
        if found.spec and names[found.spec.name] > 1:
            named = replace(found.spec, name=f"{found.spec.name}-{found.spec.fingerprint[:6]}")
            datasets[text] = replace(found, spec=named)
    return datasets
