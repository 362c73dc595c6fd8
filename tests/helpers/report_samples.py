"""Rows and outcomes as a small suite would leave them, for the tests of the store and the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bob.core.files import digest
from bob.metrics.reliability_bins import diagram_error

# name, parameters in M, latency in ms, share of right answers, all invented
BACKBONES = (
    ("convnext_tiny.in12k_ft_in1k", 28.6, 41.0, 0.90),
    ("swinv2_tiny_window8_256.ms_in1k", 28.3, 66.0, 0.885),
    ("vit_small_patch14_dinov2.lvd142m", 22.1, 38.0, 0.88),
    ("vit_small_patch16_224.dino", 21.7, 24.0, 0.86),
    ("resnet50.a1_in1k", 23.5, 29.0, 0.84),
    ("tf_efficientnet_lite0.in1k", 3.4, 7.9, 0.80),
    ("mobilenetv3_small_100.lamb_in1k", 1.5, 4.1, 0.72),
    ("tf_efficientnet_lite0.random", 3.4, 7.9, 0.28),
)
REFERENCE = [name for name, *_ in BACKBONES if not name.endswith(".random")]


def sample_row(backbone: str, *, protocol: str = "linear", seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return an ``ok`` row of a classification job."""
    name, params_m, latency, share = next(entry for entry in BACKBONES if entry[0] == backbone)
    row = {
        "suite": "sample",
        "backbone": name,
        "arch": name.partition(".")[0],
        "is_control": name.endswith(".random"),
        "task": "classification",
        "task_version": 1,
        "dataset": "clothing",
        "dataset_fingerprint": "f00d",
        "protocol": protocol,
        "protocol_params": '{"folds": 1}',
        "seed": seed,
        "budget": "train=400 trials=3",
        "resolution": "fixed",
        "image_size": 126 if "patch14" in name else 128,
        "requested_precision": "fp32",
        "precision": "fp32",
        "status": "ok",
        "metric": "top1",
        "score": share,
        "score_low": share - 0.04,
        "score_high": share + 0.03,
        "params_m": params_m,
        "gmacs": params_m / 5,
        "latency_ms_b1_p50": latency,
        "latency_ms_b1_low": latency * 0.98,
        "latency_ms_b1_high": latency * 1.03,
        "latency_ms_b1_p95": latency * 1.2,
        "profile_rounds": 6,
        "profile_within": True,
        "profile_run": "5a1e",
        "profile_taken_at": "2026-01-02T03:00:00Z",
        "layer_kinds": f"of {name.partition('.')[0]}",
        "throughput_img_s": 1800 / latency,
        "throughput_batch": 16,
        "infer_peak_mb_b1": 300 + 10 * params_m,
        "infer_peak_mb_b32": 900 + 10 * params_m,
        "train_peak_mb": 900 + 30 * params_m,
        "train_img_s": 600 / latency,
        "train_step_batch": 32,
        "device_hours": 0.02,
        "device": "2-core CPU",
        "hardware_class": "cpu-2",
        "profile_device": "2-core CPU",
        "profile_threads": 2,
        "profile_precision": "fp32",
        "profile_image_size": 128,
        "finished_at": "2026-01-02T03:04:05+00:00",
        "bob_version": "0.1.0",
        "torch_version": "2.9.0",
        "timm_version": "1.0.22",
        **changes,
    }
    row.setdefault("cell", digest([backbone, row["dataset"], protocol, seed, row["budget"]]))
    row.setdefault("job_id", digest([row["cell"], row["dataset_fingerprint"], row.get("weights_sha256", "w")]))
    return row


def sample_outcomes(share: float, *, samples: int = 372, seed: int = 0) -> dict[str, np.ndarray]:
    """Return 0/1 outcomes whose mean is the nearest possible to ``share``; harder samples fail first, with noise."""
    generator = np.random.default_rng([seed, round(share * 1e6)])
    ease = np.random.default_rng(1).random(samples) + generator.normal(0, 0.25, samples)
    outcome = np.zeros(samples)
    outcome[np.argsort(-ease)[: round(share * samples)]] = 1.0
    return {"sample_id": np.array([f"test/{i:05d}.jpg" for i in range(samples)]), "outcome": outcome}


def sample_confidences(
    share: float, *, sharpness: float, temperature: float, samples: int = 372, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return a classifier's outcomes as the task stores them, about ``share`` of them right.

    Its confidences are right at ``sharpness`` 1; above, it is too sure. Scaled ones are divided by ``temperature``.
    """
    generator = np.random.default_rng([seed, round(share * 1e6)])
    chance = generator.beta(4 * share, 4 * (1 - share), samples)
    outcome = (generator.random(samples) < chance).astype(float)
    found = {"sample_id": np.array([f"test/{i:05d}.jpg" for i in range(samples)]), "outcome": outcome}
    found |= {"label": np.zeros(samples, dtype=np.int64), "prediction": 1 - outcome.astype(np.int64)}
    for name, power in (("confidence", sharpness), ("confidence_scaled", sharpness / temperature)):
        found[name] = chance**power / (chance**power + (1 - chance) ** power)
    return found


def sample_calibrated_results(
    *, seeds: int = 1, **changes: Any
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Yield a row with calibration columns, and its outcomes, for every backbone and seed."""
    for number, (backbone, _, _, share) in enumerate(BACKBONES):
        for seed in range(seeds):
            outcomes = sample_confidences(share, sharpness=2.5, temperature=2.5, seed=seed)
            score = float(outcomes["outcome"].mean())
            metrics = {"top1": score, "nll": 0.9 + number / 100, "nll_scaled": 0.5, "temperature": 2.5 + seed}
            for name in ("confidence", "confidence_scaled"):
                suffix = name.removeprefix("confidence")
                ece = diagram_error(outcomes[name], outcomes["outcome"])
                metrics |= {f"ece{suffix}": ece, f"adaptive_ece{suffix}": ece + 0.01, f"brier{suffix}": 0.3}
            row = sample_row(backbone, seed=seed, score=score, **{**metrics, **changes})
            yield {**row, "score_low": score - 0.035, "score_high": score + 0.03}, outcomes


def sample_results(
    *, protocols: tuple[str, ...] = ("linear",), seeds: int = 1, **changes: Any
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """Yield a row and its outcomes for every backbone, protocol and seed."""
    for protocol in protocols:
        for backbone, _, _, share in BACKBONES:
            for seed in range(seeds):
                outcomes = sample_outcomes(share - 0.03 * protocols.index(protocol), seed=seed)
                score = float(outcomes["outcome"].mean())
                row = sample_row(backbone, protocol=protocol, seed=seed, score=score, **changes)
                yield {**row, "score_low": score - 0.035, "score_high": score + 0.03}, outcomes


def sample_dense_row(backbone: str, *, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return an ``ok`` row of a detection job on an input that is no square."""
    share = next(entry[3] for entry in BACKBONES if entry[0] == backbone) * 0.6
    own = {"task": "detection", "metric": "box_ap", "dataset": "cells", "image_size": None}
    own |= {"input_height": 320, "input_width": 416, "box_ap": share, "box_ap50": share * 1.5, "box_ap75": share * 0.9}
    own |= {"score": share, "score_low": share - 0.05, "score_high": share + 0.04}
    return sample_row(backbone, protocol="finetune", seed=seed, **{**own, **changes})


def sample_dense_outcomes(
    share: float, *, samples: int = 60, seed: int = 0
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return sample ids, and 1,000 scores on resampled test sets that go up and down together for every backbone."""
    shared = np.random.default_rng(7).normal(0, 0.03, 1000)
    own = np.random.default_rng([seed, round(share * 1e6)]).normal(0, 0.006, 1000)
    return {"sample_id": np.array([f"test/{i:05d}.jpg" for i in range(samples)])}, np.clip(share + shared + own, 0, 1)


def sample_shifted_results(
    *, seeds: int = 1, metric: str = "mean_accuracy", **further: float
) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray], np.ndarray]]:
    """Yield a row, its outcomes and its replicates for every backbone and seed of a task scored beside its own data.

    ``further``: columns of every row, as shares of the score.
    """
    task = {"mean_accuracy": "ood_generalization", "auroc": "ood_detection", "robust_accuracy": "adversarial"}
    own = {"task": task.get(metric, metric), "metric": metric, "n_test": 372}
    for backbone, _, _, share in BACKBONES:
        for seed in range(seeds):
            score = share * 0.7 + 0.004 * seed
            columns = {name: score * factor for name, factor in further.items()}
            row = sample_row(backbone, seed=seed, score=score, **{**own, **columns, metric: score})
            yield (
                {**row, "score_low": score - 0.05, "score_high": score + 0.04},
                *sample_dense_outcomes(score, seed=seed),
            )


def sample_dense_results(*, seeds: int = 1) -> Iterator[tuple[dict[str, Any], dict[str, np.ndarray], np.ndarray]]:
    """Yield a row, its outcomes and its replicates for every backbone and seed of a detection task."""
    for backbone, _, _, share in BACKBONES:
        for seed in range(seeds):
            score = share * 0.6 + 0.004 * seed
            yield sample_dense_row(backbone, seed=seed, score=score), *sample_dense_outcomes(score, seed=seed)
