"""Task `ood_detection`: which pictures are out of distribution for a classifier, by every registered score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bob.data.pictures import Pictures
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.metrics.classification_metrics import classification_metrics
from bob.probes.odin import odin_scores
from bob.probes.ood_scores import NEIGHBOUR, OodFit, fit_ood, ood_scores
from bob.probes.post_hoc_scores import ODIN
from bob.tasks.classification.classifiers import Answers, SourceClassifier
from bob.tasks.classification.feature_classifiers import fit_linear
from bob.tasks.classification.picture_classifiers import train_finetuned
from bob.tasks.ood.detection.ood_detection_result import ScoredSet, judged
from bob.tasks.ood.detection.ood_detection_spec import ScoreParams
from bob.tasks.result import TaskResult
from bob.tasks.setup import EVALUATION_BATCH, Setup
from bob.training.inference import Forward

# Its gradients hold every layer's activations, as training's do.
ODIN_BATCH = EVALUATION_BATCH


def linear(job: Job, context: Context) -> TaskResult:
    """Score the frozen features that the logistic regression sees, and its logits."""
    return detected(fit_linear(job, context))


def finetune(job: Job, context: Context) -> TaskResult:
    """Score the pooled features and logits of the fine-tuned model; one more pass over train fits the statistics."""
    return detected(train_finetuned(job, context))


def detected(classifier: SourceClassifier) -> TaskResult:
    """Return the result of a classifier's scores on its own test pictures and on those of every other set.

    Args:
        classifier: Of the job's own data set; it has a linear head.
    """
    job = classifier.setup.job
    params = ScoreParams.of(job)
    inside, others = classifier.own("test"), [classifier.other(other) for other in job.others]
    fit = _fitted(classifier)
    scores = [_post_hoc(fit, answers) for answers in (inside, *others)]
    if params.odin:
        for own, values in zip(scores, _odin(classifier), strict=True):
            own[ODIN] = values
    names, roles = [job.dataset, *(o.name for o in job.others)], ["inside", *(o.role for o in job.others)]
    sets = [
        ScoredSet(name=name, role=role, ids=answers.ids, scores=own)
        for name, role, answers, own in zip(names, roles, (inside, *others), scores, strict=True)
    ]
    facts = classifier.facts()
    facts["notes"] = {**facts["notes"], "n_test": len(inside.ids), "k_clipped": fit.neighbours.k < NEIGHBOUR}
    return judged(sets[0], sets[1:], method=params.method, top1=_top1(inside), **facts)


def _fitted(classifier: SourceClassifier) -> OodFit:
    (seen, labels), (weight, bias) = classifier.train_features(), classifier.head()
    device = classifier.setup.device
    features = torch.from_numpy(np.ascontiguousarray(seen)).to(device)
    return fit_ood(features, torch.from_numpy(labels).to(device), weight=weight.to(device), bias=bias.to(device))


def _post_hoc(fit: OodFit, answers: Answers) -> dict[str, np.ndarray]:
    scores = ood_scores(fit, _seen(answers).to(fit.mean.device))
    return {name: values.cpu().numpy() for name, values in scores.items()}


def _seen(answers: Answers) -> Tensor:
    assert answers.features is not None, "a classifier with a linear head gives what the head sees"
    return torch.from_numpy(np.ascontiguousarray(answers.features))


def _top1(inside: Answers) -> float:
    probabilities = torch.softmax(torch.from_numpy(inside.logits[0]), dim=1).numpy()
    return classification_metrics(probabilities, inside.labels)["top1"]


def _odin(classifier: SourceClassifier) -> list[np.ndarray]:
    """Return ODIN's score (n,) of the own test pictures and of each other set's."""
    setup = classifier.setup
    model = _Odin(classifier.module(), setup.job.input.std)
    # In fp32 whatever the job's precision: at T = 1000 the scores differ in digits that others do not have.
    forward = Forward(model, device=setup.device, precision="fp32", join=torch.cat)
    others = [(other.name, setup.other_pictures(other)) for other in setup.job.others]
    return [_passed(setup, forward, *named) for named in [("test", setup.pictures("test")), *others]]


def _passed(setup: Setup, forward: Forward, name: str, pictures: Pictures) -> np.ndarray:
    with setup.batches(pictures, batch_size=ODIN_BATCH) as batches:
        return np.concatenate([scores for _, scores in setup.outputs(forward, batches, phase=f"odin on {name}")])


class _Odin(nn.Module):
    def __init__(self, model: nn.Module, std: Sequence[float]) -> None:
        super().__init__()
        self.model = model
        self.std = tuple(std)

    def forward(self, images: Tensor) -> Tensor:
        """Return (n,) float64 scores of normalised images (n, 3, S, S)."""
        return odin_scores(self.model, images, std=self.std)
