"""Bringing what a suite needs to this machine, once and before jobs start: racing for one file corrupts caches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bob.backbones.backbone import Backbone
from bob.backbones.weights import fetch
from bob.core.errors import BobError, WeightsMissingError
from bob.core.settings import Settings
from bob.data.resolve import fetch_dataset


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What is on this machine now, and what could not be had.

    Attributes:
        here: Where it lies, by backbone or data set.
        missing: The reason, by backbone or data set.
    """

    here: dict[str, str]
    missing: dict[str, str]


def fetch_all(backbones: Iterable[Backbone], data: Iterable[str], settings: Settings) -> Fetched:
    """Fetch the checkpoints of backbones and the data sets of these names; what cannot be had stops nothing else."""
    found = Fetched(here={}, missing={})
    for backbone in backbones:
        if backbone.is_control:
            continue
        try:
            file = fetch(backbone, weights_dirs=settings.weights_dirs, cache_dir=settings.cache_dir)
            found.here[backbone.name] = f"{file.source}: {file.path}"
        except WeightsMissingError as error:
            found.missing[backbone.name] = error.message
    for text in data:
        try:
            fetch_dataset(text, cache_dir=settings.cache_dir, data_dir=settings.data_dir)
            found.here[text] = "data set"
        except BobError as error:
            found.missing[text] = error.message
    return found
