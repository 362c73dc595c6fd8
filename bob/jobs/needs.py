"""The artifacts that jobs share, by what makes them. No torch: the planner orders jobs by this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bob.data.corruptions.names import chosen_corruptions
from bob.jobs.job import Job, Need, OtherData, as_values
from bob.jobs.provenance import library_versions


@dataclass(frozen=True, kw_only=True)
class ArtifactKind:
    """One kind of artifact.

    Attributes:
        name: The head of its address.
        build: ``module:function`` called with (setup, need, folder), which fills the folder.
        exclusive: Whether nothing else may run on the device while it is made.
        trains: Whether making it trains a network, if the job's protocol does.
        optional: Whether a failure to make it costs no job its score.
        take_turn: ``module:function`` called with (setup, need), which takes a part of what ``build`` needs and tells
            whether that is all. ``build`` then also renews what is there. Empty for an artifact made in one go.
    """

    name: str
    build: str
    exclusive: bool = False
    trains: bool = False
    optional: bool = False
    take_turn: str = ""


FEATURES = ArtifactKind(name="features", build="bob.tasks.features:write_features")
CLASSIFIER = ArtifactKind(name="classifier", build="bob.tasks.classification.classifiers:write_classifier", trains=True)
PROFILE = ArtifactKind(
    name="profile",
    build="bob.tasks.profile_artifacts:write_profile",
    exclusive=True,
    optional=True,
    take_turn="bob.tasks.profile_artifacts:take_round",
)
KINDS = {kind.name: kind for kind in (FEATURES, CLASSIFIER, PROFILE)}

FEATURES_VERSION = 1  # raised when transforms, pooling or extraction change what a feature is
CLASSIFIER_VERSION = 1  # raised when training or probes change what a classifier is
PROFILE_VERSION = 3  # raised when a profile has other figures
CORRUPTIONS_VERSION = 1  # raised when a corruption changes


def needs_of(job: Job) -> tuple[Need, ...]:
    """Return what a job's protocol needs, in the order in which it is made."""
    return tuple(need for use in job.uses for need in _MAKERS[use](job))


def profile_need(job: Job) -> Need:
    """Return the cost of the job's architecture. Weights do not change it: every checkpoint and control shares it."""
    return _need(
        PROFILE,
        arch=job.backbone.partition(".")[0],
        code=job.code,
        hardware=job.hardware,
        image_size=job.input.image_size,
        precision=job.precision,
        version=PROFILE_VERSION,
    )


def features_need(job: Job) -> Need:
    """Return the features of the job's own data set, all splits that it has."""
    caps = (job.budget.max_train, job.budget.max_val, job.budget.max_test)
    return _need(FEATURES, **_extraction(job), dataset=job.dataset_fingerprint, caps=caps)


def multilabel_features_need(job: Job) -> Need:
    """Return those with every class that each picture shows: a cap may choose other pictures for them."""
    return _need(FEATURES, **dict(features_need(job).content), annotation="multilabel")


def other_features_need(job: Job, other: OtherData) -> Need:
    """Return the features of the test pictures of another data set, through the same model."""
    return _need(
        FEATURES,
        **_extraction(job),
        **_statistics(job),
        dataset=other.fingerprint,
        caps=(None, None, job.budget.max_test),
        splits=("test",),
        # The same pictures may be out of distribution to another task, which does not look at their labels.
        labelled=other.role == "shifts",
    )


def corrupted_features_need(job: Job) -> Need:
    """Return the features of the job's own test pictures under each of its corruptions."""
    return _need(
        FEATURES,
        **_extraction(job),
        **_statistics(job),
        dataset=job.dataset_fingerprint,
        caps=(None, None, job.budget.max_test),
        corruptions=(*corruptions_of(job), CORRUPTIONS_VERSION),
    )


def classifier_need(job: Job) -> Need:
    """Return the classifier that the job's protocol trains on its own data set, whatever it is scored on."""
    budget = {**vars(job.budget), "max_test": None}
    return _need(
        CLASSIFIER,
        **{name: value for name, value in _extraction(job).items() if name != "made_by"},
        made_by=(CLASSIFIER_VERSION, FEATURES_VERSION, *library_versions()),
        dataset=job.dataset_fingerprint,
        protocol=job.protocol,
        params=job.classifier,
        seed=job.seed,
        budget=budget,
    )


def corruptions_of(job: Job) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the names and severities that a job scores its test pictures under; no name if it does not."""
    params = dict(job.params)
    if "corruptions" not in params:
        return (), ()
    return chosen_corruptions(params["corruptions"]), tuple(sorted(params["severities"]))


def has_corruptions(job: Job) -> bool:
    """Tell whether a job scores corrupted pictures."""
    return bool(corruptions_of(job)[0])


def _extraction(job: Job) -> dict[str, Any]:
    """Return what the features of any picture follow from."""
    return {
        "backbone": job.backbone,
        "weights_sha256": job.weights_sha256,
        "code": job.code,
        "initialisation_seed": job.seed if job.is_control else None,
        "input": as_values(job.input),
        "precision": job.precision,
        "made_by": (FEATURES_VERSION, *library_versions()),
        # What "auto" comes to depends on the hardware, and so do the features.
        "hardware": job.hardware if job.precision == "auto" else None,
    }


def _statistics(job: Job) -> dict[str, Any]:
    """Return which pictures a random control's batch norms are measured on: train of its own data set."""
    return {"statistics_of": (job.dataset_fingerprint, job.budget.max_train) if job.is_control else None}


def trains(job: Job, need: Need | None = None) -> bool:
    """Tell whether a job trains a network, or making an artifact on its behalf does: several devices can share that."""
    return job.budget.images_seen is not None and (need is None or KINDS[need.kind].trains)


def _need(kind: ArtifactKind, **content: Any) -> Need:
    return Need(kind=kind.name, content=tuple(sorted(content.items())), exclusive=kind.exclusive)


# What a protocol may name under ``uses``, and the artifacts that this means for a job.
_MAKERS: dict[str, Callable[[Job], tuple[Need, ...]]] = {
    "profile": lambda job: (profile_need(job),),
    "features": lambda job: (features_need(job),),
    "multilabel_features": lambda job: (multilabel_features_need(job),),
    "classifier": lambda job: (classifier_need(job),),
    "other_features": lambda job: tuple(other_features_need(job, other) for other in job.others),
    "corrupted_features": lambda job: (corrupted_features_need(job),) if has_corruptions(job) else (),
}
