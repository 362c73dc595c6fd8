"""Task `dense_generalization` as data: a detector of one data set, scored on others. No torch: planning reads this."""

from __future__ import annotations

from dataclasses import replace

from bob.core.errors import DataError
from bob.data.annotations import FEDERATED
from bob.jobs.job import Job
from bob.tasks.dense.detection.detection_spec import DETECTION
from bob.tasks.shifts import check_shifts
from bob.tasks.spec import Protocol, Task

METRICS = {
    "mean_box_ap": "mean over the shifted data sets of COCO's AP of boxes, each set counting the same",
    "source_box_ap": "COCO's AP of boxes on the own test pictures",
    "relative_drop": "(`source_box_ap` - `mean_box_ap`) / `source_box_ap`, below 0 for a gain; null where that is 0",
}


def _protocol(base: Protocol) -> Protocol:
    return replace(
        base,
        doc=f"the detector of detection's {base.name}, scored on shifted data sets of the same categories",
        run=f"bob.tasks.dense.generalization.dense_generalization_protocols:{base.name}",
    )


def check_job(job: Job) -> None:
    """Raise DataError if a shift has no boxes or a category that the job's own data lack, or any data are LVIS'."""
    for text, spec in [(job.dataset, job.dataset_spec), *((other.text, other.spec) for other in job.others)]:
        if spec is not None and FEDERATED in spec.annotations:
            raise DataError(
                f"data set {text!r} has some classes alone annotated in each picture, as LVIS: its AP is another than "
                "COCO's, and a drop from one to the other would say nothing.",
                hint="Score it with the task detection.",
            )
    if job.dataset_spec is not None:
        check_shifts(job, job.dataset_spec.classes, (DETECTION.annotation,))


DENSE_GENERALIZATION = Task(
    name="dense_generalization",
    version=1,
    metric="mean_box_ap",
    metrics=METRICS,
    protocols={name: _protocol(protocol) for name, protocol in DETECTION.protocols.items()},
    annotation=DETECTION.annotation,
    roles=("shifts",),
    needs_others=True,
    cost="bob.jobs.estimate:dense_s",
    check="bob.tasks.dense.generalization.dense_generalization_spec:check_job",
)
