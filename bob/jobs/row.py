"""The row: every column that a finished job leaves, its type, and what it means. No torch, no pandas.

Plug-ins may add columns of their own; the store types those by their values. A column here keeps its name, type and
meaning for as long as ``ROW_SCHEMA_VERSION`` stands.
"""

from __future__ import annotations

from bob.jobs.column import GROUPS, Column, columns
from bob.jobs.cost_columns import COST
from bob.probes.post_hoc_scores import ODIN, OOD_SCORES

ROW_SCHEMA_VERSION = 1
STATUSES = ("ok", "failed", "skipped", "timeout", "oom")


IDENTITY = columns(
    "identity",
    ("schema_version", "i", "Version of these columns; a newer one than the reader's is refused."),
    ("job_id", "s", "Hash of everything that changes the number, 16 hexadecimal digits."),
    ("attempt", "i", "Number of this attempt at the job, from 1; set by the store."),
    ("cell", "s", "Hash of the identity without fingerprints: rows that fill one cell of a table share it."),
    ("suite", "s", "Name of the suite that asked for the job; empty for a single job."),
    ("backbone", "s", "The checkpoint, `arch.tag` as timm names it."),
    ("arch", "s", "The architecture: the name without its tag."),
    ("family", "s", "The architecture's family (`resnet`, `vit`, ...)."),
    ("pretrain_method", "s", "How the checkpoint was pretrained (`supervised`, `DINO`, ...); `none` for random."),
    ("pretrain_data", "s", "What it was pretrained on (`ImageNet-1k`, ...); `none` for random."),
    ("is_control", "b", "Whether the backbone is a random-init baseline, outside every mean and rank."),
    ("task", "s", "The task (`classification`, ...)."),
    ("task_version", "i", "Version of the task, raised when its numbers change meaning."),
    ("dataset", "s", "Short name of the data set."),
    (
        "dataset_revision",
        "s",
        "Revision of the data set at its publisher; null where none is known.",
    ),
    ("dataset_fingerprint", "s", "Digest of the data's content and splits."),
    ("dataset_license", "s", "Licence of the data."),
    (
        "others",
        "s",
        "The data sets scored beside the row's own, as JSON text: role, name and fingerprint of each; null if none.",
    ),
    ("smoke", "b", "Whether the data only prove that the software runs: no ground for choosing a backbone."),
    ("data_overlap", "s", "How the pretraining data contain test pictures; empty if no overlap is known."),
    ("protocol", "s", "How the backbone is used (`finetune`, `linear`, `knn`, ...)."),
    (
        "plugin_code",
        "s",
        "Digest of the plug-in code that the number follows from, beside the backbone's; null for none.",
    ),
    ("protocol_params", "s", "The protocol's parameters, defaults included, as JSON text."),
    ("seed", "i", "Seed of the job."),
    ("budget", "s", "What the job may spend: pictures, pictures seen, trials."),
    ("resolution", "s", "`fixed` (one input size for every backbone) or `native` (the model's own)."),
    ("image_size", "i", "Side of the square input in pixels; in dense tasks the short side asked for."),
    ("interpolation", "s", "Interpolation of the resize at evaluation."),
    ("crop_pct", "f", "Side of the centre crop over the resized short side at evaluation, a fraction."),
    ("pooling", "s", "How the feature map becomes one vector (`avg`, `token`, ...)."),
    ("requested_precision", "s", "Precision that was asked for (`auto`, `fp32`, ...)."),
    ("precision", "s", "Precision that was used (`fp32`, `bf16`, `fp16`)."),
    ("weights_sha256", "s", "SHA-256 of the source checkpoint; `random` or `missing` where there is none."),
    (
        "weights_source",
        "s",
        "Where the weights came from: `dir`, `hub cache`, `package`, `hub`, `user` or `code`; null for controls.",
    ),
)

OUTCOME = columns(
    "outcome",
    ("status", "s", "`ok`, `failed`, `skipped`, `timeout` or `oom`."),
    ("error", "s", "The error in one line: class and message; null if there was none."),
    ("error_class", "s", "Class of the error."),
    ("error_message", "s", "Message of the error, with the next step where one is known."),
    ("log_path", "s", "Log of the attempt, relative to the results folder."),
    ("metric", "s", "Name of the primary metric, which `score` holds."),
    ("score", "f", "The primary metric, in [0, 1], higher is better."),
    ("score_low", "f", "Lower end of the 95 % interval, by test samples, of the score over all pictures like these."),
    ("score_high", "f", "Upper end of the 95 % interval, by test samples, of the score over all pictures like these."),
    ("nonfinite", "s", "Names of the columns whose value was not a finite number and is null here, with commas."),
)

METRICS = columns(
    "metric",
    ("top1", "f", "Share of test pictures whose first guess is right, in [0, 1]."),
    ("top5", "f", "Share of test pictures with the right class among the first five guesses, in [0, 1]."),
    ("macro_f1", "f", "Mean over classes of the F1 score, in [0, 1]; `multilabel`: at val's threshold."),
    (
        "nll",
        "f",
        "Mean negative log-likelihood of the right class, `multilabel`: of what each class is in each picture, in "
        "nats; lower is better.",
    ),
    (
        "ece",
        "f",
        "Expected calibration error over 15 bins of confidence in the first guess, `multilabel`: that each class is "
        "there, in [0, 1]; lower is better.",
    ),
    ("adaptive_ece", "f", "Calibration error over 15 bins of equally many pictures, in [0, 1]; lower is better."),
    (
        "brier",
        "f",
        "Squared error of the probabilities, summed over the classes, in [0, 2], `multilabel`: mean over classes and "
        "pictures, in [0, 1]; lower is better.",
    ),
    (
        "temperature",
        "f",
        "Temperature of least NLL on val, by which the logits are divided for the columns that end in `_scaled`.",
    ),
    ("nll_scaled", "f", "`nll` after temperature scaling; null without a val split."),
    ("ece_scaled", "f", "`ece` after temperature scaling; null without a val split."),
    ("adaptive_ece_scaled", "f", "`adaptive_ece` after temperature scaling; null without a val split."),
    ("brier_scaled", "f", "`brier` after temperature scaling; null without a val split."),
    ("multilabel_map", "f", "Mean over classes of the average precision of ranking the pictures, in [0, 1]."),
    ("map_voc07", "f", "The same with VOC 2007's 11-point average precision, in [0, 1]."),
    ("micro_f1", "f", "F1 score of all classes in all pictures together, at val's threshold, in [0, 1]."),
    ("box_ap", "f", "COCO AP of boxes, IoU .50:.95, in [0, 1]; LVIS' federated AP on data in its format."),
    ("box_ap50", "f", "COCO AP of boxes at IoU .50, in [0, 1]."),
    ("box_ap75", "f", "COCO AP of boxes at IoU .75, in [0, 1]."),
    ("box_ap_small", "f", "COCO AP of boxes of objects under 32 x 32 pixels, in [0, 1]; null if there are none."),
    ("box_ap_medium", "f", "COCO AP of boxes of objects of 32 x 32 to 96 x 96 pixels, in [0, 1]; null if none."),
    ("box_ap_large", "f", "COCO AP of boxes of larger objects, in [0, 1]; null if there are none."),
    ("box_ap_rare", "f", "LVIS AP of boxes of classes that are rare in train, in [0, 1]; null but for LVIS."),
    ("box_ap_common", "f", "LVIS AP of boxes of classes that are common in train, in [0, 1]; null but for LVIS."),
    ("box_ap_frequent", "f", "LVIS AP of boxes of classes that are frequent in train, in [0, 1]; null but for LVIS."),
    ("box_ar1", "f", "COCO average recall of boxes with one detection per picture, in [0, 1]."),
    ("box_ar10", "f", "COCO average recall of boxes with 10 detections per picture, in [0, 1]."),
    ("box_ar100", "f", "COCO average recall of boxes with 100 detections per picture, in [0, 1]."),
    ("box_ar_small", "f", "COCO average recall of boxes of small objects, in [0, 1]; null if there are none."),
    ("box_ar_medium", "f", "COCO average recall of boxes of medium objects, in [0, 1]; null if there are none."),
    ("box_ar_large", "f", "COCO average recall of boxes of large objects, in [0, 1]; null if there are none."),
    ("mask_ap", "f", "COCO AP of masks, IoU .50:.95, in [0, 1]; LVIS' federated AP on data in its format."),
    ("mask_ap50", "f", "COCO AP of masks at IoU .50, in [0, 1]."),
    ("mask_ap75", "f", "COCO AP of masks at IoU .75, in [0, 1]."),
    ("mask_ap_small", "f", "COCO AP of masks of objects under 32 x 32 pixels, in [0, 1]; null if there are none."),
    ("mask_ap_medium", "f", "COCO AP of masks of objects of 32 x 32 to 96 x 96 pixels, in [0, 1]; null if none."),
    ("mask_ap_large", "f", "COCO AP of masks of larger objects, in [0, 1]; null if there are none."),
    ("mask_ap_rare", "f", "LVIS AP of masks of classes that are rare in train, in [0, 1]; null but for LVIS."),
    ("mask_ap_common", "f", "LVIS AP of masks of classes that are common in train, in [0, 1]; null but for LVIS."),
    ("mask_ap_frequent", "f", "LVIS AP of masks of classes that are frequent in train, in [0, 1]; null but for LVIS."),
    ("mask_ar1", "f", "COCO average recall of masks with one detection per picture, in [0, 1]."),
    ("mask_ar10", "f", "COCO average recall of masks with 10 detections per picture, in [0, 1]."),
    ("mask_ar100", "f", "COCO average recall of masks with 100 detections per picture, in [0, 1]."),
    ("mask_ar_small", "f", "COCO average recall of masks of small objects, in [0, 1]; null if there are none."),
    ("mask_ar_medium", "f", "COCO average recall of masks of medium objects, in [0, 1]; null if there are none."),
    ("mask_ar_large", "f", "COCO average recall of masks of large objects, in [0, 1]; null if there are none."),
    ("miou", "f", "Mean over classes of the intersection over union, in [0, 1]."),
    ("pixel_accuracy", "f", "Share of labelled pixels that are right, in [0, 1]."),
    (
        "mean_accuracy",
        "f",
        "Segmentation: mean over classes of the share of their pixels that are right. Generalization: mean over shifts "
        "of the share of their test pictures that are right, all corruptions together being one shift. In [0, 1].",
    ),
    (
        "per_class",
        "s",
        "The primary metric (AP or IoU) of each class by name, as JSON text; null for a class without truth (IoU: in "
        "neither truth nor prediction; `multilabel`: or one that no picture is known to lack).",
    ),
    (
        "auroc",
        "f",
        "Probability that an in-distribution picture scores above an out-of-distribution one, mean over the sets, in "
        "[0, 1].",
    ),
    ("auroc_near", "f", "`auroc` over the sets that are near, in [0, 1]; null if there are none."),
    ("auroc_far", "f", "`auroc` over the sets that are far, in [0, 1]; null if there are none."),
    ("aupr_in", "f", "Area under the precision-recall curve, in-distribution positive, mean over sets, in [0, 1]."),
    (
        "aupr_out",
        "f",
        "Area under the precision-recall curve, out-of-distribution positive, mean over sets: [0, 1].",
    ),
    (
        "fpr95",
        "f",
        "Share of in-distribution pictures taken for others where 95 % of the out-of-distribution ones are found, mean "
        "over sets, in [0, 1]; lower is better.",
    ),
    *(
        (f"auroc_{name}", "f", f"`auroc` of {OOD_SCORES.get(name).doc}, in [0, 1].")
        for name in OOD_SCORES.built_in()
        if name != ODIN
    ),
    (f"auroc_{ODIN}", "f", "`auroc` of ODIN, in [0, 1]; null where the job did not ask for it."),
    (
        "per_set",
        "s",
        "For each score and out-of-distribution set `auroc`, `aupr_in`, `aupr_out`, `fpr95` and the pictures `n`, as "
        "JSON text.",
    ),
    (
        "source_top1",
        "f",
        "Share of the own, untouched test pictures whose first guess is right, beside shifts, in [0, 1].",
    ),
    ("shift_accuracy", "f", "Mean over shifted data sets of the share that is right, in [0, 1]; null without any."),
    (
        "corruption_accuracy",
        "f",
        "Mean over corruptions and severities of the share that is right, in [0, 1]; null without any.",
    ),
    (
        "relative_drop",
        "f",
        "Share of the score on the own test pictures that is lost on average over shifts; below 0 for a gain, null "
        "where there was nothing to lose.",
    ),
    ("mce", "f", "Mean over corruptions and severities of the top-1 error, in [0, 1]; lower is better; null without."),
    (
        "mce_alexnet",
        "f",
        "Mean over the 15 benchmark corruptions of the error as a multiple of AlexNet's; lower is better; null unless "
        "all were scored at severities 1 to 5 on ImageNet's 1,000 classes.",
    ),
    ("mean_box_ap", "f", "Mean over shifted data sets of COCO AP of boxes, in [0, 1]."),
    ("source_box_ap", "f", "COCO AP of boxes on the own test pictures, beside shifts, in [0, 1]."),
    (
        "per_shift",
        "s",
        "The score on each of `shifts`, the accuracy under each of `corruptions` by severity, and by `severity` over "
        "all of them, as JSON text.",
    ),
    (
        "robust_accuracy",
        "f",
        "Share of test pictures right without an attack and after each attack of the job, in [0, 1].",
    ),
    ("clean_top1", "f", "Share of test pictures right without an attack, in the attacks' precision, in [0, 1]."),
    ("robust_fgsm_linf", "f", "Share still right after FGSM under L-inf, in [0, 1]; null where it was not run."),
    ("robust_fgsm_l2", "f", "Share still right after FGSM under L2, in [0, 1]; null where it was not run."),
    ("robust_pgd_linf", "f", "Share still right after PGD under L-inf, in [0, 1]; null where it was not run."),
    ("robust_pgd_l2", "f", "Share still right after PGD under L2, in [0, 1]; null where it was not run."),
    ("robust_autoattack_linf", "f", "Share still right after AutoAttack under L-inf, in [0, 1]; null if not run."),
    ("robust_autoattack_l2", "f", "Share still right after AutoAttack under L2, in [0, 1]; null if not run."),
    (
        "per_attack",
        "s",
        "Each attack's `accuracy` and settings (`eps` and `step_size` in 1/255 of the pixel range), as JSON text.",
    ),
    ("map", "f", "Mean average precision of retrieval, in [0, 1]; with given queries, of medium difficulty."),
    ("mrr", "f", "Mean reciprocal place of a query's first right picture, in [0, 1]."),
    ("recall_at_1", "f", "Share of queries whose nearest neighbour is right, in [0, 1]."),
    ("recall_at_5", "f", "Share of queries with a right picture among the 5 nearest, in [0, 1]."),
    ("recall_at_10", "f", "Share of queries with a right picture among the 10 nearest, in [0, 1]."),
    ("precision_at_1", "f", "Share of right pictures among the nearest one, mean over queries, in [0, 1]."),
    ("precision_at_5", "f", "Share of right pictures among the 5 nearest, mean over queries, in [0, 1]."),
    ("precision_at_10", "f", "Share of right pictures among the 10 nearest, mean over queries, in [0, 1]."),
    ("map_easy", "f", "`map` where only easy pictures are to be found, in [0, 1]; null without given queries."),
    ("map_medium", "f", "`map` where easy and hard pictures are, in [0, 1]; null without given queries."),
    ("map_hard", "f", "`map` where only hard pictures are, in [0, 1]; null without given queries."),
)

PROVENANCE = columns(
    "provenance",
    ("started_at", "s", "Start of the attempt, UTC, ISO 8601."),
    ("finished_at", "s", "End of the attempt, UTC, ISO 8601."),
    ("host", "s", "Host name."),
    ("device", "s", "Device the job ran on: `cpu` or `cuda:0`."),
    ("hardware_class", "s", "Processor and cores, or the GPU's name: times are comparable within a class."),
    ("threads", "i", "CPU threads the job had; of several processes each."),
    ("processes", "i", "Processes that the job ran in, which share its training and its evaluation."),
    ("python_version", "s", "Version of Python."),
    ("torch_version", "s", "Version of torch."),
    ("timm_version", "s", "Version of timm."),
    ("bob_version", "s", "Version of BoB."),
    ("git_commit", "s", "Commit of the BoB checkout; null outside one."),
    ("git_dirty", "b", "Whether the checkout had changes that were not committed."),
    ("submission", "s", "The submission it was run for, a folder below submissions/; null for a local run."),
    ("allocation", "s", "SLURM's number of the allocation it ran in; null outside one."),
    ("code_changed", "b", "Whether the code differed from that at the submission; null for a local run."),
    ("n_train", "i", "Training pictures used."),
    ("images_seen", "i", "Training pictures seen per trial, repeats counted."),
    ("n_val", "i", "Validation pictures used."),
    ("n_test", "i", "Test pictures scored."),
    ("n_classes", "i", "Number of classes."),
    ("n_queries", "i", "Queries of retrieval that are scored: those with something to find."),
    ("n_gallery", "i", "Pictures that retrieval ranks; what is junk for a query counts too."),
    ("queries_without_positives", "i", "Queries that have nothing to find, and count nowhere."),
    (
        "classes_left_out",
        "i",
        "Classes that `multilabel` cannot score: no test picture is known to show them, or none to lack them.",
    ),
    (
        "classes_untrained",
        "i",
        "Classes that `multilabel` scores though the training pictures used are not known both to show and lack them.",
    ),
    ("classes_without_queries", "i", "Classes of a single test picture, which is ranked and asks nothing."),
    ("dropped_annotations", "i", "Boxes or masks left out because they cannot be right; the log says which and why."),
    ("input_height", "i", "Height of a dense task's input in pixels; null for square inputs of `image_size`."),
    ("input_width", "i", "Width of a dense task's input in pixels; null for square inputs of `image_size`."),
    ("contact_sheet", "s", "Test pictures with truth and prediction, a PNG file relative to the results folder."),
    ("dropped_pictures", "i", "Pictures left out because they cannot be decoded, each counted once over all splits."),
    (
        "copies_left_out",
        "i",
        "Pictures left out because they are in two splits or classes, over all splits, and pictures of sets beside "
        "that are in the data set too; null where nobody could look.",
    ),
    ("hparams", "s", "Hyperparameters of the scored model, as JSON text."),
    ("search", "s", "Every setting tried with its validation score, as JSON text."),
    ("grid_edge", "b", "Whether the chosen setting lies on the edge of its grid, so that a wider one might do better."),
    (
        "temperature_on_bound",
        "b",
        "Whether the temperature sits on an end of its range, 0.05 to 20, where val's NLL has no minimum.",
    ),
    ("k_clipped", "b", "Whether k-NN asked for more neighbours than there are training pictures."),
    ("micro_batch", "i", "Pictures per forward pass in training, after memory back-off; of several processes each."),
    ("effective_batch", "i", "Pictures per optimiser step."),
    ("bn_backoff", "b", "Whether the micro-batch of a model with batch norm was shrunk, which changes its training."),
    (
        "output_stride_emulated",
        "b",
        "Whether a head's output stride of 16 was made by upsampling, since the backbone cannot be dilated.",
    ),
    ("resumed_from_step", "i", "Step the attempt went on from; null if it started at the beginning."),
)

COLUMNS: tuple[Column, ...] = IDENTITY + OUTCOME + METRICS + COST + PROVENANCE
BY_NAME: dict[str, Column] = {column.name: column for column in COLUMNS}


def columns_markdown() -> str:
    """Return the table of columns that docs/results.md carries, a section per group."""
    parts = []
    for group in GROUPS:
        lines = [f"| `{c.name}` | {c.dtype} | {c.doc} |" for c in COLUMNS if c.group == group]
        parts.append(
            "\n".join([f"### {group.capitalize()}", "", "| column | type | meaning |", "|---|---|---|", *lines])
        )
    return "\n\n".join(parts) + "\n"
