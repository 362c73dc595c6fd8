"""What an extraction of features has done so far, kept on disk so that the next attempt goes on from there.

Every maker writes in a folder of its own below ``work_dir/KEY``: two at once (a stalled one and its successor) share no
file. ``SPLIT.rows`` holds the features in order, appended to; ``progress.json`` says how many of them count, and is
replaced only when they are on disk.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bob.core.files import canonical_json, write_text
from bob.training.checkpoint import LEAST_INTERVAL_S, WRITING_SHARE

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
CHUNK_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Done:
    """What is done of one split.

    Attributes:
        rows: Pictures from the first on, a whole number of batches or all.
        seconds: What they took, in all attempts.
        crc: CRC-32 of their features.
    """

    rows: int = 0
    seconds: float = 0.0
    crc: int = 0


class Unfinished:
    """The features that attempts at one artifact have computed.

    Args:
        folder: ``work_dir/KEY``, which whoever asked for the artifact removes when it is whole.
        circumstances: What must be equal (JSON values) for the features of two attempts to make one artifact.
        batch: Pictures per batch: what is kept ends on a border of batches.
        every_s: Least time between two periodic saves; writing takes at most 5 % of the time.

    Attributes:
        extra: JSON values to be kept beside the features: those of the attempt gone on from, for this one to update.
    """

    def __init__(
        self, folder: Path, circumstances: Mapping[str, Any], *, batch: int, every_s: float = LEAST_INTERVAL_S
    ) -> None:
        self.extra: dict[str, Any] = {}
        self._root, self._mine = folder, folder / uuid.uuid4().hex
        self._circumstances = json.loads(canonical_json(circumstances))
        self._batch = batch
        self._every_s = self._interval_s = every_s
        self._last = time.monotonic()
        self._splits: dict[str, Done] = {}
        self._pending: dict[str, tuple[np.ndarray, int, float]] = {}
        self._gives_up = False
        self._found, self._before = self._find()

    def restore(self, split: str, rows: np.ndarray) -> Done:
        """Fill in what earlier attempts computed of a split; return what is done of it.

        Args:
            split: Its name.
            rows: (n, width) float32, to be filled from the first row on.
        """
        done = self._before.get(split, Done())
        if self._found is None or not done.rows:
            return Done()
        on_border = done.rows % self._batch == 0 or done.rows == len(rows)
        if not on_border or not _read(self._found / f"{split}.rows", rows, done):
            log.warning("The features of %s in %s are damaged: the split starts again.", split, self._found)
            return Done()
        log.info("Going on after %d of %d pictures of %s, done before.", done.rows, len(rows), split)
        self._pending[split] = (rows, done.rows, done.seconds)
        return done

    def advance(self, split: str, rows: np.ndarray, *, done: int, seconds: float) -> None:
        """Note that the first ``done`` rows of a split are there and how long they took; save when it is time."""
        self._pending[split] = (rows, done, seconds)
        if time.monotonic() - self._last >= self._interval_s:
            self.save()

    def save(self) -> None:
        """Keep what is there, durably. Where that fails, a warning says so, and the attempt goes on without."""
        started = time.monotonic()
        if self._pending and not self._gives_up:
            try:
                self._append_pending()
            except OSError as error:
                self._gives_up = True
                log.warning("The progress in %s is kept no longer: %s.", self._mine, error)
        if self._gives_up:
            self._pending.clear()
        self._last = time.monotonic()
        self._interval_s = max(self._every_s, (self._last - started) / WRITING_SHARE)

    def _append_pending(self) -> None:
        if not self._splits:
            self._mine.mkdir(parents=True)
        for split, (rows, done, seconds) in self._pending.items():
            before = self._splits.get(split, Done())
            crc = before.crc
            # A successor that took over removes this folder, and opening a file does not bring it back.
            with (self._mine / f"{split}.rows").open("ab") as file:
                for start in range(before.rows, done, CHUNK_ROWS):
                    content = rows[start : min(start + CHUNK_ROWS, done)].tobytes()
                    crc = zlib.crc32(content, crc)
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self._splits[split] = Done(rows=done, seconds=seconds, crc=crc)
        self._pending.clear()
        self._write_progress()

    def _write_progress(self) -> None:
        splits = {name: asdict(done) for name, done in self._splits.items()}
        content = {"circumstances": self._circumstances, "splits": splits, "extra": self.extra}
        write_text(self._mine / PROGRESS, canonical_json(content))
        if self._found is not None and _total(self._splits) >= _total(self._before):
            self._found = None
            for other in set(self._root.iterdir()) - {self._mine}:
                shutil.rmtree(other, ignore_errors=True)

    def _find(self) -> tuple[Path | None, dict[str, Done]]:
        """Return the folder and splits of the attempt that came furthest."""
        best: tuple[Path | None, dict[str, Done]] = (None, {})
        for path in sorted(self._root.glob(f"*/{PROGRESS}")):
            try:
                splits, extra = self._parsed(json.loads(path.read_bytes()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                log.warning("%s cannot be gone on from (%s): its extraction starts again.", path, error)
                continue
            if _total(splits) > _total(best[1]):
                best, self.extra = (path.parent, splits), extra
        return best

    def _parsed(self, content: Any) -> tuple[dict[str, Done], dict[str, Any]]:
        if content["circumstances"] != self._circumstances:
            raise ValueError(f"it was made under {content['circumstances']}, and this is {self._circumstances}")
        splits = {name: Done(**values) for name, values in content["splits"].items()}
        if not all(type(done.rows) is int and done.rows >= 0 and done.seconds >= 0 for done in splits.values()):
            raise ValueError(f"its counts are {splits}")
        return splits, dict(content["extra"])


def _read(path: Path, rows: np.ndarray, done: Done) -> bool:
    """Fill in the first rows; False if the file does not hold them."""
    if done.rows > len(rows) or not path.exists() or path.stat().st_size < done.rows * rows.shape[1] * rows.itemsize:
        return False
    kept = np.memmap(path, dtype=rows.dtype, mode="r", shape=(done.rows, rows.shape[1]))
    if _crc(kept) != done.crc:
        return False
    rows[: done.rows] = kept
    return True


def _crc(rows: np.ndarray) -> int:
    crc = 0
    for start in range(0, len(rows), CHUNK_ROWS):
        crc = zlib.crc32(rows[start : start + CHUNK_ROWS].tobytes(), crc)
    return crc


def _total(splits: Mapping[str, Done]) -> int:
    return sum(done.rows for done in splits.values())
