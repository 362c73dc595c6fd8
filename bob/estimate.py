"""How long a job will take, roughly, before anything has run: for the plan's total and for starting long jobs first."""

from __future__ import annotations

from dataclasses import dataclass

from bob.backbones.spec import Backbone
from bob.job import Job

# Seen over the catalogue: multiply-accumulates at 224 px are about 0.17 G per million parameters, within a factor
# of two from mobile nets to transformers.
GMACS_PER_MPARAM_224 = 0.17
# A mixed CNN and transformer load moves about this many GMAC a second on one current server core in float32.
CORE_GMACS_PER_S = 12.0
GPU_GMACS_PER_S = 5000.0
# Decoding and transforming one picture on one core.
DECODE_S = 0.006
TRAINING_FACTOR = 3.3
START_S = 3.0
PROBE_S = {"linear": 4.0, "fewshot": 6.0, "knn": 1.0}
DEFAULT_PICTURES = 1000


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
    rate = GPU_GMACS_PER_S * machine.gpus if machine.gpus else CORE_GMACS_PER_S * machine.cores
    picture_s = gmacs(backbone, image_size) / rate + DECODE_S / machine.cores
    scored = _pictures(job, "test", job.budget.max_test) + _pictures(job, "val", job.budget.max_val)
    if job.protocol == "finetune":
        seen = (job.budget.images_seen or DEFAULT_PICTURES) * (job.budget.trials or 1)
        return START_S + picture_s * (TRAINING_FACTOR * seen + scored * (job.budget.trials or 1))
    if "features" in job.uses:
        # One pass serves every probe of a backbone: its cost is spread over the usual three of them.
        return (
            START_S
            + PROBE_S.get(job.protocol, 2.0)
            + picture_s * (scored + _pictures(job, "train", job.budget.max_train)) / 3
        )
    return START_S + picture_s * scored


def _pictures(job: Job, split: str, cap: int | None) -> int:
    sizes = dict(job.dataset_spec.sizes) if job.dataset_spec else {}
    count = sizes.get(split, DEFAULT_PICTURES)
    return min(count, cap) if cap else count
