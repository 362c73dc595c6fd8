"""The stored splits of a data set as its reader opens them, with what was said of links and found of grey levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from bob.data.dataset import DatasetSpec
from bob.data.decode import WIDE_BITS
from bob.data.fingerprint import following_links
from bob.data.picture_bits import OfBits
from bob.data.readers import READERS
from bob.data.readers.base import DenseReader, DenseSamples, Samples

FOLLOW_LINKS = "follow_links"  # the option of a data set whose links may lead out of its folder


def open_stored(spec: DatasetSpec, *, cache_dir: Path) -> dict[str, Samples]:
    """Return the stored splits, copies that are left out among them.

    Raises:
        DataError: The data changed since they were resolved.
    """
    with following_links(follows_links(spec)):
        found = READERS.get(spec.kind).open(spec.as_read(), cache_dir=cache_dir)
    return {name: _scaled(samples, spec.bits) for name, samples in found.items()}


def open_stored_dense(spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> dict[str, DenseSamples]:
    """Return the stored splits with annotations of one kind; as ``open_stored``."""
    reader = cast(DenseReader, READERS.get(spec.kind))
    with following_links(follows_links(spec)):
        found: Mapping[str, DenseSamples] = reader.open_dense(spec.as_read(), annotation, cache_dir=cache_dir)
    return {name: replace(one, pictures=_scaled(one.pictures, spec.bits)) for name, one in found.items()}


def follows_links(spec: DatasetSpec) -> bool:
    """Tell whether links of a data set may lead out of its folder."""
    return bool(dict(spec.options).get(FOLLOW_LINKS, False))


def _scaled(samples: Samples, bits: int | None) -> Samples:
    if bits is None or bits == WIDE_BITS:
        return samples
    return replace(samples, read=OfBits(samples.read, bits))
