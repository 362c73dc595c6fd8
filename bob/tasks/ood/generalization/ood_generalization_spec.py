"""Task `ood_generalization` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from bob.core.errors import ConfigError
from bob.data.corruptions import frost_available
from bob.data.corruptions.names import CORRUPTIONS, NONE, SEVERITIES, check_corruptions, chosen_corruptions
from bob.data.imagenet import wnid_labels, wnids
from bob.jobs.job import Job
from bob.jobs.needs import corruptions_of, has_corruptions
from bob.jobs.protocol_params import ProtocolParams, merged
from bob.tasks.classification.classification_spec import FEWSHOT, FINETUNE, KNN, LINEAR, PRETRAINED_HEAD
from bob.tasks.shifts import check_shifts
from bob.tasks.spec import Protocol, Task

METRICS = {
    "mean_accuracy": "mean over shifts of the share of their test pictures that are right, each shift counting the"
    " same; all corruptions and severities together are one shift",
    "source_top1": "share of the own test pictures that are right, untouched, over all of the classifier's classes",
    "shift_accuracy": "mean over the shifted data sets of their accuracy; null if there are none",
    "corruption_accuracy": "mean over corruptions and severities of the accuracy; null without corruptions",
    "relative_drop": "(`source_top1` - `mean_accuracy`) / `source_top1`, below 0 for a gain; null where that is 0",
    "mce": "mean over corruptions and severities of the top-1 error, relative to nothing; null without corruptions",
    "mce_alexnet": "mean over the 15 benchmark corruptions of the error, summed over severities, by AlexNet's, a ratio;"
    " null unless all of them were scored at all five severities on ImageNet's 1,000 classes",
}


class CorruptionParams(ProtocolParams):
    """Under which corruptions the own test pictures are scored."""

    corruptions: tuple[str, ...] = Field(
        (NONE,),
        description="corruptions of the own test pictures, by name; or none, benchmark (15), extra (4) or all",
    )
    severities: tuple[Annotated[int, Field(ge=1, le=5)], ...] = Field(
        SEVERITIES, description="severities of each corruption"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        # Severities are checked even where nothing is corrupted.
        check_corruptions(chosen_corruptions(self.corruptions) or CORRUPTIONS, self.severities)
        return self


_FEATURES = ("features", "other_features", "corrupted_features", "profile")


def _protocol(base: Protocol, uses: tuple[str, ...], budget: tuple[str, ...] = ()) -> Protocol:
    """Return a protocol that scores the classifier of one of classification's, trained in the same way."""
    return replace(
        base,
        doc=f"classification's {base.name}, scored on shifted and corrupted pictures that it never trained on",
        run=f"bob.tasks.ood.generalization.ood_generalization_protocols:{base.name}",
        params=merged(base.params, CorruptionParams),
        budget=budget or base.budget,
        uses=uses,
    )


def check_job(job: Job) -> None:
    """Check that there is something to score, and that the classifier knows every class of every shift.

    Raises:
        ConfigError: The job has neither shifts nor corruptions, or asks for frost without its photographs.
        DataError: A shift has no labels, or a class that the classifier lacks; or a pretrained head does not
            know the classes of the own data.
    """
    if not job.others and not has_corruptions(job):
        raise ConfigError(
            f"task {job.task!r} on {job.dataset!r} has nothing to score: neither shifts nor corruptions are given.",
            hint="Name data sets under shifts, or set the protocol's corruptions, such as [benchmark].",
        )
    if "frost" in corruptions_of(job)[0] and not frost_available():
        raise ConfigError(
            "corruption 'frost' needs the photographs of its authors, which are not installed here.",
            hint=".venv/bin/pip install -e '.[corruptions]', or leave frost (and so 'benchmark') out of corruptions.",
        )
    if job.dataset_spec is None:
        return
    source = job.dataset_spec.classes
    if job.protocol == PRETRAINED_HEAD.name:
        wnid_labels(source)
        source = wnids()
    check_shifts(job, source, ("label", "label_sets"))


OOD_GENERALIZATION = Task(
    name="ood_generalization",
    version=1,
    metric="mean_accuracy",
    metrics=METRICS,
    protocols={
        "linear": _protocol(LINEAR, ("features", "other_features", "corrupted_features", "classifier", "profile")),
        "knn": _protocol(KNN, _FEATURES),
        "fewshot": _protocol(FEWSHOT, _FEATURES),
        "finetune": _protocol(FINETUNE, ("classifier", "profile")),
        # Nothing is trained or chosen, so that val does not enter the job.
        "pretrained_head": _protocol(PRETRAINED_HEAD, ("profile",), budget=("max_test",)),
    },
    roles=("shifts",),
    check="bob.tasks.ood.generalization.ood_generalization_spec:check_job",
)
