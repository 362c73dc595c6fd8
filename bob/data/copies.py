"""Pictures that are there more than once: found while planning by their bytes, and left out where they would be wrong.

The rules, after the splits have been drawn: test stays as it is; a picture of train or val that is in test too leaves
these, and one of train that is in val leaves train; a picture under several classes of which none is right for all its
copies leaves every split. Copies within one split do no harm, and stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bob.core.errors import ConfigError, DataError
from bob.core.text import counted
from bob.data.dataset import SPLITS, Copies, DatasetSpec
from bob.data.equal_files import Place, equal_groups, is_looked_at, places_of
from bob.data.kept import kept
from bob.data.left_out import has_lists, marked, write_lists
from bob.data.splits import SPLIT_VERSION

COPIES_VERSION = 1  # raised when other pictures are left out
COPY_POLICIES = ("skip", "keep", "error")
NAMED_AT_MOST = 6  # in the plan's line; the warning of a job names more
TWINS_NAMED = 3
STAYS = {"train": ("test", "val"), "val": ("test",)}  # where a copy must be for a picture to leave a split
DONE = {"skip": "left out", "keep": "kept (copies=keep)", "error": "refused (copies=error)"}
KEEP_HINT = "To use all pictures nevertheless: --set copies=keep"


@dataclass
class _Verdict:
    """What is wrong with the pictures of one annotation. Names are text such as ``train/a.png (test/b.png)``."""

    left_out: dict[str, list[str]] = field(default_factory=dict)
    copied: Counter[str] = field(default_factory=Counter)
    copied_named: list[str] = field(default_factory=list)
    contradictions: int = 0
    contradictions_named: list[str] = field(default_factory=list)
    within: Counter[str] = field(default_factory=Counter)
    untrained: list[int] = field(default_factory=list)


def judge_copies(spec: DatasetSpec, *, policy: str, cache_dir: Path) -> DatasetSpec:
    """Return a data set without the pictures that are copies where they must not be; its fingerprint says so.

    The files are compared once per content; the answer is kept by fingerprint. A data set whose pictures are no files
    of their own, or that its reader cannot open, comes back as it is.

    Args:
        spec: As a reader resolved it.
        policy: "skip" leaves copies out, "keep" only says what there is, "error" raises.
        cache_dir: Where answers are kept.

    Raises:
        ConfigError: The policy is none of these.
        DataError: There are such pictures and the policy is "error".
    """
    require_policy(policy)
    if not is_looked_at(spec):
        return spec
    options = sorted((name, value) for name, value in spec.options if name != "policy")
    key = ["copies", COPIES_VERSION, SPLIT_VERSION, spec.kind, spec.fingerprint, options]
    try:
        answer = kept(
            cache_dir, key, lambda: _find(spec, cache_dir), still_good=lambda said: _is_there(said, cache_dir)
        )
    except DataError:  # the job that opens the data meets the same error, and says it
        return spec
    if not answer["looked"]:
        return spec
    said = _line(answer["verdicts"], policy)
    if policy == "keep" or not answer["listed"]:
        return with_all(spec, said)
    if policy == "error":
        raise DataError(f"data set {spec.name!r}: {said}.", hint=KEEP_HINT)
    return _with_what_is_missing(without(spec, answer["listed"], answer["counts"], said), answer)


def require_policy(policy: str) -> None:
    """Raise ConfigError for a policy that there is not."""
    if policy not in COPY_POLICIES:
        raise ConfigError(f"policy {policy!r} for copies is not one of {', '.join(COPY_POLICIES)}.")


def with_all(spec: DatasetSpec, said: str) -> DatasetSpec:
    """Return a data set of which all pictures are used, with what was found."""
    whole = spec.as_stored()
    sizes, semantic_sizes = whole.sizes, whole.semantic_sizes
    copies = Copies(stored=whole.fingerprint, sizes=sizes, semantic_sizes=semantic_sizes, said=said)
    return replace(whole, copies=copies)


def without(spec: DatasetSpec, listed: str, counts: Mapping[str, Mapping[str, int]], said: str) -> DatasetSpec:
    """Return a data set as it is without the pictures that a list names.

    Args:
        spec: The data set.
        listed: Address of the list.
        counts: By annotation and split how many pictures that is, beyond what ``spec`` is without already.
        said: What was found.
    """
    whole, before = spec.as_stored(), spec.copies.counts if spec.copies else ()
    gone = tuple((name, split, count) for name, parts in counts.items() for split, count in parts.items())
    first, semantic = counts.get(spec.annotations[0], {}), counts.get("semantic", {})
    emptied = [split for split, count in spec.sizes if 0 < count <= first.get(split, 0)]
    emptied += [split for split, count in spec.semantic_sizes if 0 < count <= semantic.get(split, 0)]
    return replace(
        spec,
        fingerprint=marked(whole.fingerprint, listed),
        sizes=_smaller(spec.sizes, first),
        semantic_sizes=_smaller(spec.semantic_sizes, semantic),
        copies=Copies(
            stored=whole.fingerprint,
            sizes=whole.sizes,
            semantic_sizes=whole.semantic_sizes,
            listed=listed,
            counts=before + gone,
            said=said,
            emptied=tuple(dict.fromkeys(emptied)),
        ),
    )


def _smaller(sizes: Sequence[tuple[str, int]], gone: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    """Return the sizes of the splits that are left."""
    return tuple((split, count - gone.get(split, 0)) for split, count in sizes if not 0 < count <= gone.get(split, 0))


def _is_there(answer: Mapping[str, Any], cache_dir: Path) -> bool:
    return not answer["listed"] or has_lists(answer["listed"], cache_dir)


def _find(spec: DatasetSpec, cache_dir: Path) -> dict[str, Any]:
    """Return what is wrong as JSON values; ``looked`` is false where no picture is a file.

    Raises:
        DataError: The data cannot be opened.
    """
    places = places_of(spec, cache_dir)
    verdicts = {annotation: _judged(found) for annotation, found in places.items() if found}
    lists = {annotation: one.left_out for annotation, one in verdicts.items() if one.left_out}
    return {
        "looked": bool(verdicts),
        "listed": write_lists(lists, cache_dir) if lists else "",
        "counts": {name: {split: len(ids) for split, ids in parts.items()} for name, parts in lists.items()},
        "verdicts": {annotation: vars(one) | {"left_out": {}} for annotation, one in verdicts.items()},
    }


def _judged(places: Sequence[Place]) -> _Verdict:
    verdict = _Verdict()
    for group in equal_groups(places):
        labels = [place.labels for place in group if place.labels is not None]
        if labels and not frozenset.intersection(*labels):
            _contradict(verdict, group)
        else:
            _thin(verdict, group)
    gone = {one for ids in verdict.left_out.values() for one in ids}
    trained = [place for place in places if place.split == "train"]
    left = frozenset[int]().union(*(place.labels or () for place in trained if place.id not in gone))
    verdict.untrained = sorted(frozenset[int]().union(*(place.labels or () for place in trained)) - left)
    return verdict


def _contradict(verdict: _Verdict, group: Sequence[Place]) -> None:
    verdict.contradictions += 1
    if len(verdict.contradictions_named) < NAMED_AT_MOST:
        verdict.contradictions_named.append(" = ".join(place.id for place in group[:TWINS_NAMED]))
    for place in group:
        verdict.left_out.setdefault(place.split, []).append(place.id)


def _thin(verdict: _Verdict, group: Sequence[Place]) -> None:
    first = {place.split: place for place in reversed(group)}
    for split in SPLITS:
        own = [place for place in group if place.split == split]
        twin = next((first[other] for other in STAYS.get(split, ()) if other in first), None)
        if not own:
            continue
        if twin is None:
            verdict.within[split] += len(own) - 1
            continue
        verdict.left_out.setdefault(split, []).extend(place.id for place in own)
        verdict.copied[f"{split} {twin.split}"] += len(own)
        for place in own[: max(NAMED_AT_MOST - len(verdict.copied_named), 0)]:
            verdict.copied_named.append(f"{place.id} ({twin.id})")


def _line(verdicts: Mapping[str, Mapping[str, Any]], policy: str) -> str:
    """Say in one line what was found, of every annotation that has splits of its own."""
    return "; ".join(dict.fromkeys(filter(None, (_sentence(one, policy) for one in verdicts.values()))))


def _sentence(found: Mapping[str, Any], policy: str) -> str:
    of, of_all = (" of " + _joined(found), " of all of them") if policy == "skip" else ("", "")
    done = DONE[policy]
    parts = []
    if found["copied"]:
        pairs = [[*pair.split(), count] for pair, count in found["copied"].items()]
        what = ", ".join(f"{counted(count, 'picture')} of {leaves} also in {stays}" for leaves, stays, count in pairs)
        parts.append(f"{what}, {done}{of}: {_few(found['copied_named'], found['copied'])}")
    if found["contradictions"]:
        number = found["contradictions"]
        named = _few(found["contradictions_named"], {"": number})
        parts.append(f"{counted(number, 'picture')} under several classes, {done}{of_all}: {named}")
    within = [f"{count} in {split}" for split, count in found["within"].items() if count]
    if within:
        parts.append(f"copies within a split, which stay: {', '.join(within)}")
    return "; ".join(parts)


def _joined(found: Mapping[str, Any]) -> str:
    return " and ".join(dict.fromkeys(pair.split()[0] for pair in found["copied"]))


def _few(named: Sequence[str], counts: Mapping[str, int]) -> str:
    return ", ".join(named) + (" and others" if sum(counts.values()) > len(named) else "")


def _with_what_is_missing(spec: DatasetSpec, answer: Mapping[str, Any]) -> DatasetSpec:
    """Return a data set that also says which classes train had pictures of, and has none of without copies."""
    assert spec.copies is not None, "that is what it is without"
    labels = sorted({label for one in answer["verdicts"].values() for label in one["untrained"]})
    names = tuple(spec.classes[label] for label in labels)
    lacks = [f"{split} has no picture then" for split in spec.copies.emptied]
    if names and "train" not in spec.copies.emptied:
        more = " and others" if names[NAMED_AT_MOST:] else ""
        lacks.append(f"train has nothing of {', '.join(names[:NAMED_AT_MOST])}{more} then")
    said = "; ".join([spec.copies.said, *lacks])
    return replace(spec, copies=replace(spec.copies, said=said, untrained=names))
