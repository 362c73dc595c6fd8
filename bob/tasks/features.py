"""The features artifact: one pass of a frozen backbone over the splits of a data set, or over corruptions of test.

What a stopped attempt computed is kept, and the next one goes on from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bob.backbones.loader import BackboneModel
from bob.core.errors import NumericalError
from bob.core.machine import device_name
from bob.core.version import __version__
from bob.data.loading import Change, PictureBatches
from bob.data.pictures import Pictures
from bob.jobs.context import JobStopped
from bob.jobs.job import Need
from bob.probes.feature_files import features_file, write_labels, write_meta
from bob.tasks.setup import EVALUATION_BATCH, Setup
from bob.tasks.unfinished_features import Unfinished
from bob.training.inference import Forward
from bob.training.memory_backoff import PeakMemory

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
    unfinished = Unfinished(
        setup.context.work_dir / need.key, _circumstances(setup, need, model), batch=EVALUATION_BATCH
    )
    writer = _Writer(setup, forward, peak, unfinished)
    facts = {
        split: fact
        for pictures, changes in _sources(setup, need)
        for split, fact in writer.write(folder, pictures, changes, width=model.width)
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
            "infer_peak_mb": writer.peak_mb,
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


def _circumstances(setup: Setup, need: Need, model: BackboneModel) -> dict[str, Any]:
    """Return what decides about the bits of the features: attempts that differ in it cannot share an artifact."""
    threads = setup.context.threads
    return {
        "need": need.key,
        "device": device_name(str(setup.device), threads),
        "threads": threads,
        "precision": setup.precision,
        "batch": EVALUATION_BATCH,
        "width": model.width,
        "torch": torch.__version__,
        "bob": __version__,
    }


class _Writer:
    """Writes splits, going on from what an earlier attempt did of them, and keeping what this one does."""

    def __init__(self, setup: Setup, forward: Forward, peak: PeakMemory, unfinished: Unfinished) -> None:
        self._setup = setup
        self._forward = forward
        self._peak = peak
        self._unfinished = unfinished
        self._before_mb = unfinished.extra.get("peak_mb", 0.0)
        forward.part = unfinished.extra.get("part")

    @property
    def peak_mb(self) -> float:
        """The peak memory of all attempts, in MB (10^6 bytes)."""
        return max(self._before_mb, self._peak.mb())

    def write(
        self, folder: Path, pictures: Pictures, changes: dict[str, Change | None], *, width: int
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Write one split per change and yield its name with what is to be known of it."""
        real = [change for change in changes.values() if change is not None]
        with self._setup.batches(pictures, changes=real) as batches:
            for split, change in changes.items():
                rows = features_file(folder, split, count=len(pictures), width=width)
                seconds = self._fill(split, rows, batches, None if change is None else real.index(change))
                rows.flush()
                write_labels(folder, split, pictures)
                log.info("Features of %d %s pictures in %.1f s.", len(pictures), split, seconds)
                about = {"pictures": len(pictures), "dropped": pictures.dropped, "classes": pictures.classes}
                yield split, {"seconds": seconds, **about}

    def _fill(self, split: str, rows: np.ndarray, batches: PictureBatches, change: int | None) -> float:
        """Fill in the rows of a split; return the seconds that took, in all attempts."""
        before = self._unfinished.restore(split, rows)
        started, done = time.perf_counter(), before.rows

        def note() -> float:
            seconds = before.seconds + time.perf_counter() - started
            self._unfinished.extra = {"part": self._forward.part, "peak_mb": self.peak_mb}
            self._unfinished.advance(split, rows, done=done, seconds=seconds)
            return seconds

        phase = f"features of {split}"
        outputs = self._setup.outputs(self._forward, batches, phase=phase, change=change, start=done)
        try:
            for indices, features in outputs:
                _check(features, indices, batches.pictures.ids)
                rows[indices] = features
                done = int(indices[-1]) + 1
                note()
        except JobStopped:
            note()
            self._unfinished.save()
            raise
        return note()


def _check(features: np.ndarray, indices: np.ndarray, ids: tuple[str, ...]) -> None:
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        name = ids[int(indices[broken.argmax()])]
        raise NumericalError(f"the features of picture {name!r} are not finite.", hint="Try precision fp32.")
