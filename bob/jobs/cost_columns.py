"""The columns of what a backbone and a job cost."""

from __future__ import annotations

from bob.jobs.column import columns

# What of a profile is measured in time, and is replaced in a row when the profile is taken again.
PROFILE_TIMES = (
    *("latency_ms_b1_p50", "latency_ms_b1_low", "latency_ms_b1_high", "latency_ms_b1_p95"),
    *("throughput_img_s", "throughput_low", "throughput_high", "throughput_batch"),
    *("profile_others_cpu", "profile_rounds", "profile_within", "profile_run", "profile_taken_at", "profile_torch"),
)
# The same for a row whose job trained nothing: else these are the job's own.
PROFILE_TRAINING = ("train_img_s", "train_step_batch")

COST = columns(
    "cost",
    ("params_m", "f", "Parameters without the classifier, in millions."),
    ("gmacs", "f", "Multiply-accumulates of one forward pass of one picture, in 10^9, at `profile_image_size`."),
    ("model_mb", "f", "Size of the parameters and buffers in fp32, in MB (10^6 bytes)."),
    (
        "layer_kinds",
        "s",
        "Kinds of the backbone's layers that have weights: equal for models of other depth and width.",
    ),
    (
        "latency_ms_b1_p50",
        "f",
        "Time of a forward pass at batch 1, in ms: the median over a round's passes, and of that over the rounds.",
    ),
    ("latency_ms_b1_low", "f", "Lower end of the 95 % interval of `latency_ms_b1_p50` over rounds, in ms."),
    ("latency_ms_b1_high", "f", "Upper end of it, in ms."),
    (
        "latency_ms_b1_p95",
        "f",
        "95th percentile of the time of a forward pass at batch 1 within a round, median over rounds, in ms.",
    ),
    ("throughput_img_s", "f", "Pictures per second of forward passes at `throughput_batch`, median over rounds."),
    ("throughput_low", "f", "Lower end of the 95 % interval of `throughput_img_s` over rounds."),
    ("throughput_high", "f", "Upper end of it."),
    ("throughput_batch", "i", "Batch at which the throughput was best, in pictures."),
    ("infer_peak_mb_b1", "f", "Peak memory of inference at batch 1, weights included, in MB."),
    ("infer_peak_mb_b32", "f", "Peak memory of inference at batch 32, weights included, in MB."),
    (
        "train_peak_mb",
        "f",
        "Peak memory of training, weights included, the bare process not, in MB: a fine-tuning job's own on a GPU, at "
        "its micro-batch; else the profile's, at `train_step_batch`.",
    ),
    (
        "train_img_s",
        "f",
        "Training pictures per second: the job's own, or where it trains nothing, the profile's step.",
    ),
    (
        "eval_img_s",
        "f",
        "Test pictures per second of a dense task: decoding, forward pass, boxes or maps of original size.",
    ),
    ("head_params_m", "f", "Parameters of a dense task's neck and head, in millions."),
    ("train_step_batch", "i", "Batch of the training figures, in pictures."),
    ("profile_threads", "i", "CPU threads of the profile."),
    ("profile_device", "s", "Device the profile was measured on."),
    ("profile_precision", "s", "Precision of the profile."),
    (
        "profile_others_cpu",
        "f",
        "Share of the host's CPU time that others took in the busiest round that counts; above 0.1 the times are too "
        "long, no claim rests on them, and the profile is taken again when the host is quiet.",
    ),
    (
        "profile_rounds",
        "i",
        "Rounds that the medians are over: the quiet ones, or all where fewer than six were quiet.",
    ),
    ("profile_within", "b", "Whether both intervals came within 5 % of their medians before the time was over."),
    ("profile_run", "s", "Run that took the profile; the backbones of one run took their rounds in turns."),
    ("profile_taken_at", "s", "When the profile was whole, UTC."),
    ("profile_key", "s", "Address of the profile; one that is taken again replaces the times of every row with it."),
    ("profile_image_size", "i", "Side of the profile's input in pixels."),
    ("profile_torch", "s", "Version of torch the profile was measured with."),
    ("train_s", "f", "Time spent training, in s."),
    (
        "feature_rank",
        "f",
        "Effective rank of the centred features of up to 500 pictures (Roy and Vetterli 2007); 0 if all are alike.",
    ),
    (
        "feature_spread",
        "f",
        "Root mean square distance of features from their mean, as a share of their length, in [0, 1].",
    ),
    ("feature_range", "f", "Largest absolute value of a feature."),
    ("feature_fault", "s", "What is wrong with the features: all the same, or too large for float32; null if nothing."),
    ("features_s", "f", "Time of the feature pass that this job shares with the other probes of its backbone, in s."),
    (
        "wall_s",
        "f",
        "Time from the job's start to its row, its training with it, in s; without shared features and profiles, and "
        "without what a job of another task trained.",
    ),
    ("device_hours", "f", "Wall time on the job's devices (or CPU shares), summed, in hours."),
)
