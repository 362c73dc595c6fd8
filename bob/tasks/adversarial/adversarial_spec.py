"""Task `adversarial_robustness` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bob.core.errors import ConfigError
from bob.tasks.classification.classification_spec import FINETUNE, LINEAR
from bob.tasks.spec import Param, Protocol, Task

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

_OWN_PARAMS = {
    "attacks": Param(
        default=("fgsm", "pgd"),
        doc="the attacks; autoattack takes several hundred times as long as pgd on a picture that withstands it",
        choices=tuple(ATTACK_WORDS),
    ),
    "norms": Param(default=("linf", "l2"), doc="what bounds a change", choices=tuple(NORM_WORDS)),
    # RobustBench's for ImageNet (Croce et al. 2021, arXiv 2010.09670).
    "eps_linf": Param(default=4.0, doc="bound on each pixel's change, in 1/255 of the pixel range", low=0.0),
    # CIFAR's (Rice et al. 2020, arXiv 2002.11569), one of those of Salman et al. 2020 (arXiv 2007.08489) for ImageNet.
    "eps_l2": Param(default=128.0, doc="bound on the L2 length of a change, in 1/255 of the pixel range", low=0.0),
    "steps": Param(default=10, doc="pgd's steps", low=1),
    "step_size": Param(default=0.25, doc="pgd's step, as a share of eps", low=1e-6),
    "restarts": Param(default=1, doc="pgd's random starts; a picture must withstand each of them", low=1),
}


def _protocol(base: Protocol, uses: tuple[str, ...], seed_varies: str) -> Protocol:
    """Return a protocol that takes the classifier of one of classification's, trained in the same way."""
    return replace(
        base,
        doc=f"attacks on classification's {base.name}, the pixels of its test pictures changed within a bound",
        run=f"bob.tasks.adversarial.adversarial_protocols:{base.name}",
        params={**base.params, **_OWN_PARAMS},
        uses=uses,
        seed_varies=seed_varies,
        check="bob.tasks.adversarial.adversarial_spec:check",
    )


def check(params: Mapping[str, Any]) -> None:
    """Raise ConfigError if an attack or a norm is named twice: each pair has one column."""
    for name in ("attacks", "norms"):
        if len(set(params[name])) < len(params[name]):
            raise ConfigError(
                f"{name} are {', '.join(params[name])}: each is expected once.",
                hint="Give a second bound to another entry of the task's protocols.",
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
