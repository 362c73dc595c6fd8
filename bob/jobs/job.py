"""The frozen identity of one run, and its id."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields
from typing import Any

from bob.backbones.backbone import RANDOM_TAG, InputConfig
from bob.core.files import digest
from bob.data.dataset import DatasetSpec

IDENTITY_VERSION = 1
MISSING = "missing"
Scalar = str | int | float | bool | None
Params = tuple[tuple[str, Any], ...]


def identity(**kwargs: Any) -> Any:
    """Declare a field whose value changes the number: it enters the job's id."""
    return field(metadata={"identity": True}, **kwargs)


def circumstance(**kwargs: Any) -> Any:
    """Declare a field that says where or how a job runs, never what comes out: it stays outside the id."""
    return field(metadata={"identity": False}, **kwargs)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a job may spend, the same for every backbone, in pictures and trials, never in seconds.

    Attributes:
        max_train: Training pictures used at most (a fixed, class-balanced subset); None for all.
        max_val: The same for validation pictures.
        max_test: The same for test pictures.
        images_seen: Training pictures seen per fine-tuning trial, repeats counted.
        trials: Hyperparameter settings tried, each with the whole ``images_seen``.
    """

    max_train: int | None = None
    max_val: int | None = None
    max_test: int | None = None
    images_seen: int | None = None
    trials: int | None = None

    def label(self) -> str:
        """Return the short text that rows and tables carry, such as ``train=400 seen=1600 trials=3``."""
        names = {"max_train": "train", "max_val": "val", "max_test": "test", "images_seen": "seen", "trials": "trials"}
        parts = [f"{short}={getattr(self, name)}" for name, short in names.items() if getattr(self, name) is not None]
        return " ".join(parts) or "all"


@dataclass(frozen=True, kw_only=True)
class OtherData:
    """A data set that a job is scored on beside its own: shifted, or out of distribution.

    Attributes:
        role: What it is to the job: "shifts", "near" or "far".
        name: As rows and tables call it.
        text: As the suite names it, whether it is here or not.
        fingerprint: Of its content; made of ``MISSING`` and its text if it is not on this machine.
        spec: The data set; None if it is not on this machine.
    """

    role: str
    name: str
    text: str
    fingerprint: str
    spec: DatasetSpec | None = None


@dataclass(frozen=True, kw_only=True)
class Need:
    """An artifact a job needs before it starts.

    Attributes:
        kind: The name of one of ``bob.jobs.needs.KINDS``.
        content: What makes it, as sorted pairs of JSON values: its address is their digest.
        exclusive: Whether nothing else may run on the device while it is made (a profile).
    """

    kind: str
    content: Params
    exclusive: bool = False

    @functools.cached_property
    def key(self) -> str:
        """The artifact's address."""
        return f"{self.kind}-{digest([self.kind, self.content])}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One cell of the cross product: backbone x task x dataset x protocol x seed x budget."""

    backbone: str = identity()
    weights_sha256: str = identity()  # of the source checkpoint; "random" or "missing" where there is none
    code: str = identity(default="timm")  # who defines the module: "timm", or the digest of a user's source file
    input: InputConfig = identity()  # resolved: the size this job uses, the model's own normalisation
    task: str = identity()
    task_version: int = identity()
    dataset_fingerprint: str = identity()
    protocol: str = identity()
    params: Params = identity()  # the protocol's parameters, sorted by name, defaults included
    precision: str = identity()  # as requested: "auto", "fp32", "bf16" or "fp16"
    seed: int = identity()
    budget: Budget = identity()
    identity_version: int = identity(default=IDENTITY_VERSION)
    others: tuple[OtherData, ...] = identity(default=())  # by role and content; a job without any has the id it had
    plugin_code: str = identity(default="")  # of the plug-ins whose entries it uses; without any it has the id it had

    dataset: str = circumstance()
    dataset_text: str = circumstance(default="")  # the data set as the suite names it, whether it is here or not
    settled: tuple[str, ...] = circumstance(default=())  # parts of the budget that follow from the data
    suite: str = circumstance(default="")
    dataset_spec: DatasetSpec | None = circumstance(default=None)  # None: the data set is not on this machine
    weights_path: str | None = circumstance(default=None)
    weights_source: str | None = circumstance(default=None)
    missing: str | None = circumstance(default=None)  # why the job cannot run: it is skipped with this reason
    plugins: tuple[str, ...] = circumstance(default=())  # Python files that the user named, imported in the worker
    resolution: str = circumstance(default="fixed")
    uses: tuple[str, ...] = circumstance(default=())  # what of ``bob.jobs.needs`` its protocol needs
    classifier: Params = circumstance(default=())  # those of ``params`` that its classifier follows from
    hardware: str = circumstance(default="")  # the hardware class its profile is measured on
    timeout_min: float = circumstance(default=720.0)
    estimate_s: float | None = circumstance(default=None)

    @functools.cached_property
    def id(self) -> str:
        """The hash of the identity fields, 16 hexadecimal digits."""
        return digest(self._identity())

    @functools.cached_property
    def cell(self) -> str:
        """The hash of the identity without the fingerprints: jobs that fill the same cell of a table share it.

        A checkpoint that was missing yesterday gives today's job another id but the same cell, which is how the
        store knows that yesterday's ``skipped`` is settled. The same holds for a data set that was missing.
        """
        content = self._identity()
        del content["weights_sha256"], content["dataset_fingerprint"]
        content["budget"] = {name: None if name in self.settled else value for name, value in content["budget"].items()}
        if self.others:
            content["others"] = sorted([other.role, other.text] for other in self.others)
        return digest([content, self.dataset_text or self.dataset])

    @property
    def is_control(self) -> bool:
        """Whether the backbone is a random-init control."""
        return self.backbone.partition(".")[2] == RANDOM_TAG

    def _identity(self) -> dict[str, Any]:
        content = {name: as_values(getattr(self, name)) for name in IDENTITY_FIELDS}
        # In no order that a suite could change.
        content["others"] = sorted([other.role, other.fingerprint] for other in self.others)
        if not self.others:
            del content["others"]
        if not self.plugin_code:
            del content["plugin_code"]
        return content


def as_values(value: Any) -> Any:
    """Return dataclasses as dicts (one level is enough here, and ``dataclasses.asdict`` is 20 times slower)."""
    if isinstance(value, InputConfig | Budget):
        return vars(value)
    return value


IDENTITY_FIELDS = tuple(f.name for f in fields(Job) if f.metadata["identity"])
