"""Task `adversarial_robustness` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from bob.core.errors import ConfigError
from bob.jobs.protocol_params import ProtocolParams, merged
from bob.tasks.classification.classification_spec import FINETUNE, LINEAR
from bob.tasks.spec import Protocol, Task

# What they do, and their papers, is in `bob.probes.adversarial_attacks`, which imports torch.
ATTACK_WORDS = {"fgsm": "one gradient step", "pgd": "projected gradient steps", "autoattack": "AutoAttack's ensemble"}
NORM_WORDS = {"linf": "each pixel's change bounded", "l2": "the length of the whole change bounded"}

METRICS = {
    "robust_accuracy": "share of test pictures still classified right after each attack of the job under each norm; one"
    " that is wrong without any is not robust",
    "clean_top1": "share of test pictures classified right without an attack, in the same precision",
    **{
        f"robust_{attack}_{norm}": f"share still right after {words}, {bound}; null where the job did not ask for it"
        for attack, words in ATTACK_WORDS.items()
        for norm, bound in NORM_WORDS.items()
    },
}


class AttackParams(ProtocolParams):
    """Which attacks, within which bounds."""

    attacks: tuple[Literal["fgsm", "pgd", "autoattack"], ...] = Field(
        ("fgsm", "pgd"),
        description="the attacks; autoattack takes several hundred times as long as pgd on a picture that stays right",
    )
    norms: tuple[Literal["linf", "l2"], ...] = Field(("linf", "l2"), description="what bounds a change")
    # RobustBench's for ImageNet (Croce et al. 2021, arXiv 2010.09670).
    eps_linf: float = Field(4.0, ge=0, description="bound on each pixel's change, in 1/255 of the pixel range")
    # CIFAR's (Rice et al. 2020, arXiv 2002.11569), one of those of Salman et al. 2020 (arXiv 2007.08489) for ImageNet.
    eps_l2: float = Field(128.0, ge=0, description="bound on the L2 length of a change, in 1/255 of the pixel range")
    steps: int = Field(10, ge=1, description="pgd's steps")
    step_size: float = Field(0.25, ge=1e-6, description="pgd's step, as a share of eps")
    restarts: int = Field(1, ge=1, description="pgd's random starts; a picture must stay right after each of them")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        """Each pair of an attack and a norm has one column."""
        for name, values in (("attacks", self.attacks), ("norms", self.norms)):
            if len(set(values)) < len(values):
                raise ConfigError(
                    f"{name} are {', '.join(values)}: each is expected once.",
                    hint="Give a second bound to another entry of the task's protocols.",
                )
        return self

    def eps(self, norm: str) -> float:
        """Return the bound under a norm, in 1/255 of the pixel range."""
        return {"linf": self.eps_linf, "l2": self.eps_l2}[norm]


def _protocol(base: Protocol, uses: tuple[str, ...], seed_varies: str) -> Protocol:
    """Return a protocol that takes the classifier of one of classification's, trained in the same way."""
    return replace(
        base,
        doc=f"attacks on classification's {base.name}, the pixels of its test pictures changed within a bound",
        run=f"bob.tasks.adversarial.adversarial_protocols:{base.name}",
        params=merged(base.params, AttackParams),
        uses=uses,
        seed_varies=seed_varies,
    )


ADVERSARIAL_ROBUSTNESS = Task(
    name="adversarial_robustness",
    version=1,
    metric="robust_accuracy",
    metrics=METRICS,
    protocols={
        "linear": _protocol(
            LINEAR,
            ("features", "classifier", "profile"),
            "the random draws of pgd and autoattack, and the initialisation of a random control",
        ),
        "finetune": _protocol(
            FINETUNE, ("classifier", "profile"), f"{FINETUNE.seed_varies}; the random draws of pgd and autoattack"
        ),
    },
)
