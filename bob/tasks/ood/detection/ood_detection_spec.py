"""Task `ood_detection` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from bob.core.errors import ConfigError
from bob.jobs.protocol_params import OneOf, ProtocolParams, merged
from bob.probes.post_hoc_scores import ODIN, OOD_SCORES
from bob.tasks.classification.classification_spec import FINETUNE, LINEAR
from bob.tasks.spec import Protocol, Task

METRICS = {
    "auroc": "probability that a test picture of the own data set scores above one of another set, a tie counting half;"
    " mean over the sets, of the score `method` (all metrics without a score in their name are)",
    "auroc_near": "the same over the sets named under `near`; null if there are none",
    "auroc_far": "the same over the sets named under `far`; null if there are none",
    "aupr_in": "area under the precision-recall curve, own pictures positive, mean over the sets",
    "aupr_out": "area under the precision-recall curve, the others' pictures positive, mean over the sets",
    "fpr95": "share of in-distribution pictures taken for others where 95 % of the out-of-distribution ones are found;"
    " mean over the sets",
    "top1": "accuracy of the classifier on the own test pictures",
    **{f"auroc_{name}": f"AUROC of {OOD_SCORES.get(name).doc}, mean over the sets" for name in OOD_SCORES.built_in()},
}


class ScoreParams(ProtocolParams):
    """Which scores, and the one that ranks."""

    method: Annotated[str, OneOf(OOD_SCORES.names)] = Field(
        "msp", description="the score that the primary metric takes"
    )
    odin: bool = Field(False, description="score ODIN too: a gradient pass of its own over test and every set")

    @model_validator(mode="after")
    def _has_its_pass(self) -> Self:
        if self.method == ODIN and not self.odin:
            raise ConfigError(
                f"method {ODIN!r} needs ODIN's own pass, and odin is {self.odin!r}: expected true.",
                hint="Set odin to true beside it, or choose another method.",
            )
        return self


def _protocol(base: Protocol, uses: tuple[str, ...]) -> Protocol:
    """Return a protocol that takes the classifier of one of classification's, trained in the same way."""
    return replace(
        base,
        doc=f"post-hoc scores of the classifier and the features of classification's {base.name}",
        run=f"bob.tasks.ood.detection.ood_detection_protocols:{base.name}",
        params=merged(base.params, ScoreParams),
        uses=uses,
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
