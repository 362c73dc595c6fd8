"""How long a job will take, roughly, before anything has run: for the plan's total and for starting long jobs first."""

from __future__ import annotations

from dataclasses import dataclass

from bob.backbones.backbone import Backbone
from bob.core.registry import resolved
from bob.heads.head_registry import HEADS
from bob.jobs.job import Job
from bob.jobs.needs import corruptions_of
from bob.tasks.spec import TASKS

# Seen over the catalogue: multiply-accumulates at 224 px are about 0.17 G per million parameters, within a factor
# of two from mobile nets to transformers.
GMACS_PER_MPARAM_224 = 0.17
# A mixed CNN and transformer load moves about this many GMAC a second on one current server core in float32.
CORE_GMACS_PER_S = 12.0
GPU_GMACS_PER_S = 5000.0
# Decoding and transforming one picture on one core.
DECODE_S = 0.006
# Mean over the corruptions, measured at 64 to 224 px on one core of a current server; zoom blur takes four times that.
CORRUPTION_S_PER_PIXEL = 1e-7
TRAINING_FACTOR = 3.3
START_S = 3.0
PROBE_S = {"linear": 4.0, "fewshot": 6.0, "knn": 1.0, "cosine": 1.0}
DEFAULT_PICTURES = 1000
LANDSCAPE = 4 / 3  # the usual width over height of a dense task's input
# Proposals, matching, masks and the rest of a detector that no count of products shows, per picture.
DENSE_PICTURE_S = 0.05
# AutoAttack on one picture, in forward passes: a hundred steps of gradient where the first of its attacks succeeds,
# 1,900 of them and 5,000 queries where none does. At the usual bounds hardly one picture in ten stays right.
AUTOATTACK_PASSES = 1300.0


def gmacs(backbone: Backbone, image_size: int) -> float:
    """Return the estimated multiply-accumulates of one forward pass, in 10^9."""
    return GMACS_PER_MPARAM_224 * backbone.params_m * (image_size / 224) ** 2


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What jobs will run on.

    Attributes:
        hardware: Its class, within which times compare; empty while only planning.
        cores: CPU cores to use.
        gpus: GPUs to use.
    """

    hardware: str = ""
    cores: int = 2
    gpus: int = 0


UNKNOWN_MACHINE = Machine()


def estimate_s(job: Job, backbone: Backbone, image_size: int, machine: Machine) -> float:
    """Return the seconds a job is expected to cost the whole machine, good to a factor of two or three."""
    if cost := TASKS.get(job.task).cost:
        return float(resolved(cost)(job, backbone, image_size, machine))
    rate = _rate(machine)
    picture_s = gmacs(backbone, image_size) / rate + DECODE_S / machine.cores
    scored = _pictures(job, "test", job.budget.max_test) + _pictures(job, "val", job.budget.max_val)
    beside_s = (
        _corruptions_s(job, image_size, machine, picture_s)
        + _beside_s(job, picture_s)
        + _attacks_s(job, gmacs(backbone, image_size) / rate)
    )
    if job.protocol == "finetune":
        seen = (job.budget.images_seen or DEFAULT_PICTURES) * (job.budget.trials or 1)
        return START_S + picture_s * (TRAINING_FACTOR * seen + scored * (job.budget.trials or 1)) + beside_s
    if {"features", "multilabel_features"} & set(job.uses):
        # One pass serves every probe of a backbone: its cost is spread over the usual three of them.
        return (
            START_S
            + PROBE_S.get(job.protocol, 2.0)
            + beside_s
            + picture_s * (scored + _pictures(job, "train", job.budget.max_train)) / 3
        )
    return START_S + picture_s * scored + beside_s


def _rate(machine: Machine) -> float:
    return GPU_GMACS_PER_S * machine.gpus if machine.gpus else CORE_GMACS_PER_S * machine.cores


def _beside_s(job: Job, picture_s: float) -> float:
    """Return the seconds of scoring the data sets beside a job's own, and of ODIN's gradient passes."""
    pictures = _others_pictures(job)
    if not dict(job.params).get("odin"):
        return picture_s * pictures
    # Forward and backward as in training, and a second pass forward.
    again = _pictures(job, "test", job.budget.max_test) + pictures
    return picture_s * (pictures + (TRAINING_FACTOR + 1) * again)


def _corruptions_s(job: Job, image_size: int, machine: Machine, picture_s: float) -> float:
    """Return the seconds of scoring the test pictures under every corruption; 0 for a job that has none."""
    names, severities = corruptions_of(job)
    views = len(names) * len(severities) * _pictures(job, "test", job.budget.max_test)
    return views * (picture_s + CORRUPTION_S_PER_PIXEL * image_size**2 / machine.cores)


def _others_pictures(job: Job) -> int:
    sizes = [dict(other.spec.sizes) if other.spec else {} for other in job.others]
    counts = [size.get("test", DEFAULT_PICTURES) for size in sizes]
    return sum(min(count, job.budget.max_test or count) for count in counts)


def _attacks_s(job: Job, forward_s: float) -> float:
    """Return the seconds of attacking the test pictures; 0 for a job that attacks none."""
    params = dict(job.params)
    if "attacks" not in params:
        return 0.0
    step = TRAINING_FACTOR - 1  # forward, and backward towards the pixels alone
    passes = {"fgsm": step, "pgd": step * params["steps"] * params["restarts"], "autoattack": AUTOATTACK_PASSES}
    each = 1 + len(params["norms"]) * sum(1 + passes[name] for name in params["attacks"])
    return forward_s * each * _pictures(job, "test", job.budget.max_test)


def dense_s(job: Job, backbone: Backbone, image_size: int, machine: Machine) -> float:
    """Return the seconds of a dense job: training, val once per trial, test once, and that of each data set beside."""
    rate = _rate(machine)
    params = dict(job.params)
    mpixels = image_size**2 * (params.get("aspect") or LANDSCAPE) / 1e6
    head = HEADS.get(params["head"]).gmacs_per_mpixel * mpixels * (params.get("channels", 256) / 256) ** 2
    body = gmacs(backbone, image_size) * LANDSCAPE
    other_s = (DECODE_S + DENSE_PICTURE_S) / machine.cores
    seen = (job.budget.images_seen or DEFAULT_PICTURES) * (job.budget.trials or 1)
    scored = _pictures(job, "test", job.budget.max_test)
    scored += _pictures(job, "val", job.budget.max_val) * (job.budget.trials or 1) + _others_pictures(job)
    trained = (1.0 if job.protocol == "frozen" else TRAINING_FACTOR) * body + TRAINING_FACTOR * head
    return START_S + seen * (trained / rate + other_s) + scored * ((body + head) / rate + other_s)


def _pictures(job: Job, split: str, cap: int | None) -> int:
    sizes = job.dataset_spec.counts(TASKS.get(job.task).annotation) if job.dataset_spec else {}
    count = sizes.get(split, 0 if sizes else DEFAULT_PICTURES)
    return min(count, cap) if cap else count
