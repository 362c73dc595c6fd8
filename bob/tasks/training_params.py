"""The parameters that every protocol which trains a network has. No torch: planning reads this."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bob.jobs.protocol_params import ProtocolParams

Rate = Annotated[float, Field(ge=1e-9)]
LRS = "learning rates, in the order tried: the budget's `trials` says how many of them"
BATCH_SIZE = "effective batch in pictures, whatever the micro-batch"


class TrainingParams(ProtocolParams):
    """What a training run is made with, but for the head."""

    lrs: tuple[Rate, ...] = Field(..., description=LRS)
    batch_size: int = Field(..., ge=1, description=BATCH_SIZE)
    weight_decay: float = Field(0.05, ge=0, description="AdamW's, on matrices and kernels only")
    warmup: float = Field(0.1, ge=0, le=1, description="share of the steps in which the learning rate rises linearly")
    clip_norm: float = Field(1.0, ge=0, description="bound on the gradient's global L2 norm; 0 for none")


class PictureTrainingParams(TrainingParams):
    """What a classifier of whole pictures is fine-tuned with, but for its loss."""

    lrs: tuple[Rate, ...] = Field((3e-3, 1e-3, 1e-2, 3e-4, 1e-4), description=LRS)
    batch_size: int = Field(32, ge=1, description=BATCH_SIZE)
    layer_decay: float = Field(
        0.8, ge=0, le=1, description="factor on the learning rate for each layer group below the head"
    )
