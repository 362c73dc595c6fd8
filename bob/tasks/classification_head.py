"""Protocol `pretrained_head`: a checkpoint's own classifier on ImageNet folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bob.backbones.loader import build_classifier
from bob.context import Context
from bob.data.imagenet import wnid_labels, wnids
from bob.errors import ConfigError
from bob.job import Job
from bob.tasks.classification_result import scored
from bob.tasks.result import TaskResult
from bob.tasks.setup import Setup
from bob.training.inference import Forward


def pretrained_head(job: Job, context: Context) -> TaskResult:
    """Score the most probable of all 1000 classes, however few of them the folders have.

    Raises:
        DataError: A class folder is no ImageNet-1k wnid.
        ConfigError: The backbone is a control, or its head has other classes.
    """
    setup = Setup.of(job, context)
    if job.is_control or job.weights_path is None:
        raise ConfigError(f"backbone {job.backbone!r} has no pretrained head.", hint="Use protocol linear or finetune.")
    pictures = setup.pictures("test")
    places = wnid_labels(pictures.classes)
    model = build_classifier(
        setup.backbone, weights_path=Path(job.weights_path), image_size=job.input.image_size, seed=job.seed
    )
    forward = Forward(model, device=setup.device, precision=setup.precision)
    with setup.batches(pictures, batch_size=int(job.param("batch_size"))) as batches:
        parts = [outputs for _, outputs in setup.outputs(forward, batches, phase="test")]
    logits = torch.from_numpy(np.concatenate(parts)).double()
    if logits.shape[1] != len(wnids()):
        raise ConfigError(f"the head of {job.backbone!r} has {logits.shape[1]} classes, not ImageNet-1k's 1000.")
    counts = {"n_test": len(pictures), "n_classes": logits.shape[1], "dropped_pictures": len(pictures.dropped)}
    probabilities = torch.softmax(logits, dim=1).numpy()
    return scored(probabilities, places[pictures.labels], pictures.ids, notes={**setup.notes(), **counts})
