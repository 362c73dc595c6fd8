"""Pictures that show the same, though their bytes differ: another size, another compression, a margin cut off.

Candidates come from a 64-bit hash of each picture's coarse content (the signs of its lowest cosine frequencies against
their median, known as pHash); grey thumbnails confirm them. A hash may err in both directions: nothing is left out for
it, a person looks at what is found.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from bob.core.files import replacing
from bob.core.lease import holding
from bob.data.dataset import DatasetSpec
from bob.data.decode import BROKEN_PICTURE, refuse_bomb, to_rgb
from bob.data.hash_search import close_pairs
from bob.data.readers.base import Samples
from bob.data.splits import arrange
from bob.data.stored import open_stored

log = logging.getLogger(__name__)

Report = Callable[[int, int], None]

THUMBNAIL_VERSION = 1
SIDE = 32  # of a thumbnail, in pixels
SIMILAR = 0.98  # least correlation of two thumbnails' grey values
FLAT = 2.0  # least standard deviation of a thumbnail's grey values, of 255: below, a picture shows nothing to compare
WORTH_ZOOMING = 0.6  # least correlation of pictures that may be the same but for their margins
HASHED_ZOOMS = (1.0, 0.96, 0.92)  # share of each side that is left: hashes of crops in between are close enough
ZOOMS = (0.98, 0.96, 0.94, 0.92, 0.9)
BITS = 64
CHUNK = 4096
STEP = 256  # pictures between two reports


@dataclass(frozen=True, kw_only=True)
class NearCopy:
    """Two pictures that show the same.

    Attributes:
        ids: Of both.
        splits: "train", "val" or "test" of each.
        classes: The class of each; None where pictures have none.
        similarity: Correlation of the grey values of their thumbnails, ``SIMILAR`` to 1.
    """

    ids: tuple[str, str]
    splits: tuple[str, str]
    classes: tuple[str, str] | None
    similarity: float


@dataclass(frozen=True, kw_only=True)
class NearCopies:
    """What was found among the pictures of a data set.

    Attributes:
        pairs: By similarity, greatest first. Of n pictures with one thumbnail there are n - 1 pairs, with the first.
        pictures: How many there are.
        unread: How many of them cannot be read.
        flat: How many are of one shade, and were not compared.
        crowded: How many have so many look-alikes by their hash that not all were compared.
    """

    pairs: tuple[NearCopy, ...]
    pictures: int
    unread: int
    flat: int
    crowded: int


def near_copies(spec: DatasetSpec, cache_dir: Path, progress: Report = lambda done, total: None) -> NearCopies:
    """Find pictures of a data set that show the same, in all splits, copies in every byte among them.

    Each picture is decoded once, in threads; the thumbnails are kept by fingerprint (1 KiB a picture).

    Args:
        spec: The data set; pictures that are left out as copies are looked at too.
        cache_dir: Where thumbnails are kept.
        progress: Called with the pictures decoded and their number.

    Raises:
        DataError: The data set changed since it was resolved.
    """
    spec = spec.as_stored()
    stored = open_stored(spec, cache_dir=cache_dir)
    parts = arrange({name: (samples.ids, samples.labels) for name, samples in stored.items()})
    places = [(split, stored[name], index) for split, (name, indices) in parts.items() for index in indices.tolist()]
    thumbnails, is_read = _thumbnails(spec, [place[1:] for place in places], cache_dir, progress)
    has_shape = np.fromiter(_spreads(thumbnails), dtype=np.float32, count=len(thumbnails)) >= FLAT
    used = np.flatnonzero(is_read & has_shape)
    pairs, crowded = similar_pairs(thumbnails, used)
    names = spec.classes if "label" in spec.annotations else None

    def described(first: int, second: int, similarity: float) -> NearCopy:
        both = [places[first], places[second]]
        return NearCopy(
            ids=(both[0][1].ids[both[0][2]], both[1][1].ids[both[1][2]]),
            splits=(both[0][0], both[1][0]),
            classes=None if names is None else (_class(names, *both[0][1:]), _class(names, *both[1][1:])),
            similarity=similarity,
        )

    return NearCopies(
        pairs=tuple(described(*pair) for pair in sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))),
        pictures=len(places),
        unread=int((~is_read).sum()),
        flat=int((is_read & ~has_shape).sum()),
        crowded=crowded,
    )


def _class(names: tuple[str, ...], samples: Samples, index: int) -> str:
    return names[int(samples.labels[index])]


def similar_pairs(thumbnails: np.ndarray, used: np.ndarray) -> tuple[list[tuple[int, int, float]], int]:
    """Return pairs of similar thumbnails with their correlation, and how many were not compared with all candidates.

    Args:
        thumbnails: uint8 (n, 32, 32).
        used: Which of them to compare, sorted.
    """
    rows = np.ascontiguousarray(thumbnails[used]).reshape(len(used), SIDE * SIDE)
    if not len(used):
        return [], 0
    _, firsts, inverse = np.unique(
        rows.view(np.dtype((np.void, SIDE * SIDE))).ravel(), return_index=True, return_inverse=True
    )
    first_of = firsts[inverse.ravel()]
    found = [(int(used[first]), int(used[place]), 1.0) for place, first in enumerate(first_of) if first != place]
    distinct = np.sort(firsts)
    candidates, crowded = _candidates(rows[distinct])
    for chunk in (candidates[start : start + CHUNK] for start in range(0, len(candidates), CHUNK)):
        left, right = distinct[chunk[:, 0]], distinct[chunk[:, 1]]
        similarity = _similarity(rows[left], rows[right])
        for place in np.flatnonzero(similarity >= SIMILAR):
            pair = sorted((int(used[left[place]]), int(used[right[place]])))
            found.append((pair[0], pair[1], min(float(similarity[place]), 1.0)))
    return found, crowded


def _candidates(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return pairs of rows with close hashes, int32 (p, 2), and how many rows have too many to be compared with all.

    A picture is also looked for as it would be with its margins cut off.
    """
    count = len(rows)
    views = np.concatenate([hashes(_zoomed(rows, zoom)) for zoom in HASHED_ZOOMS])
    pairs, is_crowded = close_pairs(views)
    pairs = pairs[(pairs < count).any(axis=1)] % count
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs.sort(axis=1)
    return np.unique(pairs, axis=0), int(is_crowded.reshape(-1, count).any(axis=0).sum())


def _similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the correlation of grey values, float32 (n,): the best over margins cut off either picture."""
    best = (_normal(first) * _normal(second)).sum(axis=1)
    # Cutting off part of a pixel blurs, so that both are blurred for it.
    blurred = _blurred(first), _blurred(second)
    for zoom in ZOOMS:
        for whole, other in (blurred, blurred[::-1]):
            places = np.flatnonzero((best >= WORTH_ZOOMING) & (best < SIMILAR))
            if len(places):
                cut, kept = _normal(_zoomed(whole[places], zoom)), _normal(other[places])
                best[places] = np.maximum(best[places], (cut * kept).sum(axis=1))
    return best


def _blurred(rows: np.ndarray) -> np.ndarray:
    """Return rows (n, 1024) of thumbnails whose pixels are mixed with their neighbours, float32."""
    taps = np.eye(SIDE) / 2 + np.eye(SIDE, k=1) / 4 + np.eye(SIDE, k=-1) / 4
    taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
    return (taps @ rows.reshape(-1, SIDE, SIDE).astype(np.float32) @ taps.T).reshape(len(rows), SIDE * SIDE)


def _zoomed(rows: np.ndarray, zoom: float) -> np.ndarray:
    """Return rows (n, 1024) of thumbnails without their margins, of which ``zoom`` of each side is left, float32."""
    centres = (np.arange(SIDE) + 0.5 - SIDE / 2) * zoom + SIDE / 2 - 0.5
    low = np.clip(np.floor(centres).astype(int), 0, SIDE - 2)
    take = np.zeros((SIDE, SIDE), dtype=np.float32)
    take[np.arange(SIDE), low] = 1 - (centres - low)
    take[np.arange(SIDE), low + 1] = centres - low
    return (take @ rows.reshape(-1, SIDE, SIDE).astype(np.float32) @ take.T).reshape(len(rows), SIDE * SIDE)


def hashes(thumbnails: np.ndarray) -> np.ndarray:
    """Return the 64-bit hash of each thumbnail: (n, 1024) grey values become uint64 (n,)."""
    places = np.arange(SIDE)
    basis = np.cos(np.pi / SIDE * (places[None, :] + 0.5) * places[:, None]).astype(np.float32)
    order = sorted(((row, column) for row in range(SIDE) for column in range(SIDE)), key=lambda at: (sum(at), at))
    rows, columns = np.array(order[1 : BITS + 1]).T  # the lowest frequencies but the mean
    weights = np.uint64(1) << np.arange(BITS, dtype=np.uint64)
    found = np.empty(len(thumbnails), dtype=np.uint64)
    for start in range(0, len(thumbnails), CHUNK):
        grey = thumbnails[start : start + CHUNK].reshape(-1, SIDE, SIDE).astype(np.float32)
        coarse = (basis @ grey @ basis.T)[:, rows, columns]
        bits = coarse > np.median(coarse, axis=1, keepdims=True)
        found[start : start + CHUNK] = (bits * weights).sum(axis=1, dtype=np.uint64)
    return found


def _normal(rows: np.ndarray) -> np.ndarray:
    """Return rows of grey values with mean 0 and length 1, float32."""
    centred = rows.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    return centred / np.linalg.norm(centred, axis=1, keepdims=True)


def _spreads(thumbnails: np.ndarray) -> Iterator[float]:
    for start in range(0, len(thumbnails), CHUNK):
        yield from thumbnails[start : start + CHUNK].reshape(-1, SIDE * SIDE).std(axis=1)


def _thumbnails(
    spec: DatasetSpec, pictures: list[tuple[Samples, int]], cache_dir: Path, progress: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 (n, 32, 32) and bool (n,): which could be read; kept by fingerprint."""
    name = f"thumbnails-{spec.kind}-{spec.fingerprint[:32]}-{THUMBNAIL_VERSION}"
    path = cache_dir / "datasets" / f"{name}.npz"
    with holding(cache_dir / "leases" / f"{name}.lease"):
        found = _kept(path, len(pictures))
        if found is None:
            found = _decoded(pictures, progress)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, thumbnails=found[0], is_read=found[1])
    progress(len(pictures), len(pictures))
    return found


def _kept(path: Path, count: int) -> tuple[np.ndarray, np.ndarray] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as content:
            thumbnails, is_read = content["thumbnails"], content["is_read"]
        if thumbnails.shape == (count, SIDE, SIDE) and is_read.shape == (count,):
            return thumbnails, is_read
        problem = f"it holds {len(thumbnails)} of {count} pictures"
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        problem = str(error)
    log.warning("The cache file %s is damaged (%s): the pictures are read anew.", path, problem)
    return None


def _decoded(pictures: list[tuple[Samples, int]], progress: Report) -> tuple[np.ndarray, np.ndarray]:
    thumbnails = np.zeros((len(pictures), SIDE, SIDE), dtype=np.uint8)
    is_read = np.zeros(len(pictures), dtype=bool)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
    waiting = iter(enumerate(pictures))
    # Pillow decodes without the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor(threads) as pool:
        while part := list(islice(waiting, STEP)):
            for (place, _), grey in zip(part, pool.map(lambda item: thumbnail(*item[1]), part), strict=True):
                if grey is not None:
                    thumbnails[place], is_read[place] = grey, True
            progress(part[-1][0] + 1, len(pictures))
    return thumbnails, is_read


def thumbnail(samples: Samples, index: int) -> np.ndarray | None:
    """Return a picture's grey thumbnail, uint8 (32, 32), squeezed to a square; None if it cannot be read."""
    try:
        with samples.read(index) as image:
            refuse_bomb(image)
            # A JPEG is decoded at an eighth of its size where that is enough, which takes a third of the time.
            image.draft("L", (SIDE, SIDE))
            return np.asarray(to_rgb(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    except BROKEN_PICTURE:
        return None
