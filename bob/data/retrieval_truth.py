"""What the queries of a retrieval benchmark should find, and its file (Radenovic et al. 2018, arXiv 1803.11285).

The file is the authors' (filipradenovic/revisitop, python/dataset.py), a pickle or the same as JSON: ``imlist`` names
the gallery and ``qimlist`` the queries; ``gnd`` has for each query its box ``bbx`` (left, top, right, bottom, from 0)
and the indices into ``imlist`` that are ``easy``, ``hard`` and ``junk``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bob.core.errors import ConfigError, DataError, did_you_mean
from bob.data.restricted_pickle import PickledArray, read_pickle

PROTOCOLS = ("easy", "medium", "hard")
JUDGEMENTS = ("easy", "hard", "junk")

Indices = tuple[np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class RetrievalTruth:
    """What each of q queries should find among n gallery pictures.

    Attributes:
        queries: The queries' sample ids.
        boxes: float64 (q, 4): what is cut out of each query's picture, as the file states it: left, top, right, bottom.
        gallery: The gallery's sample ids; no query is ranked among them.
        easy: For each query, the sorted gallery indices of what shows its building clearly, int64.
        hard: The same for what shows it from afar, in part or in bad light.
        junk: The same for what nobody can judge.
    """

    queries: tuple[str, ...]
    boxes: np.ndarray
    gallery: tuple[str, ...]
    easy: Indices
    hard: Indices
    junk: Indices

    def relevance(self, protocol: str) -> tuple[Indices, Indices]:
        """Return each query's positives, and its junk, which is taken out of the ranking before it is scored.

        As the authors' example_evaluate.py: "easy" looks for easy, and junk is junk and hard; "medium" for easy and
        hard; "hard" for hard, and junk is junk and easy. A query may have no positive in a protocol: their
        compute_map leaves it out of the mean.

        Raises:
            ConfigError: There is no such protocol.
        """
        if protocol not in PROTOCOLS:
            raise ConfigError(
                f"protocol {protocol!r} is not one of {', '.join(PROTOCOLS)}.{did_you_mean(protocol, PROTOCOLS)}"
            )
        wanted = {"easy": (self.easy,), "medium": (self.easy, self.hard), "hard": (self.hard,)}[protocol]
        left_out = {"easy": (self.junk, self.hard), "medium": (self.junk,), "hard": (self.junk, self.easy)}[protocol]
        return _joined(*wanted), _joined(*left_out)

    def among(self, ids: Collection[str]) -> RetrievalTruth:
        """Return the truth about those pictures alone that are in ``ids``, where some could not be read or were capped.

        Raises:
            DataError: No query, or nothing of the gallery, is left.
        """
        there = frozenset(ids)
        kept = np.array([name in there for name in self.gallery], dtype=bool)
        asked = [place for place, name in enumerate(self.queries) if name in there]
        if not asked or not kept.any():
            raise DataError(
                f"of {len(self.queries)} queries {len(asked)} are left, of {len(self.gallery)} gallery pictures "
                f"{int(kept.sum())}: at least one of each is needed.",
                hint="Raise max_test, or repair the pictures that the log names.",
            )
        moved = np.cumsum(kept) - 1
        easy, hard, junk = (
            tuple(moved[one[place][kept[one[place]]]] for place in asked) for one in (self.easy, self.hard, self.junk)
        )
        return RetrievalTruth(
            queries=tuple(self.queries[place] for place in asked),
            boxes=self.boxes[asked],
            gallery=tuple(name for name in self.gallery if name in there),
            easy=easy,
            hard=hard,
            junk=junk,
        )


def parse_truth(path: Path) -> RetrievalTruth:
    """Return what the file says, its pictures by the names that it gives them; JSON by its suffix, else a pickle.

    Raises:
        DataError: It is damaged or of another shape; a box or an index can be none; a picture has two judgements for
            one query; or a query would find its own picture. The message names the file and the query.
    """
    content = _json(path) if path.suffix == ".json" else read_pickle(path)
    names, queries, judged = _lists(path, content)
    indices = {kind: _indices(path, kind, queries, judged, len(names)) for kind in JUDGEMENTS}
    _require_one_judgement(path, queries, indices)
    _require_apart(path, names, queries, indices["junk"])
    return RetrievalTruth(
        queries=queries,
        boxes=np.array([_box(path, name, one["bbx"]) for name, one in zip(queries, judged, strict=True)]),
        gallery=names,
        **indices,
    )


def wrong(path: Path, what: str) -> DataError:
    """Build the error for a file that says what cannot be right."""
    return DataError(f"{path}: {what}.", hint="Fetch the file anew, or compare it with what docs/data.md expects.")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no JSON file: {error}.", hint="Write or copy the file anew.") from error


def _lists(path: Path, content: Any) -> tuple[tuple[str, ...], tuple[str, ...], list[Mapping[str, Any]]]:
    """Return the names of gallery and queries, and what is said of each query; DataError for another shape."""
    missing = [key for key in ("imlist", "qimlist", "gnd") if not isinstance(content, dict) or key not in content]
    if missing:
        raise wrong(path, f"a {type(content).__name__} without {', '.join(missing)}; a dict with all is expected")
    names, queries, judged = _names(path, "imlist", content), _names(path, "qimlist", content), _plain(content["gnd"])
    if not isinstance(judged, list) or len(judged) != len(queries):
        has = f"{len(judged)} entries" if isinstance(judged, list) else f"a {type(judged).__name__}"
        raise wrong(path, f"gnd is {has}; one for each of {len(queries)} queries is expected")
    for name, one in zip(queries, judged, strict=True):
        lacks = [key for key in ("bbx", *JUDGEMENTS) if not isinstance(one, dict) or key not in one]
        if lacks:
            raise wrong(path, f"query {name!r} has no {', '.join(lacks)}")
    if len(set(names)) != len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise wrong(path, f"imlist names {twice!r} twice")
    return names, queries, judged


def _names(path: Path, key: str, content: Mapping[str, Any]) -> tuple[str, ...]:
    value = _plain(content[key])
    if not isinstance(value, list) or not value or any(type(name) is not str or not name for name in value):
        raise wrong(path, f"{key} is no list of at least one picture name")
    return tuple(value)


def _plain(value: Any) -> Any:
    return value.values.tolist() if isinstance(value, PickledArray) else value


def _array(value: Any) -> np.ndarray | None:
    """Return an array of numbers, or a flat list of them, as an array; None if it is something else."""
    if isinstance(value, PickledArray) and value.values.dtype != object:
        return value.values
    listed = _plain(value)
    if not isinstance(listed, list | tuple) or any(type(one) not in (int, float) for one in listed):
        return None
    return np.array(listed)


def _indices(path: Path, kind: str, queries: Sequence[str], judged: Sequence[Mapping[str, Any]], count: int) -> Indices:
    return tuple(_index(path, name, kind, one[kind], count) for name, one in zip(queries, judged, strict=True))


def _index(path: Path, query: str, kind: str, value: Any, count: int) -> np.ndarray:
    """Return one query's gallery indices of one kind, sorted; DataError for what can be none."""
    indices = _array(value)
    if indices is not None and not indices.size:
        return np.empty(0, dtype=np.int64)
    if indices is None or indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise wrong(path, f"{kind} of query {query!r} is no list of indices into imlist")
    outside = indices[(indices < 0) | (indices >= count)]
    if outside.size:
        raise wrong(path, f"{kind} of query {query!r} has index {outside[0]}; imlist has 0 to {count - 1}")
    unique = np.unique(indices.astype(np.int64))
    if len(unique) != len(indices):
        raise wrong(path, f"{kind} of query {query!r} names a picture twice")
    return unique


def _require_one_judgement(path: Path, queries: Sequence[str], indices: Mapping[str, Indices]) -> None:
    for place, query in enumerate(queries):
        values, counts = np.unique(np.concatenate([indices[kind][place] for kind in JUDGEMENTS]), return_counts=True)
        if (counts > 1).any():
            raise wrong(path, f"query {query!r} calls picture {values[counts > 1][0]} two of easy, hard and junk")


def _require_apart(path: Path, names: Sequence[str], queries: Sequence[str], junk: Indices) -> None:
    """Refuse a query that would find its own picture: the authors take the queries out of the gallery."""
    places = {name: place for place, name in enumerate(names)}
    for query, left_out in zip(queries, junk, strict=True):
        if query in places and places[query] not in left_out.tolist():
            raise wrong(path, f"query {query!r} is in imlist itself: take it out, or call it junk for this query")


def _box(path: Path, query: str, value: Any) -> tuple[float, ...]:
    box = _array(value)
    if box is None or box.shape != (4,) or box.dtype.kind not in "iuf" or not np.isfinite(box).all():
        raise wrong(path, f"bbx of query {query!r} is not left, top, right and bottom")
    if box[2] <= box[0] or box[3] <= box[1]:
        raise wrong(path, f"bbx of query {query!r} has no area: {box.tolist()}")
    return tuple(box.astype(np.float64).tolist())


def _joined(*parts: Indices) -> Indices:
    return tuple(np.sort(np.concatenate(each)) for each in zip(*parts, strict=True))
