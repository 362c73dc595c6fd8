"""The two protocols of every dense task, as data. No torch: planning reads this."""

from __future__ import annotations

from bob.tasks.spec import Param, Protocol

BUDGET = ("max_train", "max_val", "max_test", "images_seen", "trials")
SEED_VARIES = "initialisation of neck, head and a random control, augmentation and order; never the subset of train"
FINETUNE_DOC = "all weights and a new head trained with AdamW, layer decay, warm-up and cosine; batch norm frozen"
FROZEN_DOC = "a new neck and head trained with AdamW on a frozen backbone, its batch-norm statistics included"

TRAINING = {
    "weight_decay": Param(default=0.05, doc="AdamW's, on matrices and kernels only", low=0.0),
    "warmup": Param(default=0.1, doc="share of the steps in which the learning rate rises linearly", low=0.0, high=1.0),
    "clip_norm": Param(default=1.0, doc="bound on the gradient's global L2 norm; 0 for none", low=0.0),
    "aspect": Param(
        default=0.0,
        doc="width over height of the input; 0 follows the pictures, a square where they are of both orientations",
        low=0.0,
        high=8.0,
    ),
}
LAYER_DECAY = {
    "layer_decay": Param(
        default=0.9, doc="factor on the learning rate for each layer group below the head", low=0, high=1.0
    ),
}


def dense_protocols(
    module: str, params: dict[str, Param], *, rates: tuple[float, ...], epochs: int, check: str = ""
) -> dict[str, Protocol]:
    """Return `finetune` and `frozen`: the same but for what trains, and for the layer decay that only one needs.

    Args:
        module: Holds the functions ``finetune`` and ``frozen``.
        params: Of the task's heads.
        rates: Learning rates, in the order tried.
        epochs: Passes over train if the budget does not say.
        check: As ``Protocol.check``.
    """
    lrs = Param(default=rates, doc="learning rates, in the order tried: `trials` says how many", low=1e-9)
    shared = {"lrs": lrs, **params, **TRAINING}
    kinds = {"finetune": (FINETUNE_DOC, {**shared, **LAYER_DECAY}), "frozen": (FROZEN_DOC, shared)}
    return {
        name: Protocol(
            name=name,
            doc=doc,
            run=f"{module}:{name}",
            params=own,
            budget=BUDGET,
            uses=("profile",),
            seed_varies=SEED_VARIES,
            check=check,
            epochs=epochs,
            trials=1,
        )
        for name, (doc, own) in kinds.items()
    }
