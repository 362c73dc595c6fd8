"""The features artifact: one pass of a frozen backbone over the splits of a data set, or over corruptions of test."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bob.backbones.loader import BackboneModel
from bob.data.loading import Change
from bob.data.pictures import Pictures
from bob.errors import NumericalError
from bob.job import Need
from bob.probes.features import features_file, write_labels, write_meta
from bob.tasks.setup import Setup
from bob.training.inference import Forward
from bob.training.memory import PeakMemory

log = logging.getLogger(__name__)


def write_features(setup: Setup, need: Need, folder: Path) -> None:
    """Write pooled features, labels, ids and circumstances to ``folder``.

    A random control with batch norm first has its statistics estimated on train of the job's own data set (see
    ``Setup.estimate_statistics`` where there is none): with the initial ones (mean 0, variance 1) its features would
    say more about the missing statistics than about the architecture.

    Args:
        setup: Of a job that needs them.
        need: Which pictures: all splits that the job's data set has, test of another, or test under corruptions.
        folder: Where to write.

    Raises:
        NumericalError: A feature is NaN or infinite; the message names the picture.
        OutOfMemoryError: Memory ran out with one picture at a time.
        DataError: A split cannot be read.
    """
    model = setup.model()
    peak = PeakMemory(setup.device)
    estimated = setup.estimate_statistics(model)
    forward = Forward(model, device=setup.device, precision=setup.precision)
    facts = {
        split: fact
        for pictures, changes in _sources(setup, need)
        for split, fact in _write(setup, forward, folder, pictures, changes, model)
    }
    seconds = sum(fact["seconds"] for fact in facts.values())
    pictures = sum(fact["pictures"] for fact in facts.values())
    write_meta(
        folder,
        next(iter(facts.values()))["classes"],
        {
            "splits": list(facts),
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


def _sources(setup: Setup, need: Need) -> Iterator[tuple[Pictures, dict[str, Change | None]]]:
    """Yield the pictures to go over, and by split name what their views go through."""
    content = dict(need.content)
    if "corruptions" in content:
        test = setup.pictures("test")
        yield test, setup.corruptions(test, *content["corruptions"][:2])
    elif content["dataset"] == setup.job.dataset_fingerprint and "splits" not in content:
        for split in setup.splits:
            yield setup.pictures(split), {split: None}
    else:
        other = next(other for other in setup.job.others if other.fingerprint == content["dataset"])
        yield setup.other_pictures(other), {"test": None}


def _write(
    setup: Setup,
    forward: Forward,
    folder: Path,
    pictures: Pictures,
    changes: dict[str, Change | None],
    model: BackboneModel,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Write one split per change and yield its name with what is to be known of it."""
    real = [change for change in changes.values() if change is not None]
    with setup.batches(pictures, changes=real) as batches:
        for split, change in changes.items():
            started = time.perf_counter()
            rows = features_file(folder, split, count=len(pictures), width=model.width)
            number = None if change is None else real.index(change)
            for indices, features in setup.outputs(forward, batches, phase=f"features of {split}", change=number):
                _check(features, indices, pictures.ids)
                rows[indices] = features
            rows.flush()
            write_labels(folder, split, pictures)
            seconds = time.perf_counter() - started
            log.info("Features of %d %s pictures in %.1f s.", len(pictures), split, seconds)
            yield (
                split,
                {
                    "seconds": seconds,
                    "pictures": len(pictures),
                    "dropped": pictures.dropped,
                    "classes": pictures.classes,
                },
            )


def _check(features: np.ndarray, indices: np.ndarray, ids: tuple[str, ...]) -> None:
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        name = ids[int(indices[broken.argmax()])]
        raise NumericalError(f"the features of picture {name!r} are not finite.", hint="Try precision fp32.")
