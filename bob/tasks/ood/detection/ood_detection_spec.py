"""Task `ood_detection` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bob.core.errors import ConfigError
from bob.tasks.classification.classification_spec import FINETUNE, LINEAR
from bob.tasks.spec import Param, Protocol, Task

ODIN = "odin"
# The formulas and their papers are in `bob.probes.ood_scores`, which imports torch.
SCORE_WORDS = {
    "msp": "the largest softmax probability",
    "max_logit": "the largest logit",
    "energy": "the log-sum-exp of the logits",
    "mahalanobis": "the squared Mahalanobis distance to the nearest class mean, negated",
    "relative_mahalanobis": "the same less the distance to the mean of all",
    "knn": "the distance to the 50th nearest training picture, negated",
    "vim": "energy less the virtual logit",
    "react": "the energy of features cut at a training percentile",
    "residual": "the length outside the principal space, negated",
    ODIN: "the largest softmax probability at temperature 1000 after a step to the predicted class",
}

METRICS = {
    "auroc": "probability that a test picture of the own data set scores above one of another set, a tie counting half;"
    " mean over the sets, of the score `method` (all metrics without a score in their name are)",
    "auroc_near": "the same over the sets named under `near`; null if there are none",
    "auroc_far": "the same over the sets named under `far`; null if there are none",
    "aupr_in": "area under the precision-recall curve, own pictures positive, mean over the sets",
    "aupr_out": "area under the precision-recall curve, the others' pictures positive, mean over the sets",
    "fpr95": "share of own pictures called foreign where 95 % of the foreign ones are, mean over the sets",
    "top1": "accuracy of the classifier on the own test pictures",
    **{f"auroc_{name}": f"AUROC of {words}, mean over the sets" for name, words in SCORE_WORDS.items()},
}

_OWN_PARAMS = {
    "method": Param(default="msp", doc="the score that the primary metric takes", choices=tuple(SCORE_WORDS)),
    "odin": Param(default=False, doc="score ODIN too: a gradient pass of its own over test and every set"),
}


def _protocol(base: Protocol, uses: tuple[str, ...]) -> Protocol:
    """Return a protocol that takes the classifier of one of classification's, trained in the same way."""
    return replace(
        base,
        doc=f"post-hoc scores of the classifier and the features of classification's {base.name}",
        run=f"bob.tasks.ood.detection.ood_detection_protocols:{base.name}",
        params={**base.params, **_OWN_PARAMS},
        uses=uses,
        check="bob.tasks.ood.detection.ood_detection_spec:check",
    )


def check(params: Mapping[str, Any]) -> None:
    """Raise ConfigError if ODIN is to be the primary score and is not asked for."""
    if params["method"] == ODIN and not params["odin"]:
        raise ConfigError(
            f"method {ODIN!r} needs ODIN's own pass, and odin is {params['odin']!r}: expected true.",
            hint="Set odin to true beside it, or choose another method.",
        )


OOD_DETECTION = Task(
    name="ood_detection",
    version=1,
    metric="auroc",
    metrics=METRICS,
    protocols={
        "linear": _protocol(LINEAR, ("features", "other_features", "classifier", "profile")),
        "finetune": _protocol(FINETUNE, ("classifier", "profile")),
    },
    roles=("near", "far"),
    needs_others=True,
)
