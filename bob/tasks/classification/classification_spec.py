"""Task `classification` as data: its metrics, protocols and their parameters. No torch: planning reads this."""

from __future__ import annotations

from bob.tasks.spec import Param, Protocol, Task

FEATURE_BUDGET = ("max_train", "max_val", "max_test")
FEATURE_SEED = "the initialisation of a random control; a pretrained backbone gives the same score at every seed"

METRICS = {
    "top1": "share of test pictures whose most probable class is the label",
    "top5": "share of test pictures whose label is among the five most probable classes (all, if there are fewer)",
    "macro_f1": "unweighted mean over the classes that occur (as label or prediction) of the F1 score",
    "nll": "mean negative natural logarithm of the label's probability (probabilities below 1e-12 count as 1e-12)",
    "ece": "expected calibration error of the top class: 15 equal-width bins of confidence, L1 norm, in [0, 1]",
    "adaptive_ece": "calibration error of the top class over 15 bins of equally many pictures, L1 norm, in [0, 1]",
    "brier": "squared error of the probabilities, summed over the classes, mean over pictures, in [0, 2]",
    "temperature": "what the logits are divided by for the metrics that end in `_scaled`: minimises val's nll",
    "ece_scaled": "`ece` after temperature scaling",
    "adaptive_ece_scaled": "`adaptive_ece` after temperature scaling",
    "brier_scaled": "`brier` after temperature scaling",
    "nll_scaled": "`nll` after temperature scaling",
}

LINEAR = Protocol(
    name="linear",
    doc="multinomial logistic regression on centred, unit-length frozen features, L2 strength chosen on val",
    run="bob.tasks.classification.classification_protocols:linear",
    params={
        "l2": Param(
            default=(1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
            doc="L2 strengths tried: the objective is the mean log loss + l2 / 2 * (sum of squared weights)",
            low=1e-12,
        ),
    },
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    seed_varies=FEATURE_SEED,
    classifier=("l2",),
)

KNN = Protocol(
    name="knn",
    doc="weighted k-nearest-neighbour vote on frozen features, cosine similarity, as in DINO",
    run="bob.tasks.classification.classification_protocols:knn",
    params={
        "k": Param(default=20, doc="neighbours that vote; the train size if that is smaller", low=1),
        "temperature": Param(default=0.07, doc="a neighbour's vote weighs exp(similarity / temperature)", low=1e-3),
    },
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    seed_varies=FEATURE_SEED,
)

FEWSHOT = Protocol(
    name="fewshot",
    doc="logistic regression of fixed strength on a few pictures per class, mean over several draws",
    run="bob.tasks.classification.classification_protocols:fewshot",
    params={
        "shots": Param(default=5, doc="training pictures per class in each draw", low=1),
        "draws": Param(default=10, doc="draws of the training pictures; the score is the mean over them", low=1),
        "c": Param(default=10.0, doc="inverse L2 strength, as scikit-learn's LogisticRegression counts it", low=1e-6),
    },
    budget=FEATURE_BUDGET,
    uses=("features", "profile"),
    seed_varies="which pictures are drawn, and the initialisation of a random control",
)

PRETRAINED_HEAD = Protocol(
    name="pretrained_head",
    doc="the checkpoint's own ImageNet-1k head on folders named by wnid: the most probable of all 1000 classes",
    run="bob.tasks.classification.classification_protocols:pretrained_head",
    params={"batch_size": Param(default=32, doc="pictures per forward pass", low=1)},
    budget=("max_val", "max_test"),
    uses=("profile",),
    seed_varies="nothing",
)

FINETUNE = Protocol(
    name="finetune",
    doc="all weights trained with AdamW, layer decay, warm-up and cosine; learning rate chosen on val",
    run="bob.tasks.classification.classification_protocols:finetune",
    params={
        "lrs": Param(
            default=(3e-3, 1e-3, 1e-2, 3e-4, 1e-4),
            doc="learning rates, in the order tried: the budget's `trials` says how many of them",
            low=1e-9,
        ),
        "batch_size": Param(default=32, doc="effective batch in pictures, whatever the micro-batch", low=1),
        "weight_decay": Param(default=0.05, doc="AdamW's, on matrices and kernels only", low=0.0),
        "layer_decay": Param(
            default=0.8, doc="factor on the learning rate for each layer group below the head", low=0, high=1.0
        ),
        "warmup": Param(
            default=0.1, doc="share of the steps in which the learning rate rises linearly", low=0.0, high=1.0
        ),
        "label_smoothing": Param(default=0.1, doc="probability mass spread evenly over the classes", low=0.0, high=1.0),
        "clip_norm": Param(default=1.0, doc="bound on the gradient's global L2 norm; 0 for none", low=0.0),
    },
    budget=("max_train", "max_val", "max_test", "images_seen", "trials"),
    uses=("profile",),
    seed_varies="head initialisation, augmentation and order of the pictures; never the subset of train",
    classifier=(
        "lrs",
        "batch_size",
        "weight_decay",
        "layer_decay",
        "warmup",
        "label_smoothing",
        "clip_norm",
    ),
)

CLASSIFICATION = Task(
    name="classification",
    version=1,
    metric="top1",
    metrics=METRICS,
    protocols={each.name: each for each in (FINETUNE, LINEAR, KNN, FEWSHOT, PRETRAINED_HEAD)},
)
