"""How the names of masks and of their pictures end: ``a.jpg`` and ``a_mask.png``, ``a_sat.jpg`` and ``a_mask.png``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath

from bob.core.errors import DataError
from bob.data.mask_layouts import PICTURE_ENDS, mask_end

Key = Callable[[str], str | None]


def same_name(path: str) -> str | None:
    """Return a path without its suffix: a picture and its mask have it in common."""
    return PurePosixPath(path).with_suffix("").as_posix()


def ended_keys(pictures: Sequence[str], masks: Sequence[str], *, where: str, shared: bool) -> tuple[Key, Key]:
    """Return what a picture's path and its mask's have in common: the name, without endings if only they differ.

    Args:
        pictures: Paths of the pictures; if ``shared``, of the masks too.
        masks: Paths of the masks.
        where: The folder of the masks, for the error.
        shared: Whether pictures and masks lie in one folder: the masks are those with the ending.

    Raises:
        DataError: Masks of two endings go with the pictures.
    """
    stems = {stem for path in pictures if (stem := same_name(path))}
    if not shared and any(same_name(path) in stems for path in masks):
        return same_name, same_name
    bases: dict[str, set[str]] = defaultdict(set)
    for path in masks:
        ended = mask_end(str(same_name(path)))
        if ended:
            bases[ended[1]].add(ended[0])
    without = {end: {stem.removesuffix(end) for stem in stems if stem.endswith(end)} for end in PICTURE_ENDS}
    counts = {end: [len(names & without[one]) for one in PICTURE_ENDS] for end, names in bases.items()}
    matching = sorted(end for end, found in counts.items() if any(found))
    if not matching:
        return same_name, same_name
    if len(matching) > 1:
        raise DataError(
            f"{where} holds masks named after their pictures with {' and with '.join(map(repr, matching))}, and one "
            "kind of them is read.",
            hint=f"Move those of the other kind out of {where}.",
        )
    end = matching[0]
    picture_end = PICTURE_ENDS[counts[end].index(max(counts[end]))]
    return partial(_picture_key, picture_end, end if shared else None), partial(_mask_key, end, shared)


def _picture_key(end: str, mask_ending: str | None, path: str) -> str | None:
    stem = str(same_name(path))
    ended = mask_end(stem)
    if mask_ending is not None and ended and ended[1] == mask_ending:
        return None
    return stem.removesuffix(end)


def _mask_key(end: str, shared: bool, path: str) -> str | None:
    stem = str(same_name(path))
    ended = mask_end(stem)
    if ended and ended[1] == end:
        return ended[0]
    return None if shared else stem
