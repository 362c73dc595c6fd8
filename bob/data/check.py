"""Finding bad pictures before training starts, once per state of a data set."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL

from bob.core.files import write_text
from bob.core.lease import holding
from bob.data.dataset import DatasetSpec
from bob.data.decode import BROKEN_PICTURE, formats_read, refuse_bomb, to_rgb
from bob.data.readers.base import Samples
from bob.data.stored import open_stored

log = logging.getLogger(__name__)

CHECK_VERSION = 2  # raised when other pictures count as bad
MAX_THREADS = 16
MACHINE_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EINTR)


def bad_pictures(spec: DatasetSpec, cache_dir: Path) -> dict[str, str]:
    """Return the id and the reason of every picture that cannot be decoded, in all splits.

    Every picture is decoded once, in threads; the answer is kept in ``cache_dir`` by fingerprint.
    """
    bad: dict[str, str] = {}
    fingerprint = spec.as_stored().fingerprint
    for name, samples in open_stored(spec, cache_dir=cache_dir).items():
        everything = np.arange(len(samples.ids))
        bad |= check_samples(samples, everything, fingerprint=fingerprint, stored=name, cache_dir=cache_dir)
    return bad


def check_samples(
    samples: Samples, indices: np.ndarray, *, fingerprint: str, stored: str, cache_dir: Path
) -> dict[str, str]:
    """Return the bad ones among some samples of a stored split; those checked before are not decoded again.

    Args:
        samples: The stored split.
        indices: Which of its samples are asked about.
        fingerprint: The data set's; the answer is kept under it.
        stored: The stored split's name.
        cache_dir: Where answers are kept.
    """
    if samples.trusted:
        return {}
    record = _Record(cache_dir, fingerprint, stored, len(samples.ids))
    if record.unchecked(indices).size:
        with holding(record.lease):
            record.reload()
            todo = record.unchecked(indices)
            record.add(todo, _decode_all(samples, todo))
    asked = set(indices.tolist())
    return {samples.ids[index]: reason for index, reason in record.bad.items() if index in asked}


def _decode_all(samples: Samples, indices: np.ndarray) -> dict[int, str]:
    if not indices.size:
        return {}
    log.info("Checking that %d pictures can be decoded (once per data set).", indices.size)
    # The pictures are decoded in C without the interpreter's lock, so threads are enough.
    threads = min(MAX_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)
    with ThreadPoolExecutor(threads) as pool:
        reasons = pool.map(lambda index: why_bad(samples, index), indices.tolist(), chunksize=16)
        return {index: reason for index, reason in zip(indices.tolist(), reasons, strict=True) if reason}


def why_bad(samples: Samples, index: int) -> str | None:
    """Decode one picture as a job would and return what is wrong with it, or None.

    Raises:
        OSError: The machine's fault, not the picture's (no memory, no file handle left, a disk that fails): the answer
            would be kept, and the picture left out for ever.
    """
    try:
        with samples.read(index) as image:
            refuse_bomb(image)
            # A JPEG's entropy-coded bytes are all read at an eighth of the size too, in a third of the time.
            image.draft("RGB", (1, 1))
            if min(to_rgb(image).size) < 1:
                return "has no pixels"
        if samples.check is not None:
            return samples.check(index)
    except BROKEN_PICTURE as error:
        if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
            raise
        return f"{type(error).__name__}: {error}"
    return None


class _Record:
    """What is known about one stored split: which samples were decoded, and which of them are bad."""

    def __init__(self, cache_dir: Path, fingerprint: str, stored: str, count: int) -> None:
        # Another Pillow may read more, or less.
        extra = "-heif" if "HEIF" in formats_read() else ""
        name = f"checked-{fingerprint[:32]}-{stored}-{CHECK_VERSION}-pillow{PIL.__version__}{extra}"
        self._path = cache_dir / "datasets" / f"{name}.json"
        self.lease = cache_dir / "leases" / f"{name}.lease"
        self._count = count
        self.reload()

    def reload(self) -> None:
        content = self._read()
        packed = np.frombuffer(bytes.fromhex(content.get("checked", "")), dtype=np.uint8)
        known = np.unpackbits(packed, count=self._count) if packed.size else np.zeros(self._count, np.uint8)
        self._checked = known.astype(bool)
        self.bad = {int(index): reason for index, reason in content.get("bad", {}).items()}

    def _read(self) -> dict:
        try:
            return json.loads(self._path.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            log.warning("The cache file %s is damaged (%s): the pictures are checked anew.", self._path, error)
            return {}

    def unchecked(self, indices: np.ndarray) -> np.ndarray:
        return indices[~self._checked[indices]]

    def add(self, indices: np.ndarray, bad: Mapping[int, str]) -> None:
        if not indices.size:
            return
        self._checked[indices] = True
        self.bad.update(bad)
        content = {"checked": np.packbits(self._checked).tobytes().hex(), "bad": self.bad}
        write_text(self._path, json.dumps(content))
