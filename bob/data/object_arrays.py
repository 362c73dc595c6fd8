"""The objects of many pictures as a few flat arrays on disk: read by memory map, so that workers share one copy.

COCO's training annotations are 450 MB of JSON and take some 3 GB of memory as Python objects; here they take about
150 MB of disk, and a process reads only the pages it uses.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from bob.data.annotations import Instances, Rle
from bob.data.class_presence import presence
from bob.data.faults import LEFT_OUT, NO_MASK, NO_PICTURE, Fault

ARRAYS = (
    *("sizes", "offsets", "boxes", "labels", "crowd", "area", "mask_offsets", "masks"),
    *("absent_offsets", "absent", "partial_offsets", "partial"),
)
NAMED_FAULTS = 1000

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Table:
    """The objects of one stored split. Pickled as a path; each process maps the files once.

    Attributes:
        folder: Where the arrays lie.
        with_masks: Whether ``annotate`` gives masks, and leaves out the objects that have none.
        is_federated: Whether ``annotate`` says which classes a picture is known to lack.
    """

    folder: Path
    with_masks: bool = False
    is_federated: bool = False

    def ids(self) -> tuple[str, ...]:
        """Return the pictures' paths below the data set's root."""
        return tuple(json.loads((self.folder / "ids.json").read_text()))

    def faults(self) -> tuple[Fault, ...]:
        """Return what is wrong with the annotations, with their masks only if they are asked for."""
        found = (Fault(*entry) for entry in json.loads((self.folder / "faults.json").read_text()))
        return tuple(fault for fault in found if self.with_masks or fault.effect != NO_MASK)

    def sizes(self) -> np.ndarray:
        """Return int64 (n, 2): each picture's height and width."""
        return np.array(_arrays(self.folder)["sizes"])

    def counts(self) -> np.ndarray:
        """Return int64 (n,): how many objects each picture has."""
        return np.diff(_arrays(self.folder)["offsets"])

    def per_class(self, pictures: np.ndarray, *, classes: int) -> np.ndarray:
        """Return int64 (classes,): how many objects of each class these pictures have, crowds not counted."""
        arrays = _arrays(self.folder)
        is_asked = np.zeros(len(arrays["offsets"]) - 1, dtype=bool)
        is_asked[pictures] = True
        rows = np.repeat(is_asked, self.counts()) & ~arrays["crowd"]
        return np.bincount(arrays["labels"][rows], minlength=classes).astype(np.int64)

    def presence(self, classes: int) -> np.ndarray:
        """Return float32 (n, classes): which classes each picture shows, see ``bob.data.class_presence``.

        Doubtful are pictures of which an object was left out, and those without annotations.
        """
        arrays, counts = _arrays(self.folder), self.counts()
        left_out = {fault.picture for fault in self.faults() if fault.effect == LEFT_OUT} - {NO_PICTURE}
        unsaid = np.flatnonzero(self.sizes().min(axis=1, initial=0) < 0).tolist()
        return presence(
            np.repeat(np.arange(len(counts)), counts),
            arrays["labels"],
            arrays["crowd"],
            shape=(len(counts), classes),
            doubtful=left_out.union(unsaid),
        )

    def annotate(self, index: int) -> Instances:
        """Return the objects of picture ``index``."""
        arrays = _arrays(self.folder)
        start, end = (int(edge) for edge in arrays["offsets"][index : index + 2])
        rows = np.arange(start, end)
        if self.with_masks:
            rows = rows[arrays["mask_offsets"][rows + 1] > arrays["mask_offsets"][rows]]
        return Instances(
            boxes=np.array(arrays["boxes"][rows]),
            labels=arrays["labels"][rows].astype(np.int64),
            crowd=np.array(arrays["crowd"][rows]),
            area=np.array(arrays["area"][rows]),
            masks=self._masks(arrays, index, rows) if self.with_masks else None,
            absent=_part(arrays, "absent", index) if self.is_federated else None,
            partial=_part(arrays, "partial", index) if self.is_federated else None,
        )

    def _masks(self, arrays: Arrays, index: int, rows: np.ndarray) -> tuple[Rle, ...]:
        height, width = (int(side) for side in arrays["sizes"][index])
        ends, content = arrays["mask_offsets"], arrays["masks"]
        masks = (content[ends[row] : ends[row + 1]].tobytes() for row in rows)
        return tuple({"size": [height, width], "counts": counts} for counts in masks)


def _part(arrays: Arrays, name: str, index: int) -> np.ndarray:
    start, end = arrays[f"{name}_offsets"][index : index + 2]
    return arrays[name][start:end].astype(np.int64)


@functools.lru_cache(maxsize=16)
def _arrays(folder: Path) -> Arrays:
    return {name: _map(folder / f"{name}.npy") for name in ARRAYS}


def _map(path: Path) -> np.ndarray:
    array = np.load(path, allow_pickle=False, mmap_mode="r")
    return np.asarray(array)


def is_whole(folder: Path) -> bool:
    """Tell whether a table's files are all there and of the length that they state."""
    try:
        arrays = {name: _map(folder / f"{name}.npy") for name in ARRAYS}
        pictures = len(json.loads((folder / "ids.json").read_text()))
        json.loads((folder / "faults.json").read_text())
    except (OSError, ValueError, EOFError):
        return False
    return len(arrays["sizes"]) == pictures == len(arrays["offsets"]) - 1


@dataclass
class TableBuilder:
    """Collects the pictures and objects of one stored split, in any order, and writes them.

    Attributes:
        ids: The pictures' paths.
        sizes: Their heights and widths.
        faults: What was found wrong.
    """

    ids: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    has_masks: bool = False
    _pictures: list[int] = field(default_factory=list)
    _boxes: list[Sequence[float]] = field(default_factory=list)
    _labels: list[int] = field(default_factory=list)
    _crowd: list[bool] = field(default_factory=list)
    _area: list[float] = field(default_factory=list)
    _masks: list[bytes] = field(default_factory=list)
    _absent: list[Sequence[int]] = field(default_factory=list)
    _partial: list[Sequence[int]] = field(default_factory=list)

    def add_picture(
        self, path: str, size: tuple[int, int], *, absent: Sequence[int] = (), partial: Sequence[int] = ()
    ) -> int:
        """Add a picture of (height, width) and return its index; ``absent`` and ``partial`` as ``Instances`` has."""
        self.ids.append(path)
        self.sizes.append(size)
        self._absent.append(absent)
        self._partial.append(partial)
        return len(self.ids) - 1

    def add_object(
        self, picture: int, *, box: Sequence[float], label: int, crowd: bool, area: float, mask: bytes = b""
    ) -> None:
        """Add an object of a picture; ``mask`` holds the compressed run lengths, empty if there are none."""
        self._pictures.append(picture)
        self._boxes.append(box)
        self._labels.append(label)
        self._crowd.append(crowd)
        self._area.append(area)
        self._masks.append(mask)
        self.has_masks = self.has_masks or bool(mask)

    def trainable(self) -> Counter[int]:
        """Return how many objects of each label there are, crowds not counted."""
        return Counter(label for label, crowd in zip(self._labels, self._crowd, strict=True) if not crowd)

    def write(self, folder: Path) -> None:
        """Write the table into a new folder; the objects of each picture keep their order."""
        folder.mkdir(parents=True)
        pictures = np.array(self._pictures, dtype=np.int64)
        order = np.argsort(pictures, kind="stable")
        masks = [self._masks[row] for row in order]
        arrays = {
            "sizes": np.array(self.sizes, dtype=np.int64).reshape(-1, 2),
            "offsets": _edges(np.bincount(pictures, minlength=len(self.ids))),
            "boxes": np.array(self._boxes, dtype=np.float64).reshape(-1, 4)[order],
            "labels": np.array(self._labels, dtype=np.int32)[order],
            "crowd": np.array(self._crowd, dtype=bool)[order],
            "area": np.array(self._area, dtype=np.float64)[order],
            "mask_offsets": _edges(_lengths(masks)),
            "masks": np.frombuffer(b"".join(masks), dtype=np.uint8),
            "absent_offsets": _edges(_lengths(self._absent)),
            "absent": np.array(list(chain.from_iterable(self._absent)), dtype=np.int32),
            "partial_offsets": _edges(_lengths(self._partial)),
            "partial": np.array(list(chain.from_iterable(self._partial)), dtype=np.int32),
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        (folder / "ids.json").write_text(json.dumps(self.ids))
        # A million faults of one kind need no million names.
        named = [fault if place < NAMED_FAULTS else fault._replace(where="") for place, fault in enumerate(self.faults)]
        (folder / "faults.json").write_text(json.dumps(named))


def _lengths(parts: Sequence[bytes] | Sequence[Sequence[int]]) -> np.ndarray:
    return np.array([len(part) for part in parts], dtype=np.int64)


def _edges(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
