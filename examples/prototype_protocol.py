"""A protocol: classification by the nearest class mean of frozen features.

The method is that of Mensink et al. 2013, doi 10.1109/TPAMI.2013.83::

bob run --plugin prototype_protocol.py --protocol prototypes --data ~/pets --backbone resnet50.a1_in1k
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from scipy.special import softmax

from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import features_need
from bob.jobs.protocol_params import ProtocolParams
from bob.probes.feature_files import SplitFeatures, load_features
from bob.tasks.artifact_makers import make
from bob.tasks.classification.classification_result import scored
from bob.tasks.result import TaskResult
from bob.tasks.setup import Setup
from bob.tasks.spec import Protocol, add_protocol


class PrototypeParams(ProtocolParams):
    """Of `prototypes`."""

    temperature: float = Field(
        0.1, ge=1e-3, description="cosines are divided by it before the softmax that gives confidences"
    )


def prototypes(job: Job, context: Context) -> TaskResult:
    """Score each test picture by the cosine to the mean feature of every class of train."""
    setup = Setup.of(job, context)
    features = load_features(make(features_need(job), job, context))
    train, test = features["train"], features["test"]
    means = torch.stack([_unit(train)[torch.from_numpy(train.labels) == label].mean(dim=0)
                         for label in range(len(features.classes))])  # fmt: skip
    cosines = _unit(test) @ torch.nn.functional.normalize(means, dim=1).T
    probabilities = softmax(cosines.double().numpy() / PrototypeParams.of(job).temperature, axis=1)
    counts = {"n_train": len(train.ids), "n_test": len(test.ids), "n_classes": len(features.classes)}
    facts = {"precision": features.meta["precision"], "features_s": features.meta["seconds"]}
    return scored(
        probabilities, test.labels, test.ids, notes={**setup.notes(features.meta["pooling"]), **counts, **facts}
    )


def _unit(split: SplitFeatures) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(np.array(split.features)), dim=1)


add_protocol(
    "classification",
    Protocol(
        name="prototypes",
        doc="the class whose mean training feature is nearest by cosine",
        run=prototypes,
        params=PrototypeParams,
        budget=("max_train", "max_val", "max_test"),
        uses=("features", "profile"),
        seed_varies="nothing but the initialisation of a random control",
    ),
)
