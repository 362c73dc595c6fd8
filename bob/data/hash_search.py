"""Pairs of 64-bit hashes that differ in few bits, without comparing each with each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BITS = 64
PREFIX_BITS = 12  # in common at some place: two hashes that have none of 8 overlapping stretches in common are not met
TURN_BITS = 8
MOST_BITS_APART = 12
WINDOW = 512  # neighbours that a hash is compared with at each place: what bounds the time where all look alike
PAIRS_EACH = 2  # close pairs a hash, on average over all, that are looked for at one place: what bounds the memory
PAIRS_ANYWAY = 5_000_000  # of fewer hashes
_BITS_SET = np.array([value.bit_count() for value in range(1 << 16)], dtype=np.uint8)


def close_pairs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs of hashes that differ in at most 12 bits, int32 (p, 2), each once, the lower place first.

    The hashes are sorted eight times, each time by another stretch of 12 bits, and each is compared with those that
    have the stretch in common. Of n hashes that takes time in proportion to n as long as at most ``WINDOW`` have one;
    where more have, or close pairs are many, the search ends early and says for which hashes.

    Args:
        hashes: uint64 (n,).

    Returns:
        The pairs; and bool (n,): which hashes had more neighbours at some place than were compared.
    """
    found: list[np.ndarray] = [np.empty((0, 2), dtype=np.int32)]
    is_crowded = np.zeros(len(hashes), dtype=bool)
    for turn in range(0, BITS, TURN_BITS):
        turned = _turned(hashes, turn)
        order = np.argsort(turned, kind="stable")
        found += list(_neighbours(turned[order], order, is_crowded))
    pairs = np.concatenate(found)
    pairs.sort(axis=1)
    return np.unique(pairs, axis=0), is_crowded


def _turned(hashes: np.ndarray, bits: int) -> np.ndarray:
    if not bits:
        return hashes
    return (hashes << np.uint64(bits)) | (hashes >> np.uint64(BITS - bits))


def _neighbours(ordered: np.ndarray, order: np.ndarray, is_crowded: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the close pairs among sorted hashes that have their first 12 bits in common."""
    prefix = ordered >> np.uint64(BITS - PREFIX_BITS)
    open_places, left = np.arange(len(ordered)), max(PAIRS_EACH * len(ordered), PAIRS_ANYWAY)
    for step in range(1, WINDOW + 1):
        open_places = open_places[open_places + step < len(ordered)]
        open_places = open_places[prefix[open_places] == prefix[open_places + step]]
        if not len(open_places):
            return
        apart = bits_apart(ordered[open_places], ordered[open_places + step])
        close = open_places[apart <= MOST_BITS_APART]
        yield np.stack([order[close], order[close + step]], axis=1).astype(np.int32)
        left -= len(close)
        if left < 0:
            break
    is_crowded[order[open_places]] = True


def bits_apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return in how many bits two arrays of uint64 (n,) differ, one by one: int (n,)."""
    parts = np.ascontiguousarray(first ^ second).view(np.uint16).reshape(-1, 4)
    return _BITS_SET[parts].sum(axis=1, dtype=np.int64)
