"""Pictures that a data set scored beside a job's own has in common with it: they are no test of what was trained."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from bob.core.errors import DataError
from bob.core.text import counted
from bob.data.copies import COPIES_VERSION, DONE, KEEP_HINT, NAMED_AT_MOST, require_policy, with_all, without
from bob.data.dataset import SPLITS, DatasetSpec
from bob.data.equal_files import Place, is_looked_at, places_of, whole_key
from bob.data.kept import kept
from bob.data.left_out import has_lists, read_lists, write_lists
from bob.data.splits import SPLIT_VERSION

LEARNED_FROM = ("train", "val")  # what a shift must have no picture of


def apart_from(source: DatasetSpec, other: DatasetSpec, *, shifted: bool, policy: str, cache_dir: Path) -> DatasetSpec:
    """Return a set beside a job's own without the test pictures that it shares with that; its fingerprint says so.

    A shifted set must have no picture of the source's train or val. One that is out of distribution must have none of
    its test either: there the picture would be in distribution. Both are compared once per content.

    Args:
        source: The job's own data set.
        other: The set beside it.
        shifted: Whether it is a shift, and not out of distribution.
        policy: As of ``judge_copies``.
        cache_dir: Where answers are kept.

    Raises:
        DataError: There are such pictures and the policy is "error", or the set beside has no others.
    """
    require_policy(policy)
    other = other if shifted else other.as_stored()  # nobody looks at its labels, or at its train
    if not (is_looked_at(source) and is_looked_at(other)):
        return other
    splits = LEARNED_FROM if shifted else SPLITS
    listed = other.copies.listed if other.copies else ""
    kinds = [[spec.kind, spec.as_stored().fingerprint] for spec in (source, other)]
    key = ["copies beside", COPIES_VERSION, SPLIT_VERSION, *kinds, listed, splits]
    try:
        answer = kept(
            cache_dir,
            key,
            lambda: _find(source, other, splits, cache_dir),
            still_good=lambda said: not said["listed"] or has_lists(said["listed"], cache_dir),
        )
    except DataError:  # the job that opens the data meets the same error, and says it
        return other
    if not answer["listed"]:
        return other
    count = answer["counts"][other.annotations[0]]["test"]
    where = "train, val or test" if len(splits) == len(SPLITS) else "train or val"
    named = ", ".join(answer["named"]) + (" and others" if count > len(answer["named"]) else "")
    found = f"{counted(count, 'picture')} also in {source.name}'s {where}, {DONE[policy]}: {named}"
    if policy == "error":
        raise DataError(f"data set {other.name!r}: {found}.", hint=KEEP_HINT)
    said = "; ".join(filter(None, (other.copies.said if other.copies else "", found)))
    if policy == "keep":
        return with_all(other, said)
    if count >= dict(other.sizes).get("test", 0):
        hint = f"Name a set of other pictures. {KEEP_HINT}"
        raise DataError(f"data set {other.name!r} has no other test picture than those: {found}.", hint=hint)
    return without(other, answer["listed"], answer["counts"], said)


def _find(source: DatasetSpec, other: DatasetSpec, splits: Collection[str], cache_dir: Path) -> dict[str, Any]:
    """Return the list of what the set beside is without, how many pictures of it are shared ones, and some names."""
    own = [place for found in places_of(source, cache_dir).values() for place in found if place.split in splits]
    beside = places_of(other, cache_dir)
    before = read_lists(other.copies.listed, cache_dir) if other.copies and other.copies.listed else {}
    shared = {
        annotation: _shared(own, [place for place in places if place.split == "test"], before.get(annotation, {}))
        for annotation, places in beside.items()
    }
    lists = {name: {split: list(ids) for split, ids in parts.items()} for name, parts in before.items()}
    for annotation, pairs in shared.items():
        if pairs:
            lists.setdefault(annotation, {}).setdefault("test", []).extend(place.id for place, _ in pairs)
    first = next(iter(shared.values()), [])
    return {
        "listed": write_lists(lists, cache_dir) if any(shared.values()) else "",
        "counts": {annotation: {"test": len(pairs)} for annotation, pairs in shared.items()},
        "named": [f"{place.id} ({twin.id})" for place, twin in first[:NAMED_AT_MOST]],
    }


def _shared(own: Sequence[Place], test: Sequence[Place], before: Any) -> list[tuple[Place, Place]]:
    """Return test pictures that are equal to one of the source in every byte, and that one; not those left out."""
    gone = set(before.get("test", ()))
    keys = {place.key for place in test}
    twins: dict[str, Place] = {}
    alike = [place for place in own if place.key in keys]
    for place in alike:
        twins.setdefault(whole_key(place), place)
    known = {place.key for place in alike}
    pairs = [(place, twins.get(whole_key(place))) for place in test if place.key in known and place.id not in gone]
    return [(place, twin) for place, twin in pairs if twin is not None]
