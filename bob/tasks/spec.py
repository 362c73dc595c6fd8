"""Tasks and their protocols as data: versions, metrics, parameters, artifacts. No torch: planning reads this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bob.core import plugins
from bob.core.errors import BobError, unknown_name
from bob.core.registry import Registry
from bob.data.dataset import DatasetSpec
from bob.jobs.job import Job, Params
from bob.jobs.protocol_params import ProtocolParams, merged


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a backbone is used by a task.

    Attributes:
        name: "linear", "knn", ...
        doc: One line.
        run: A function called with (job, context) that returns a ``TaskResult``, or ``module:function`` of one, which
            only the worker imports.
        params: The class of its parameters.
        budget: The names of the ``Budget`` fields it spends; the others never enter its jobs.
        uses: Kinds of artifact it needs.
        seed_varies: What the seed changes, in words, for docs and rows.
        further_params: Called with the values that are given, by name; returns the classes of the parameters that an
            entry which one of them names brings along, such as a head. None if none does.
        classifier: Of which parameters a classifier follows that other jobs may share; empty for none.
        lacks: Called while planning with each job, as far as it follows from data and parameters; returns what its data
            lack for it, so that it is skipped with that reason, or None. None asks nothing.
        epochs: Passes over train that a trial sees if the budget does not say.
        trials: Settings tried if the budget does not say.
    """

    name: str
    doc: str
    run: str | Callable[..., Any]
    params: type[ProtocolParams]
    budget: tuple[str, ...]
    uses: tuple[str, ...]
    seed_varies: str
    further_params: Callable[[Mapping[str, Any]], tuple[type[ProtocolParams], ...]] | None = None
    classifier: tuple[str, ...] = ()
    lacks: Callable[[Job], str | None] | None = None
    epochs: int = 10
    trials: int = 3

    def model_for(self, given: Mapping[str, Any]) -> type[ProtocolParams]:
        """Return the class of all parameters that there are when these are given."""
        further = self.further_params(given) if self.further_params else ()
        return merged(self.params, *further)

    def resolve(self, given: Mapping[str, Any]) -> Params:
        """Return all parameters as pairs sorted by name: what is given, checked, and the defaults for the rest.

        Raises:
            ConfigError: A name the protocol does not have, or a value outside what it may be.
        """
        return self.model_for(given).checked(self.name, given)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a backbone is scored on.

    Attributes:
        name: "classification", ...
        version: Bumped when its numbers change meaning.
        metric: The primary metric, in [0, 1], higher is better.
        annotation: What it needs to know about each picture, one of ``DatasetSpec.annotations``.
        also: What it can do with instead.
        metrics: Every metric column its rows fill, with the one-line definition of each.
        protocols: Its protocols by name.
        roles: What else it is scored on: the keys of a suite's task entry that name those data sets.
        needs_others: Whether it cannot do without one of them.
        check: A function, or ``module:function``, called while planning with each job, as far as it follows from data
            and parameters; raises ConfigError if there is nothing to score, DataError if its data sets do not go
            together. Empty for none.
        cost: The same, called while planning with (job, backbone, image_size, machine); returns the seconds
            that a job is expected to take. Empty for the estimate by passes over pictures.
    """

    name: str
    version: int
    metric: str
    metrics: dict[str, str]
    protocols: dict[str, Protocol]
    annotation: str = "label"
    also: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    needs_others: bool = False
    check: str | Callable[..., Any] = ""
    cost: str | Callable[..., float] = ""

    def protocol(self, name: str) -> Protocol:
        """Return one of the task's protocols.

        Raises:
            UnknownNameError: It has none of this name; the message offers the closest.
        """
        if name not in self.protocols:
            plugins.load_installed()
        if name not in self.protocols:
            kind = f"protocol of task {self.name!r}"
            raise unknown_name(kind, name, self.protocols, hint=f"It has: {', '.join(self.protocols)}.")
        return self.protocols[name]

    @property
    def annotations(self) -> tuple[str, ...]:
        """What a data set must know about its pictures: one of these, the first that it has is used."""
        return (self.annotation, *self.also)

    def annotation_of(self, spec: DatasetSpec) -> str | None:
        """Return what the task uses of what a data set knows; None if it can use nothing."""
        return next((name for name in self.annotations if name in spec.annotations), None)


TASKS: Registry[Task] = Registry("task", list_command="bob list tasks")
TASKS.add("classification", "bob.tasks.classification.classification_spec:CLASSIFICATION")
TASKS.add("multilabel", "bob.tasks.multilabel.multilabel_spec:MULTILABEL")
TASKS.add("detection", "bob.tasks.dense.detection.detection_spec:DETECTION")
TASKS.add("instance_segmentation", "bob.tasks.dense.detection.detection_spec:INSTANCE_SEGMENTATION")
TASKS.add("semantic_segmentation", "bob.tasks.dense.segmentation.segmentation_spec:SEMANTIC_SEGMENTATION")
TASKS.add("ood_generalization", "bob.tasks.ood.generalization.ood_generalization_spec:OOD_GENERALIZATION")
TASKS.add("dense_generalization", "bob.tasks.dense.generalization.dense_generalization_spec:DENSE_GENERALIZATION")
TASKS.add("ood_detection", "bob.tasks.ood.detection.ood_detection_spec:OOD_DETECTION")
TASKS.add("adversarial_robustness", "bob.tasks.adversarial.adversarial_spec:ADVERSARIAL_ROBUSTNESS")
TASKS.add("retrieval", "bob.tasks.retrieval.retrieval_spec:RETRIEVAL")


def add_protocol(task_name: str, protocol: Protocol) -> None:
    """Give a task another protocol.

    Raises:
        BobError: It has one of this name, from another than an earlier state of the same plug-in.
    """
    task, entry = TASKS.get(task_name), f"{task_name}/{protocol.name}"
    if protocol.name in task.protocols and not plugins.may_replace("protocol", entry):
        raise BobError(f"task {task_name!r} has a protocol {protocol.name!r} already. Give the new one another name.")
    task.protocols[protocol.name] = protocol
    plugins.note("protocol", entry)
