"""The pictures of one split with every class that each shows: from a data set's boxes, or as its reader says it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bob.core.errors import DataError
from bob.data.class_presence import first_present
from bob.data.dataset import DatasetSpec
from bob.data.dense_pictures import choose_dense
from bob.data.pictures import Pictures, open_split, require_annotation

MULTILABEL = "multilabel"


def open_whole(spec: DatasetSpec, split: str, *, annotation: str, cap: int | None = None, cache_dir: Path) -> Pictures:
    """Open a split with what is known of whole pictures, as ``open_split`` does; "multilabel" too.

    With "multilabel" ``values`` are float32 (n, classes): 1 where a class is there, 0 where it is not, NaN where nobody
    knows; ``labels`` are the first class that is there, or 0, which ``cap`` balances. Where they follow from boxes, the
    split has the pictures that a detection task's has, and what is wrong with its boxes is reported alike.

    Raises:
        ConfigError, DataError: As ``open_split`` and ``open_dense``.
    """
    if annotation != MULTILABEL:
        return open_split(spec, split, annotation=annotation, cap=cap, cache_dir=cache_dir)
    require_annotation(spec, MULTILABEL)
    if "boxes" in spec.annotations:
        return _from_boxes(spec, split, cap, cache_dir)
    pictures = open_split(spec, split, annotation=MULTILABEL, cap=cap, cache_dir=cache_dir)
    _require_values(spec, pictures)
    return pictures


def _from_boxes(spec: DatasetSpec, split: str, cap: int | None, cache_dir: Path) -> Pictures:
    chosen = choose_dense(spec, split, annotation="boxes", cap=cap, cache_dir=cache_dir, by_presence=True)
    source, indices = chosen.source, chosen.indices
    values = source.require_presence()[indices]
    return Pictures(
        classes=source.classes,
        labels=first_present(values),
        ids=tuple(source.pictures.ids[index] for index in indices),
        dropped=chosen.dropped,
        values=values,
        _samples=source.pictures,
        _indices=indices,
    )


def _require_values(spec: DatasetSpec, pictures: Pictures) -> None:
    shape, values = (len(pictures), len(spec.classes)), pictures.values
    if values is None or values.shape != shape or not (np.isnan(values) | (values == 0) | (values == 1)).all():
        found = "nothing" if values is None else f"values of shape {values.shape}"
        raise DataError(
            f"data set {spec.name!r} says {found} of its pictures' classes: expected 1, 0 or NaN of shape {shape}.",
            hint="Samples.values of its reader must say for each picture which classes it shows.",
        )
