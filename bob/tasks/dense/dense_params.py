"""The two protocols of every dense task, as data. No torch: planning reads this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field

from bob.jobs.job import Job
from bob.jobs.protocol_params import ProtocolParams, merged
from bob.tasks.spec import Protocol
from bob.tasks.training_params import TrainingParams

BUDGET = ("max_train", "max_val", "max_test", "images_seen", "trials")
SEED_VARIES = "initialisation of neck, head and a random control, augmentation and order; never the subset of train"
FINETUNE_DOC = "all weights and a new head trained with AdamW, layer decay, warm-up and cosine; batch norm frozen"
FROZEN_DOC = "a new neck and head trained with AdamW on a frozen backbone, its batch-norm statistics included"


class DenseParams(TrainingParams):
    """Of every dense task; its own class adds the head's."""

    aspect: float = Field(
        0.0,
        ge=0,
        le=8,
        description="width over height of the input; 0 follows the pictures, a square where they are of both "
        "orientations",
    )


class DenseLayerDecay(ProtocolParams):
    """Of `finetune`."""

    layer_decay: float = Field(
        0.9, ge=0, le=1, description="factor on the learning rate for each layer group below the head"
    )


def lacking(job: Job) -> str | None:
    """Return what a job's data lack without the copies that are left out; None if every split has a picture left."""
    spec = job.dataset_spec
    if spec is None or spec.copies is None or not spec.copies.emptied:
        return None
    return f"{spec.name} has no picture in {' and '.join(spec.copies.emptied)} without copies; copies=keep uses them"


def dense_protocols(
    module: str,
    params: type[DenseParams],
    *,
    epochs: int,
    further_params: Callable[[Mapping[str, Any]], tuple[type[ProtocolParams], ...]],
) -> dict[str, Protocol]:
    """Return `finetune` and `frozen`: the same but for what trains, and for the layer decay that only one needs.

    Args:
        module: Holds the functions ``finetune`` and ``frozen``.
        params: Of both.
        epochs: Passes over train if the budget does not say.
        further_params: As ``Protocol.further_params``: what a head brings along.
    """
    kinds = {"finetune": (FINETUNE_DOC, merged(params, DenseLayerDecay)), "frozen": (FROZEN_DOC, params)}
    return {
        name: Protocol(
            name=name,
            doc=doc,
            run=f"{module}:{name}",
            params=own,
            budget=BUDGET,
            uses=("profile",),
            seed_varies=SEED_VARIES,
            further_params=further_params,
            epochs=epochs,
            trials=1,
            lacks=lacking,
        )
        for name, (doc, own) in kinds.items()
    }
