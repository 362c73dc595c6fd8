"""Parameters that the protocols of every dense task share, as data. No torch: planning reads this."""

from __future__ import annotations

from bob.tasks.spec import Param

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
