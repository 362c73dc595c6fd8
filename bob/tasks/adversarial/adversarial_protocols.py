"""Task `adversarial_robustness`: the test pictures a classifier has right before and after each attack on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bob.core.files import canonical_json
from bob.data.pictures import Pictures
from bob.jobs.context import Context
from bob.jobs.job import Job
from bob.metrics.interval import mean_interval
from bob.probes.adversarial_attacks import Attack, require_packages, robust_correct, to_pixels
from bob.tasks.adversarial.adversarial_spec import AttackParams
from bob.tasks.classification.classifiers import SourceClassifier
from bob.tasks.classification.feature_classifiers import fit_linear
from bob.tasks.classification.picture_classifiers import train_finetuned
from bob.tasks.result import TaskResult
from bob.tasks.setup import EVALUATION_BATCH
from bob.training.inference import Forward

# Their gradients hold every layer's activations, as training's do.
ATTACK_BATCH = EVALUATION_BATCH
# A step under eps shows in digits that others do not have, and so does the gradient of a classifier that is sure.
PRECISION = "fp32"
DIGITS = 6


def linear(job: Job, context: Context) -> TaskResult:
    """Attack backbone and logistic regression as one model."""
    attacks = attacks_of(job)
    return robust_result(fit_linear(job, context), attacks)


def finetune(job: Job, context: Context) -> TaskResult:
    """Attack the fine-tuned model."""
    attacks = attacks_of(job)
    return robust_result(train_finetuned(job, context), attacks)


def attacks_of(job: Job) -> list[Attack]:
    """Return each attack of a job under each norm.

    Raises:
        ConfigError: An attack's package is missing.
    """
    params = AttackParams.of(job)
    attacks = [_attack(params, name, norm, seed=job.seed) for name in params.attacks for norm in params.norms]
    require_packages(attacks)
    return attacks


def robust_result(classifier: SourceClassifier, attacks: Sequence[Attack]) -> TaskResult:
    """Return the result of attacking a classifier's own test pictures, as evaluation shows them to it.

    A picture's outcome is 1 if the classifier has it right without an attack and after each of them.

    Args:
        classifier: Of the job's own data set, differentiable.
        attacks: One or more, each pair of name and norm once.
    """
    test = classifier.setup.pictures("test")
    prediction, right, batch = _attacked(classifier, attacks, test)
    outcome = np.asarray(right.all(axis=1), dtype=np.float64)
    low, high = mean_interval(outcome)
    accuracies = right.mean(axis=0).tolist()
    columns = ["clean_top1", *(f"robust_{_key(attack)}" for attack in attacks)]
    metrics = {"robust_accuracy": float(outcome.mean()), **dict(zip(columns, accuracies, strict=True))}
    facts = classifier.facts()
    facts["notes"] = {**facts["notes"], "n_test": len(test), "per_attack": _text(attacks, accuracies[1:], batch)}
    return TaskResult(
        score=metrics["robust_accuracy"],
        score_low=low,
        score_high=high,
        metrics=metrics,
        outcomes={
            "sample_id": np.array(test.ids, dtype=object),
            "label": test.labels.astype(np.int64),
            "prediction": prediction,
            "outcome": outcome,
        },
        **facts,
    )


def _attack(params: AttackParams, name: str, norm: str, *, seed: int) -> Attack:
    eps = params.eps(norm)
    own: dict[str, Any] = {}
    if name == "pgd":
        # Of an eps of 0 there is no share: the attack then changes nothing, whatever its step.
        step = params.step_size * eps or None
        own = {"steps": params.steps, "step_size": step, "restarts": params.restarts}
    return Attack(name=name, norm=norm, eps=eps, seed=seed, **own)


def _attacked(
    classifier: SourceClassifier, attacks: Sequence[Attack], pictures: Pictures
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return predictions without attack, int64 (n,), what is right, bool (n, 1 + attacks), and the batch used.

    The first column of what is right is without attack. The batch is what memory allowed in the end.
    """
    setup = classifier.setup
    model = _Attacked(classifier.module(), attacks, mean=setup.job.input.mean, std=setup.job.input.std)
    forward = Forward(model, device=setup.device, precision=PRECISION, join=torch.cat)
    with setup.batches(pictures, batch_size=ATTACK_BATCH) as batches:
        parts = setup.outputs(forward, batches, phase="attacking test", beside=(pictures.labels,))
        table = np.concatenate([outputs for _, outputs in parts])
    return table[:, 0], table[:, 1:].astype(bool), forward.part or ATTACK_BATCH


class _Attacked(nn.Module):
    def __init__(
        self, model: nn.Module, attacks: Sequence[Attack], *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.model = model
        self.attacks = tuple(attacks)
        self.mean, self.std = tuple(mean), tuple(std)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return (n, 2 + attacks) int64 of normalised images (n, 3, S, S): prediction, then what is right."""
        pixels = to_pixels(images, mean=self.mean, std=self.std)
        right = robust_correct(self.model, pixels, labels, self.attacks, mean=self.mean, std=self.std)
        prediction = self.model(images).argmax(dim=1).cpu()
        return torch.stack([prediction, *(torch.from_numpy(each).long() for each in right.values())], dim=1)


def _key(attack: Attack) -> str:
    return f"{attack.name}_{attack.norm}"


def _text(attacks: Sequence[Attack], accuracies: Sequence[float], batch: int) -> str:
    """Return each attack's settings and accuracy as JSON text; lengths are in 1/255 of the pixel range."""
    pairs = zip(attacks, accuracies, strict=True)
    return canonical_json(
        {_key(attack): {**_settings(attack, batch), "accuracy": round(share, DIGITS)} for attack, share in pairs}
    )


def _settings(attack: Attack, batch: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"eps": attack.eps, "seed": attack.seed, "batch": batch, "precision": PRECISION}
    if attack.name == "pgd":
        settings |= {"steps": attack.steps, "step_size": attack.step, "restarts": attack.restarts}
        settings["random_start"] = attack.random_start
    return settings
