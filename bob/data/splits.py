"""Which pictures train, choose and test: rules that depend on the data alone, never on a job's seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from bob.core.errors import DataError

SPLIT_VERSION = 1
SPLIT_SEED = 0
TEST_SHARE = 0.2
VAL_SHARE = 0.1
QUERY_SHARE = 0.2
UNDIVIDED = "all"

Listing = tuple[Sequence[str], np.ndarray]
Parts = dict[str, tuple[str, np.ndarray]]


def arrange(stored: Mapping[str, Listing]) -> Parts:
    """Return, for each of train, val and test, the stored split it comes from and the indices into that.

    ``stored`` maps the names a data set has ("train", "val", "test", or "all" if it is undivided) to sample ids and
    int64 labels. Undivided data are split 70/10/20 in each class. Where ``val`` is missing, an eighth of ``train``
    is split off (the same proportion). Where ``test`` is missing, the stored ``val`` serves as test, and a new val is
    split off ``train``. Data without training pictures keep only what they have.

    Raises:
        DataError: There is no picture at all.
    """
    names = {name for name, (ids, _) in stored.items() if len(ids)}
    if not names:
        raise DataError("the data set holds no picture.")
    if UNDIVIDED in names or names == {"train"}:
        return _divide(stored, UNDIVIDED if UNDIVIDED in names else "train")
    if "test" not in names:
        held_out: Parts = {"test": _whole(stored, "val")}
    else:
        held_out = {name: _whole(stored, name) for name in ("val", "test") if name in names}
    if "train" not in names:
        return held_out
    if "val" in held_out:
        return {"train": _whole(stored, "train"), **held_out}
    return {**_split_off_val(stored), **held_out}


def _whole(stored: Mapping[str, Listing], name: str) -> tuple[str, np.ndarray]:
    return name, np.arange(len(stored[name][0]))


def _divide(stored: Mapping[str, Listing], name: str) -> Parts:
    ids, labels = stored[name]
    rest, test = _take_share(ids, labels, np.arange(len(ids)), TEST_SHARE)
    train, val = _take_share(ids, labels, rest, VAL_SHARE / (1 - TEST_SHARE))
    return {"train": (name, train), "val": (name, val), "test": (name, test)}


def _split_off_val(stored: Mapping[str, Listing]) -> Parts:
    ids, labels = stored["train"]
    train, val = _take_share(ids, labels, np.arange(len(ids)), VAL_SHARE / (1 - TEST_SHARE))
    return {"train": ("train", train), "val": ("train", val)}


def _take_share(
    ids: Sequence[str], labels: np.ndarray, among: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Part ``among`` in (kept, taken): in each class the share, at least one where the class has two."""
    taken: list[int] = []
    for members in _by_class(ids, labels, among):
        count = max(1, round(share * len(members))) if len(members) > 1 else 0
        taken += members[:count]
    chosen = np.array(sorted(taken), dtype=np.int64)
    return np.setdiff1d(among, chosen), chosen


def balanced_subset(ids: Sequence[str], labels: np.ndarray, cap: int | None) -> np.ndarray:
    """Return the sorted indices of at most ``cap`` samples, as equal per class as the data allow.

    The choice depends on the sample ids alone, and a smaller cap chooses a subset of what a larger one does.
    """
    everything = np.arange(len(ids))
    if cap is None or cap >= len(ids):
        return everything
    classes = _by_class(ids, labels, everything)
    classes.sort(key=lambda members: _rank(ids[members[0]]))
    rounds = [(turn, place, index) for place, members in enumerate(classes) for turn, index in enumerate(members)]
    return np.array(sorted(index for _, _, index in sorted(rounds)[:cap]), dtype=np.int64)


def draw_queries(
    ids: Sequence[str], labels: np.ndarray, *, most: int, per_class: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Part samples into retrieval's queries and its gallery: sorted indices of each.

    In each class a fifth of the samples (rounded down, but one of two to four) are queries, the rest is gallery. A
    class of one sample has no query. The choice depends on the sample ids alone.

    Args:
        ids: Sample ids, n of them.
        labels: (n,) int64.
        most: Queries of a class at most; what is left over is gallery.
        per_class: Samples of a class used at all; None for all.
    """
    queries: list[int] = []
    gallery: list[int] = []
    for members in _by_class(ids, labels, np.arange(len(ids))):
        used = members[:per_class]
        asked = min(most, max(1, int(QUERY_SHARE * len(used)))) if len(used) > 1 else 0
        queries += used[:asked]
        gallery += used[asked:]
    return np.array(sorted(queries), dtype=np.int64), np.array(sorted(gallery), dtype=np.int64)


def _by_class(ids: Sequence[str], labels: np.ndarray, among: np.ndarray) -> list[list[int]]:
    """Return the indices of each class present, in an order that only their ids decide."""
    groups: dict[int, list[int]] = {}
    for index in among.tolist():
        groups.setdefault(int(labels[index]), []).append(index)
    return [sorted(groups[label], key=lambda index: _rank(ids[index])) for label in sorted(groups)]


def _rank(sample_id: str) -> bytes:
    return hashlib.sha256(f"{SPLIT_SEED}:{sample_id}".encode(errors="surrogatepass")).digest()
