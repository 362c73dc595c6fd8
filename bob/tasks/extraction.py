"""The features artifact: one pass of a frozen backbone over each split."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from bob.backbones.loader import BackboneModel, estimate_batch_norm
from bob.data.spec import SPLITS
from bob.errors import NumericalError
from bob.probes.features import features_file, write_labels, write_meta
from bob.tasks.setup import Setup
from bob.training.inference import Forward
from bob.training.memory import PeakMemory

log = logging.getLogger(__name__)


def write_features(setup: Setup, folder: Path) -> None:
    """Write the pooled features of train, val and test, their labels, ids and circumstances to ``folder``.

    A random control with batch norm first has its statistics estimated on train: with the initial ones (mean 0,
    variance 1) its features would say more about the missing statistics than about the architecture.

    Raises:
        NumericalError: A feature is NaN or infinite; the message names the picture.
        OutOfMemoryError: Memory ran out with one picture at a time.
        DataError: A split cannot be read.
    """
    model = setup.model()
    peak = PeakMemory(setup.device)
    estimated = setup.backbone.is_control and model.has_batch_norm
    if estimated:
        _estimate_statistics(setup, model)
    forward = Forward(model, device=setup.device, precision=setup.precision)
    facts = {split: _write_split(setup, forward, folder, split, model.width) for split in SPLITS}
    seconds = sum(fact["seconds"] for fact in facts.values())
    pictures = sum(fact["pictures"] for fact in facts.values())
    write_meta(
        folder,
        facts["train"]["classes"],
        {
            "width": model.width,
            "pooling": model.pooling,
            "precision": setup.precision,
            "device": str(setup.device),
            "threads": setup.context.threads,
            "batch_norm_estimated": estimated,
            "dropped": len(set().union(*(fact["dropped"] for fact in facts.values()))),
            "pictures_per_s": pictures / seconds,
            "seconds": seconds,
            "infer_peak_mb": peak.mb(),
            "largest_part": forward.part,
        },
    )


def _estimate_statistics(setup: Setup, model: BackboneModel) -> None:
    model.to(setup.device)
    with setup.batches(setup.pictures("train")) as batches:
        # Training batches, since their order is shuffled: pictures lie sorted by class.
        estimate_batch_norm(model, (images for images, _ in batches.batches(0)))


def _write_split(setup: Setup, forward: Forward, folder: Path, split: str, width: int) -> dict[str, Any]:
    started = time.perf_counter()
    pictures = setup.pictures(split)
    rows = features_file(folder, split, count=len(pictures), width=width)
    with setup.batches(pictures) as batches:
        for indices, features in setup.outputs(forward, batches, phase=f"features of {split}"):
            _check(features, indices, pictures.ids)
            rows[indices] = features
    rows.flush()
    write_labels(folder, split, pictures.labels, pictures.ids)
    seconds = time.perf_counter() - started
    log.info("Features of %d %s pictures in %.1f s.", len(pictures), split, seconds)
    return {
        "seconds": seconds,
        "pictures": len(pictures),
        "dropped": pictures.dropped,
        "classes": pictures.classes,
    }


def _check(features: np.ndarray, indices: np.ndarray, ids: tuple[str, ...]) -> None:
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        name = ids[int(indices[broken.argmax()])]
        raise NumericalError(f"the features of picture {name!r} are not finite.", hint="Try precision fp32.")
