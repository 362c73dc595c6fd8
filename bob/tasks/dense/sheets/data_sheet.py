"""The contact sheet of a data set: a few pictures of every class, with what is known about them, as one small PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bob.core.errors import DataError
from bob.core.text import counted
from bob.data.annotations import IGNORE
from bob.data.dataset import DatasetSpec
from bob.data.pictures import DENSE, load_rgb
from bob.data.readers.base import DenseSamples, Samples
from bob.data.splits import arrange, balanced_subset
from bob.data.stored import open_stored, open_stored_dense
from bob.tasks.dense.sheets.contact_sheet import map_picture, smallest_enough, with_objects
from bob.tasks.dense.sheets.sheet_layout import Entry, Panel, class_colours, readable, shown

LABELLED, ANNOTATED = 24, 8  # pictures on a sheet
WIDTHS = {"label": (150, 120, 96), "objects": (320, 260, 200), "semantic": (200, 160, 120)}


def data_sheet(spec: DatasetSpec, *, cache_dir: Path) -> bytes:
    """Draw pictures of train (or of the first split there is): with class names, boxes and masks, or maps.

    The pictures depend on the data alone, as equal per class as they allow; one that cannot be read is passed over.

    Returns:
        A PNG below 600 kB.

    Raises:
        DataError: No picture can be read.
    """
    annotation = spec.annotations[0]
    if annotation not in DENSE:
        return _labelled(spec, open_stored(spec, cache_dir=cache_dir))
    wanted = "instances" if "instances" in spec.annotations else annotation
    stored = open_stored_dense(spec, wanted, cache_dir=cache_dir)
    return _annotated(spec, wanted, stored)


def _labelled(spec: DatasetSpec, stored: Mapping[str, Samples]) -> bytes:
    split, name, chosen = _chosen(stored, LABELLED)
    samples = stored[name]
    found = _read(spec, samples, sorted(chosen.tolist(), key=lambda index: (samples.labels[index], index)))
    names = readable(spec.classes)

    def group(place: int, width: int) -> list[Panel]:
        index, picture = found[place]
        caption = ", ".join(names[label] for label in _labels(samples, index)) or "none of the classes"
        return [Panel(image=shown(picture, width), caption=caption)]

    note = f"{len(found)} pictures of {split}, as equal per class as there are, with their classes."
    return smallest_enough(
        len(found), group, WIDTHS["label"], columns=6, title=spec.name, note=note, legend=[], colours=[]
    )


def _labels(samples: Samples, index: int) -> Sequence[int]:
    """Return the classes that are right for a picture."""
    if samples.values is not None:
        return np.flatnonzero(samples.values[index] == 1).tolist()
    return samples.label_sets[index] if samples.label_sets else (int(samples.labels[index]),)


def _annotated(spec: DatasetSpec, annotation: str, stored: Mapping[str, DenseSamples]) -> bytes:
    split, name, chosen = _chosen({part: source.pictures for part, source in stored.items()}, ANNOTATED)
    source = stored[name]
    found = _read(spec, source.pictures, chosen.tolist())
    truth = [source.annotate(index) for index, _ in found]
    classes = readable(source.classes)
    colours = class_colours(classes)
    is_map = annotation == "semantic"

    def group(place: int, width: int) -> list[Panel]:
        picture, known = found[place][1], truth[place]
        if is_map:
            small = shown(picture, width)
            return [
                Panel(image=small, caption="picture"),
                Panel(image=map_picture(known, colours, small.size), caption="classes"),
            ]
        image = with_objects(picture, known, range(len(known)), classes, width)
        return [Panel(image=image, caption=counted(len(known), "object"))]

    labels = [np.unique(known) if is_map else known.labels for known in truth]
    occurring = sorted({int(label) for part in labels for label in part} - ({IGNORE} if is_map else set()))
    legend = [Entry(name=classes[label], colour=colours[label]) for label in occurring]
    widths = WIDTHS["semantic" if is_map else "objects"]
    note = f"{len(found)} pictures of {split} with their {'classes of pixels' if is_map else 'objects'}."
    columns = 2 if is_map else 4
    return smallest_enough(
        len(found), group, widths, columns=columns, title=spec.name, note=note, legend=legend, colours=colours
    )


def _chosen(stored: Mapping[str, Samples], count: int) -> tuple[str, str, np.ndarray]:
    """Return the split that is shown, the stored one it comes from, and which of its pictures to try."""
    parts = arrange({name: (samples.ids, samples.labels) for name, samples in stored.items()})
    split = "train" if "train" in parts else next(iter(parts))
    name, indices = parts[split]
    ids = [stored[name].ids[index] for index in indices]
    picked = balanced_subset(ids, stored[name].labels[indices], count)
    return split, name, indices[picked]


def _read(spec: DatasetSpec, samples: Samples, indices: list[int]) -> list[tuple[int, Image.Image]]:
    """Return those of the pictures that can be read.

    Raises:
        DataError: None can.
    """
    found: list[tuple[int, Image.Image]] = []
    for index in indices:
        try:
            found.append((index, load_rgb(samples, index)))
        except DataError:  # bob data lists it; the sheet shows what there is
            continue
    if not found:
        raise DataError(
            f"data set {spec.name!r}: none of {len(indices)} pictures tried can be read.",
            hint="--no-sheet leaves the contact sheet out; --check says what is wrong with each picture.",
        )
    return found
