"""A task: multi-label classification, where each picture shows any number of the classes.

Its data say for each picture every class that is right (annotation "label_sets"), as the reader of ``csv_reader.py``
does; its metric is the mean average precision over classes::

    bob run --plugin csv_reader.py --plugin multilabel_task.py --task multilabel_classification \\
        --data csv:photos.csv --backbone resnet50.a1_in1k
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision

from bob.core.errors import DataError
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.jobs.needs import features_need
from bob.jobs.protocol_params import ProtocolParams
from bob.metrics.resampling import resampled_counts, spread_of
from bob.probes.feature_files import SplitFeatures, load_features
from bob.probes.logistic import Centred
from bob.tasks.artifact_makers import make
from bob.tasks.result import TaskResult, listed
from bob.tasks.setup import Setup
from bob.tasks.spec import TASKS, Protocol, Task

ITERATIONS = 200


class MultilabelParams(ProtocolParams):
    """Of `linear`."""

    l2: tuple[float, ...] = Field((1e-6, 1e-5, 1e-4, 1e-3, 1e-2), description="L2 strengths tried")


def linear(job: Job, context: Context) -> TaskResult:
    """Fit one logistic regression per class on frozen features; the L2 strength best on val is tested.

    Raises:
        DataError: A picture's labels are not said as sets.
    """
    setup = Setup.of(job, context)
    features = load_features(make(features_need(job), job, context))
    classes = len(features.classes)
    centred = Centred.fit(_x(features["train"]))
    x = {name: centred(_x(part)) for name, part in features.splits.items()}
    y = {name: _targets(part, classes) for name, part in features.splits.items()}
    search = []
    for l2 in MultilabelParams.of(job).l2:
        weight, bias = _fit(x["train"], y["train"], l2=l2)
        search.append({"l2": l2, "map": mean_ap(x["val"] @ weight + bias, y["val"]), "model": (weight, bias)})
    best = max(search, key=lambda tried: tried["map"])
    weight, bias = best["model"]
    logits, targets, test = x["test"] @ weight + bias, y["test"], features["test"]
    replicates = _replicates(logits, targets)
    score = mean_ap(logits, targets)
    low, high = spread_of(score, replicates).interval(score, samples=len(test.ids))
    meta = features.meta
    counts = {f"n_{name}": len(part.ids) for name, part in features.splits.items()}
    predicted = [np.flatnonzero(row).tolist() for row in (logits > 0).numpy()]
    return TaskResult(
        score=score,
        score_low=low,
        score_high=high,
        metrics={"multilabel_map": score},
        outcomes=listed({"sample_id": test.ids, "labels": list(map(list, test.label_sets or ())), "found": predicted}),
        replicates=replicates,
        hparams={"l2": best["l2"]},
        search=[{"l2": tried["l2"], "map": tried["map"]} for tried in search],
        notes={
            **setup.notes(meta["pooling"]),
            **counts,
            "n_classes": classes,
            "precision": meta["precision"],
            "features_s": meta["seconds"],
            "dropped_pictures": meta["dropped"],
        },
    )


def mean_ap(logits: Tensor, targets: Tensor) -> float:
    """Return the mean over classes of the average precision, of the classes that occur among the pictures.

    Args:
        logits: (n, c), higher for a class that is more likely to be there.
        targets: int64 (n, c), 1 where a class is right.
    """
    found = multilabel_average_precision(logits, targets, num_labels=targets.shape[1], average=None)
    return float(found[targets.any(dim=0)].mean())


def _replicates(logits: Tensor, targets: Tensor) -> np.ndarray:
    """Return the score on each resampled test set, float64 (resamples,), so that reports can pair backbones."""
    scores = []
    for block in resampled_counts(len(logits)):
        for counts in block:
            places = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
            scores.append(mean_ap(logits[places], targets[places]))
    return np.array(scores)


def _fit(x: Tensor, y: Tensor, *, l2: float) -> tuple[Tensor, Tensor]:
    """Minimise the mean binary cross entropy plus l2 / 2 times the squared weights, by full-batch L-BFGS."""
    weight = torch.zeros(x.shape[1], y.shape[1], requires_grad=True)
    bias = torch.zeros(y.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        fitted = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight + bias, y.float())
        loss = fitted + l2 / 2 * weight.square().sum() / y.shape[1]
        loss.backward()
        return loss

    optimiser.step(closure)
    return weight.detach(), bias.detach()


def _x(split: SplitFeatures) -> Tensor:
    return torch.from_numpy(np.array(split.features))


def _targets(split: SplitFeatures, classes: int) -> Tensor:
    if split.label_sets is None:
        raise DataError("these data say one label per picture: expected every class that is right.")
    targets = torch.zeros(len(split.ids), classes, dtype=torch.int64)
    for row, own in enumerate(split.label_sets):
        targets[row, list(own)] = 1
    return targets


TASKS.add(
    "multilabel_classification",
    Task(
        name="multilabel_classification",
        version=1,
        metric="multilabel_map",
        metrics={"multilabel_map": "mean over classes of the average precision, classes without a positive left out"},
        protocols={
            "linear": Protocol(
                name="linear",
                doc="one logistic regression per class on centred, unit-length frozen features, L2 chosen on val",
                run=linear,
                params=MultilabelParams,
                budget=("max_train", "max_val", "max_test"),
                uses=("features", "profile"),
                seed_varies="nothing but the initialisation of a random control",
            )
        },
        annotation="label_sets",
    ),
)
