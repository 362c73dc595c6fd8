"""Task `multilabel` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from bob.jobs.job import Job
from bob.tasks.classification.classification_spec import FEATURE_BUDGET, FEATURE_SEED, KnnParams, LinearParams
from bob.tasks.spec import Protocol, Task
from bob.tasks.training_params import PictureTrainingParams

USED = ("train", "val", "test")

METRICS = {
    "multilabel_map": "mean over classes of the average precision: the area under the precision-recall curve of the "
    "test pictures ranked by the class's probability, as scikit-learn computes it",
    "map_voc07": "the same with the average precision of VOC 2007: the mean of the precision at 11 recalls",
    "micro_f1": "F1 score of all classes in all pictures together; predicted is a class whose probability is at least "
    "the threshold of highest micro F1 on val, one for all classes (`threshold` in `hparams`)",
    "macro_f1": "mean over the classes that occur (in truth or prediction) of the F1 score at that threshold",
    "ece": "calibration error of each class's probability in each picture: 15 equal-width bins, L1 norm, in [0, 1]",
    "brier": "mean squared error of each class's probability in each picture, in [0, 1]",
    "nll": "mean negative natural logarithm of the probability of what each class is in each picture, there or absent "
    "(probabilities below 1e-12 count as 1e-12)",
}


class FinetuneParams(PictureTrainingParams):
    """Of `finetune`."""


def lacking(job: Job) -> str | None:
    """Return what a job's data lack for learning which classes are there and scoring it; None if they have it."""
    spec = job.dataset_spec
    if spec is None:
        return None
    sizes, contrasted = spec.counts("multilabel"), dict(spec.contrasted)
    purpose = {"train": "to learn from", "val": "on which settings and the threshold are chosen", "test": "to score"}
    for split in USED:
        if not sizes.get(split):
            return f"{spec.name} has no picture in {split}, {purpose[split]}"
        if contrasted.get(split) == 0:
            return (
                f"{spec.name} has no class that some pictures of {split} show and others lack: any ranking of them is "
                "right"
            )
    return None


LINEAR = Protocol(
    name="linear",
    doc="one logistic regression per class on centred, unit-length frozen features, L2 strength chosen on val",
    run="bob.tasks.multilabel.multilabel_protocols:linear",
    params=LinearParams,
    budget=FEATURE_BUDGET,
    uses=("multilabel_features", "profile"),
    lacks=lacking,
    seed_varies=FEATURE_SEED,
)

KNN = Protocol(
    name="knn",
    doc="of each class the share of the nearest pictures that show it, weighted as in DINO, on frozen features",
    run="bob.tasks.multilabel.multilabel_protocols:knn",
    params=KnnParams,
    budget=FEATURE_BUDGET,
    uses=("multilabel_features", "profile"),
    lacks=lacking,
    seed_varies=FEATURE_SEED,
)

FINETUNE = Protocol(
    name="finetune",
    doc="all weights trained on the binary cross-entropy of each class, otherwise as in classification",
    run="bob.tasks.multilabel.multilabel_protocols:finetune",
    params=FinetuneParams,
    budget=("max_train", "max_val", "max_test", "images_seen", "trials"),
    uses=("profile",),
    lacks=lacking,
    seed_varies="head initialisation, augmentation and order of the pictures; never the subset of train",
)

MULTILABEL = Task(
    name="multilabel",
    version=1,
    metric="multilabel_map",
    metrics=METRICS,
    protocols={each.name: each for each in (FINETUNE, LINEAR, KNN)},
    annotation="multilabel",
)
