"""Tables of a data set's objects: built once per content, found again by fingerprint."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bob.core.files import digest, temporary_name
from bob.core.lease import holding
from bob.core.text import printable
from bob.data.annotations import FEDERATED
from bob.data.class_presence import contrast_of
from bob.data.decode import open_picture
from bob.data.faults import LEFT_OUT, NO_MASK
from bob.data.file_names import name_in_other_case
from bob.data.judge import require_distinct_names, require_objects, require_trained
from bob.data.object_arrays import Table, TableBuilder, is_whole
from bob.data.orientation import oriented
from bob.data.readers.base import DenseSamples, Samples, split_sizes
from bob.data.splits import Listing

log = logging.getLogger(__name__)

TABLE_VERSION = 3


@dataclass(frozen=True)
class Parsed:
    """What a parser of annotation files found.

    Attributes:
        classes: Class names in label order.
        splits: The objects of each stored split.
        reading: Above 1 where something was met that earlier versions read otherwise, so that their results do not
            count.
        frequencies: "rare", "common" or "frequent" of each class where a picture has some classes annotated alone;
            empty elsewhere.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, TableBuilder]
    reading: int = 1
    frequencies: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureOpener:
    """Opens the pictures of a list of paths below a root, lying as annotations of the stated sizes do."""

    root: Path
    paths: tuple[str, ...]
    sizes: np.ndarray
    said_by: str

    def __call__(self, index: int) -> Image.Image:
        """Return picture ``index``; ValueError if its size is not the one stated (a negative one states none)."""
        height, width = (int(side) for side in self.sizes[index])
        if height < 0:
            raise FileNotFoundError("there are no annotations for it")
        image = _open_or_say(self.root, self.paths[index])
        return oriented(image, (height, width), said_by=self.said_by)


def _open_or_say(root: Path, path: str) -> Image.Image:
    """Open a picture; of one that is missing say whether a file is there whose name differs in case alone."""
    try:
        return open_picture(root / path)
    except FileNotFoundError as error:
        other = name_in_other_case(root, path)
        if other is None:
            raise
        raise FileNotFoundError(f"the file is called {other}: upper and lower case count") from error


@dataclass(frozen=True)
class Tables:
    """The tables of one data set on disk.

    Attributes:
        folder: Where they lie, one folder per stored split.
        classes: Class names in label order.
        stored: The stored splits' names.
        sizes: Pictures per split after missing splits are split off.
        has_masks: Whether any object has a mask.
        contrasted: As in ``DatasetSpec``.
        reading: As in ``Parsed``.
        frequencies: Likewise.
    """

    folder: Path
    classes: tuple[str, ...]
    stored: tuple[str, ...]
    sizes: tuple[tuple[str, int], ...]
    has_masks: bool
    contrasted: tuple[tuple[str, int], ...]
    reading: int = 1
    frequencies: tuple[str, ...] = ()

    def marked(self, fingerprint: str) -> str:
        """Return the fingerprint of the data as they are read: another one only where they were read otherwise."""
        return fingerprint if self.reading == 1 else digest([fingerprint, "reading", self.reading], length=64)

    @property
    def annotations(self) -> tuple[str, ...]:
        """What is known about each picture."""
        found = ("boxes", "instances") if self.has_masks else ("boxes",)
        # Where some classes alone were looked for, which ones a picture lacks is not said by its boxes.
        return (*found, FEDERATED) if self.frequencies else (*found, "multilabel")

    def samples(self, split: str, root: Path, *, said_by: str, masks: bool) -> DenseSamples:
        """Return a stored split; ``said_by`` names where its pictures' sizes are stated."""
        table = Table(self.folder / split, with_masks=masks, is_federated=bool(self.frequencies))
        ids, sizes = table.ids(), table.sizes()
        pictures = Samples(
            ids=tuple(map(printable, ids)),
            labels=np.zeros(len(ids), dtype=np.int64),
            read=PictureOpener(root, ids, sizes, said_by),
        )
        return DenseSamples(
            classes=self.classes,
            pictures=pictures,
            sizes=sizes,
            annotate=table.annotate,
            counts=table.counts(),
            per_class=partial(table.per_class, classes=len(self.classes)),
            faults=table.faults(),
            presence=partial(Table(table.folder).presence, len(self.classes)),
            frequencies=self.frequencies,
        )


def tables(kind: str, fingerprint: str, parse: Callable[[], Parsed], *, root: Path, cache_dir: Path) -> Tables:
    """Return the tables of data with this fingerprint; ``parse`` is asked once, under a lease.

    Raises:
        DataError: What it found cannot be trained on or scored; ``root`` is what the message names.
    """
    name = f"objects-{digest([kind, fingerprint, TABLE_VERSION], length=32)}"
    folder = cache_dir / "datasets" / name
    found = _load(folder)
    if found is None:
        with holding(cache_dir / "leases" / f"{name}.lease"):
            found = _load(folder)
            if found is None:
                _store(folder, _judged(root, parse()))
                found = _load(folder)
    assert found is not None, "tables that were just written can be read"
    return found


def _judged(root: Path, parsed: Parsed) -> Parsed:
    objects = {name: part.trainable() for name, part in parsed.splits.items()}
    left_out = {
        name: Counter(fault.reason for fault in part.faults if fault.effect == LEFT_OUT)
        for name, part in parsed.splits.items()
    }
    require_objects(str(root), {name: counts.total() for name, counts in objects.items()}, left_out)
    hint = "Name the classes alike in every split, or take away the annotations of a class that train lacks."
    present = {name: set(counts) for name, counts in objects.items()}
    require_distinct_names(str(root), [parsed.classes[label] for label in sorted(set().union(*present.values()))])
    require_trained(str(root), parsed.classes, present, what="object", hint=hint)
    return parsed


def _load(folder: Path) -> Tables | None:
    try:
        said = json.loads((folder / "description.json").read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        said = {"stored": []}
    if not said["stored"] or not all(is_whole(folder / split) for split in said["stored"]):
        log.warning("The cache folder %s is damaged: the annotations are read anew.", folder)
        return None
    return Tables(
        folder=folder,
        classes=tuple(said["classes"]),
        stored=tuple(said["stored"]),
        sizes=tuple((name, count) for name, count in said["sizes"]),
        has_masks=said["has_masks"],
        contrasted=tuple((name, count) for name, count in said["contrasted"]),
        reading=said["reading"],
        frequencies=tuple(said["frequencies"]),
    )


def _store(folder: Path, parsed: Parsed) -> None:
    has_masks = any(part.has_masks for part in parsed.splits.values())
    listing: dict[str, Listing] = {
        name: (part.ids, np.zeros(len(part.ids), dtype=np.int64)) for name, part in parsed.splits.items()
    }
    said: dict[str, Any] = {
        "classes": parsed.classes,
        "stored": list(parsed.splits),
        "sizes": split_sizes(listing),
        "has_masks": has_masks,
        "reading": parsed.reading,
        "frequencies": parsed.frequencies,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = temporary_name(folder)
    try:
        for name, part in parsed.splits.items():
            if not has_masks:  # where nothing has a mask, none is missing
                part.faults = [fault for fault in part.faults if fault.effect != NO_MASK]
            part.write(place / name)
        # Where some classes alone were looked for, "multilabel" is not offered.
        values = {name: Table(place / name).presence(len(parsed.classes)) for name in listing if not parsed.frequencies}
        said["contrasted"] = contrast_of(listing, values) if values else []
        (place / "description.json").write_text(json.dumps(said))
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
