"""A classifier of some classes on data with fewer: which of its outputs are theirs. Numpy only.

The authors of ImageNet-A and ImageNet-R score a classifier of ImageNet's 1,000 classes by the arg max over the 200 that
their pictures have: ``net(data)[:, indices_in_1k]`` in eval.py of hendrycks/natural-adv-examples, and
``net(data)[:, imagenet_r_mask]`` in that of hendrycks/imagenet-r (Hendrycks et al. 2021, arXiv 1907.07174 and
2006.16241). A set with all classes of the classifier (ImageNet-Sketch, -V2, -C) is scored over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bob.core.errors import DataError, did_you_mean

NAMED_AT_MOST = 5
_SPACES = str.maketrans("_-", "  ")


def class_places(source: Sequence[str], shifted: Sequence[str]) -> np.ndarray:
    """Return the source class's index for each shifted class, int64 (len(shifted),): ``scores[:, places]`` are theirs.

    A name is looked for as it stands; then regardless of case, with ``_``, ``-`` and spaces alike.

    Args:
        source: The classifier's class names, in the order of its outputs.
        shifted: The data set's class names, in label order.

    Raises:
        DataError: A list is empty; the source lacks a shifted class (up to five are named); a name fits two source
            classes (ImageNet has two called "crane"); or two shifted classes fit the same one.
    """
    if not len(source) or not len(shifted):
        raise DataError(
            f"there are {len(source)} source and {len(shifted)} shifted classes: at least one of each is expected.",
            hint="Look at the class folders of both data sets.",
        )
    exact, alike = _by_name(source, str), _by_name(source, _folded)
    found = [exact.get(name) or alike.get(_folded(name), []) for name in shifted]
    _require_found(source, [name for name, places in zip(shifted, found, strict=True) if not places])
    _require_one(source, shifted, found)
    places = np.array([each[0] for each in found], dtype=np.int64)
    _require_apart(source, shifted, places)
    return places


def masked(count: int, places: np.ndarray) -> np.ndarray:
    """Return which of ``count`` source classes take part, bool (count,): those at ``places``.

    Args:
        count: How many classes the classifier has.
        places: Their indices among them, integers (n,), as ``class_places`` returns them.

    Raises:
        DataError: There is no place, or one is no index of a source class.
    """
    chosen = np.asarray(places)
    if chosen.ndim != 1 or not chosen.size or chosen.dtype.kind not in "iu":
        raise DataError(
            f"places has shape {chosen.shape} and type {chosen.dtype}; at least one integer index is expected.",
            hint="class_places() makes them.",
        )
    outside = chosen[(chosen < 0) | (chosen >= count)]
    if outside.size:
        raise DataError(
            f"place {outside[0]} is no index of {count} classes; 0 to {count - 1} are expected.",
            hint="Compare the class list with the one that the classifier was trained on.",
        )
    mask = np.zeros(count, dtype=bool)
    mask[chosen] = True
    return mask


def _folded(name: str) -> str:
    return name.translate(_SPACES).strip().casefold()


def _by_name(names: Sequence[str], form: Callable[[str], str]) -> Mapping[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(form(name), []).append(place)
    return places


def _require_found(source: Sequence[str], missing: Sequence[str]) -> None:
    if missing:
        meant = [(name, did_you_mean(name, source)) for name in missing[:NAMED_AT_MOST]]
        shown = "; ".join(f"{name!r}{'.' * bool(near)}{near}" for name, near in meant)
        raise DataError(
            f"the classifier has no class for {len(missing)} of the shifted data's classes: {shown}"
            + (" ..." if len(missing) > NAMED_AT_MOST else ""),
            hint="Name the shifted data's classes as the source data's, or leave out those that the source lacks.",
        )


def _require_one(source: Sequence[str], shifted: Sequence[str], found: Sequence[Sequence[int]]) -> None:
    for name, places in zip(shifted, found, strict=True):
        if len(places) > 1:
            several = ", ".join(f"{source[place]!r} (class {place})" for place in places)
            raise DataError(
                f"the shifted class {name!r} fits {len(places)} source classes: {several}.",
                hint="Use names that tell them apart, such as WordNet ids, in both data sets.",
            )


def _require_apart(source: Sequence[str], shifted: Sequence[str], places: np.ndarray) -> None:
    owner: dict[int, str] = {}
    for name, place in zip(shifted, places.tolist(), strict=True):
        if place in owner:
            raise DataError(
                f"the shifted classes {owner[place]!r} and {name!r} both fit the source class {source[place]!r}.",
                hint="Merge the two, or rename one.",
            )
        owner[place] = name
