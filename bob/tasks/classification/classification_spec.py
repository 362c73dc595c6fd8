"""Task `classification` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bob.core.text import counted
from bob.jobs.job import Job
from bob.jobs.protocol_params import ProtocolParams
from bob.tasks.spec import Protocol, Task
from bob.tasks.training_params import PictureTrainingParams

Strength = Annotated[float, Field(ge=1e-12)]

FEATURE_BUDGET = ("max_train", "max_val", "max_test")
NAMED_AT_MOST = 5
FEATURE_SEED = "the initialisation of a random control; a pretrained backbone gives the same score at every seed"

METRICS = {
    "top1": "share of test pictures whose most probable class is the label",
    "top5": "share of test pictures whose label is among the five most probable classes (all, if there are fewer)",
    "macro_f1": "unweighted mean over the classes that occur (as label or prediction) of the F1 score",
    "nll": "mean negative natural logarithm of the label's probability (probabilities below 1e-12 count as 1e-12)",
    "ece": "expected calibration error of the top class: 15 equal-width bins of confidence, L1 norm, in [0, 1]",
    "adaptive_ece": "calibration error of the top class over 15 bins of equally many pictures, L1 norm, in [0, 1]",
    "brier": "squared error of the probabilities, summed over the classes, mean over pictures, in [0, 2]",
    "temperature": "what the logits are divided by for the metrics that end in `_scaled`: minimises val's nll",
    "ece_scaled": "`ece` after temperature scaling",
    "adaptive_ece_scaled": "`adaptive_ece` after temperature scaling",
    "brier_scaled": "`brier` after temperature scaling",
    "nll_scaled": "`nll` after temperature scaling",
}


class LinearParams(ProtocolParams):
    """Of `linear`."""

    l2: tuple[Strength, ...] = Field(
        (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        description="L2 strengths tried: the objective is the mean log loss + l2 / 2 * (sum of squared weights)",
    )


class KnnParams(ProtocolParams):
    """Of `knn`."""

    k: int = Field(20, ge=1, description="neighbours that vote; the train size if that is smaller")
    temperature: float = Field(0.07, ge=1e-3, description="a neighbour's vote weighs exp(similarity / temperature)")


class FewshotParams(ProtocolParams):
    """Of `fewshot`."""

    shots: int = Field(5, ge=1, description="training pictures per class in each draw")
    draws: int = Field(10, ge=1, description="draws of the training pictures; the score is the mean over them")
    c: float = Field(10.0, ge=1e-6, description="inverse L2 strength, as scikit-learn's LogisticRegression counts it")


class PretrainedHeadParams(ProtocolParams):
    """Of `pretrained_head`."""

    batch_size: int = Field(32, ge=1, description="pictures per forward pass")


class FinetuneParams(PictureTrainingParams):
    """Of `finetune`."""

    label_smoothing: float = Field(0.1, ge=0, le=1, description="probability mass spread evenly over the classes")


def lacking(job: Job) -> str | None:
    """Return what a job's data lack for learning their classes and scoring them; None if they have it.

    Args:
        job: With data set, budget and parameters; ``shots`` among them are pictures of each class.
    """
    spec = job.dataset_spec
    if spec is None:
        return None
    sizes, classes = spec.counts("label"), spec.occurring
    if spec.copies and spec.copies.untrained:
        untrained = spec.copies.untrained
        named = ", ".join(untrained[:NAMED_AT_MOST]) + (" ..." if untrained[NAMED_AT_MOST:] else "")
        return f"{spec.name} has no training picture of {named} without copies; copies=keep trains on them"
    if not sizes.get("train"):
        return (
            f"{spec.name} has no training picture, only {', '.join(sizes)}: 'folder:PATH' divides a folder of classes, "
            "and the protocol pretrained_head needs none"
        )
    used = sizes["train"] if job.budget.max_train is None else min(sizes["train"], job.budget.max_train)
    if used < classes:
        return f"{spec.name} has {counted(used, 'training picture')} to use for {classes} classes"
    shots = dict(job.params).get("shots", 1)
    if shots * classes > used:
        return f"{spec.name} has {used} training pictures to use, and {shots} shots of {classes} classes are more"
    return None if sizes.get("test") else f"{spec.name} has no picture in test"


def lacking_with_val(job: Job) -> str | None:
    """Return the same of a protocol that chooses its settings on val."""
    spec = job.dataset_spec
    lack = lacking(job)
    is_empty = lack is None and spec is not None and not spec.counts("label").get("val")
    return f"{spec.name} has no picture in val, on which settings are chosen" if spec and is_empty else lack


LINEAR = Protocol(
    name="linear",
    doc="multinomial logistic regression on centred, unit-length frozen features, L2 strength chosen on val",
    run="bob.tasks.classification.classification_protocols:linear",
    params=LinearParams,
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    lacks=lacking_with_val,
    seed_varies=FEATURE_SEED,
    classifier=("l2",),
)

KNN = Protocol(
    name="knn",
    doc="weighted k-nearest-neighbour vote on frozen features, cosine similarity, as in DINO",
    run="bob.tasks.classification.classification_protocols:knn",
    params=KnnParams,
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    lacks=lacking,
    seed_varies=FEATURE_SEED,
)

FEWSHOT = Protocol(
    name="fewshot",
    doc="logistic regression of fixed strength on a few pictures per class, mean over several draws",
    run="bob.tasks.classification.classification_protocols:fewshot",
    params=FewshotParams,
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    lacks=lacking,
    seed_varies="which pictures are drawn, and the initialisation of a random control",
)

PRETRAINED_HEAD = Protocol(
    name="pretrained_head",
    doc="the checkpoint's own ImageNet-1k head on folders named by wnid: the most probable of all 1000 classes",
    run="bob.tasks.classification.classification_protocols:pretrained_head",
    params=PretrainedHeadParams,
    budget=("max_val", "max_test"),
    uses=("profile",),
    seed_varies="nothing",
)

FINETUNE = Protocol(
    name="finetune",
    doc="all weights trained with AdamW, layer decay, warm-up and cosine; learning rate chosen on val",
    run="bob.tasks.classification.classification_protocols:finetune",
    params=FinetuneParams,
    budget=("max_train", "max_val", "max_test", "images_seen", "trials"),
    uses=("profile",),
    lacks=lacking_with_val,
    seed_varies="head initialisation, augmentation and order of the pictures; never the subset of train",
    classifier=(
        "lrs",
        "batch_size",
        "weight_decay",
        "layer_decay",
        "warmup",
        "label_smoothing",
        "clip_norm",
    ),
)

CLASSIFICATION = Task(
    name="classification",
    version=1,
    metric="top1",
    metrics=METRICS,
    protocols={each.name: each for each in (FINETUNE, LINEAR, KNN, FEWSHOT, PRETRAINED_HEAD)},
)
