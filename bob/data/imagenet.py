"""ImageNet-1k's class order, for folders of photographs named by WordNet id. Imports neither timm nor torch."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bob.core.errors import DataError, did_you_mean

WNID = re.compile(r"n\d{8}")


@functools.cache
def wnids() -> tuple[str, ...]:
    """Return the 1,000 WordNet ids in the order of a pretrained classifier's outputs, as the timm package lists them.

    Raises:
        DataError: timm is not installed or carries no such list.
    """
    spec = importlib.util.find_spec("timm")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder) / "data" / "_info" / "imagenet_synsets.txt"
        if path.is_file():
            return tuple(path.read_text().split())
    raise DataError("ImageNet's class list was not found: the timm package carries it.", hint="bob doctor")


def wnid_labels(classes: Sequence[str]) -> np.ndarray:
    """Return the ImageNet-1k index of each class folder's name, int64 (n,).

    Raises:
        DataError: A name is no WordNet id of ImageNet-1k.
    """
    index = {wnid: place for place, wnid in enumerate(wnids())}
    for name in classes:
        if name not in index:
            near = did_you_mean(name, index) if WNID.fullmatch(name) else ""
            raise DataError(
                f"class folder {name!r} is no ImageNet-1k WordNet id such as 'n01440764'.{near}",
                hint="The pretrained head's classes are known only for ImageNet: name each folder by its WordNet id.",
            )
    return np.array([index[name] for name in classes], dtype=np.int64)


def are_wnids(names: Sequence[str]) -> bool:
    """Tell whether these class names are all ImageNet-1k WordNet ids."""
    return bool(names) and all(WNID.fullmatch(name) for name in names) and set(names) <= set(wnids())
