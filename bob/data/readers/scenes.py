"""The embedded data set: rendered on demand, cached as PNG files that anybody may delete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import bob.data.scenes as scenes
from bob.core.errors import ConfigError, did_you_mean
from bob.core.files import digest, replacing, write_text
from bob.data.annotations import ANNOTATIONS, Instances, Rle
from bob.data.class_presence import presence
from bob.data.dataset import SPLITS, DatasetSpec
from bob.data.decode import BROKEN_PICTURE
from bob.data.known import KNOWN
from bob.data.readers.base import DenseSamples, Samples

DEFAULT_SIZES = {"train": 400, "val": 160, "test": 400}
MAX_SIZE = 100_000
ANNOTATIONS_VERSION = 1
BACKGROUND = "background"


@dataclass(frozen=True)
class SceneOpener:
    """Renders a scene, or reads it from the cache if it was rendered before."""

    folder: Path
    split: str
    domain: str
    unseen: bool = False

    def __call__(self, index: int) -> Image.Image:
        """Return scene ``index`` as RGB, ``scenes.SIZE`` pixels a side."""
        path = self.folder / f"{index:06d}.png"
        try:
            with Image.open(path) as stored:
                stored.load()
                return stored
        except BROKEN_PICTURE:  # missing, or damaged: PNG's checksums tell
            scene = scenes.render(self.split, index, domain=self.domain, unseen=self.unseen)
            image = Image.fromarray(scene.image)
            with replacing(path) as temporary:
                image.save(temporary, format="PNG", compress_level=1)
            return image


@dataclass(frozen=True)
class SceneAnnotator:
    """Knows what a scene shows; what rendering it gave is kept in a small file of run lengths.

    Attributes:
        folder: Where the files lie. A domain changes no annotation, so all domains share them.
        split: The scenes' split.
        kind: "boxes", "instances" or "semantic".
    """

    folder: Path
    split: str
    kind: str

    def __call__(self, index: int) -> Instances | np.ndarray:
        """Return the Instances of scene ``index``, or its map: uint8 (H, W), 0 is background, else category + 1."""
        known = self._known(index)
        rles: tuple[Rle, ...] = tuple(
            {"size": [scenes.SIZE, scenes.SIZE], "counts": counts.encode()} for counts in known["masks"]
        )
        labels = np.array(known["categories"], dtype=np.int64)
        if self.kind == "semantic":
            return _map_of(labels, rles)
        return Instances(
            boxes=np.array(known["boxes"], dtype=np.float64).reshape(-1, 4),
            labels=labels,
            crowd=np.zeros(len(labels), dtype=bool),
            area=np.array(known["area"], dtype=np.float64),
            masks=rles if self.kind == "instances" else None,
        )

    def labels(self, index: int) -> np.ndarray:
        """Return the classes of the objects of scene ``index``, int64 (n,)."""
        return np.array(self._known(index)["categories"], dtype=np.int64)

    def _known(self, index: int) -> dict[str, Any]:
        path = self.folder / f"{index:06d}.json"
        try:
            return json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            known = _described(scenes.render(self.split, index))
            write_text(path, json.dumps(known))
            return known


def _presence(annotate: SceneAnnotator, count: int) -> np.ndarray:
    """Return float32 (count, classes): which classes each scene shows."""
    found = [annotate.labels(index) for index in range(count)]
    labels = np.concatenate(found)
    pictures = np.repeat(np.arange(count), [len(one) for one in found])
    return presence(pictures, labels, np.zeros(len(labels), dtype=bool), shape=(count, len(scenes.CLASSES)))


def _described(scene: scenes.Scene) -> dict[str, Any]:
    from pycocotools.mask import encode

    masks = [encode(np.asfortranarray(mask.astype(np.uint8))) for mask in scene.masks]
    return {
        "categories": scene.categories.tolist(),
        "boxes": scene.boxes.tolist(),
        "area": [int(mask.sum()) for mask in scene.masks],
        "masks": [mask["counts"].decode() for mask in masks],
    }


def _map_of(labels: np.ndarray, masks: tuple[Rle, ...]) -> np.ndarray:
    from pycocotools.mask import decode

    classes = np.zeros((scenes.SIZE, scenes.SIZE), dtype=np.uint8)
    for label, mask in zip(labels, masks, strict=True):
        classes[decode(mask).astype(bool)] = label + 1
    return classes


class ScenesReader:
    """Reads ``scenes`` and ``scenes:train=100,domain=fog``: sizes per split, and one of ``scenes.DOMAINS``.

    ``scenes:unseen`` shows objects that no other scene has, for tests of what is out of distribution.
    """

    def resolve(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> DatasetSpec:
        """Describe the set without rendering; ConfigError for an unknown option."""
        sizes, domain, unseen = _options(target)
        options: dict[str, str | bool] = {split: str(count) for split, count in sizes.items()}
        options |= {"domain": domain, **({"unseen": True} if unseen else {})}
        words = ["unseen"] if unseen else []
        return DatasetSpec(
            name="-".join(["scenes", *words, *([] if domain == "clean" else [domain])]),
            kind="scenes",
            root=None,
            options=tuple(sorted(options.items())),
            fingerprint=digest([scenes.VERSION, domain, sorted(sizes.items()), *words], length=64),
            classes=scenes.UNSEEN_CLASSES if unseen else scenes.CLASSES,
            sizes=tuple(sizes.items()),
            license=KNOWN.get("scenes").license,
            smoke=True,
            annotations=("label",) if unseen else ANNOTATIONS,
        )

    def fetch(self, target: str, *, cache_dir: Path, data_dir: Path | None) -> None:
        """Do nothing: the renderer is part of this package."""

    def open(self, spec: DatasetSpec, *, cache_dir: Path) -> Mapping[str, Samples]:
        """Return the three splits; scenes are rendered when they are first read."""
        domain, unseen = str(dict(spec.options)["domain"]), bool(dict(spec.options).get("unseen", False))
        first = len(scenes.CLASSES) if unseen else 0
        stored = {}
        for split, count in spec.sizes:
            name = f"{domain}-{'unseen-' if unseen else ''}{scenes.SIZE}"
            labels = [scenes.label_of(split, index, unseen=unseen) - first for index in range(count)]
            stored[split] = Samples(
                ids=tuple(f"{split}/{index:06d}" for index in range(count)),
                labels=np.array(labels, dtype=np.int64),
                read=SceneOpener(cache_dir / scenes.VERSION / name / split, split, domain, unseen),
                trusted=True,
            )
        return stored

    def open_dense(self, spec: DatasetSpec, annotation: str, *, cache_dir: Path) -> Mapping[str, DenseSamples]:
        """Return the three splits with annotations; the classes of "semantic" start with the background."""
        classes = (BACKGROUND, *scenes.CLASSES) if annotation == "semantic" else scenes.CLASSES
        folder = cache_dir / scenes.VERSION / f"annotations-{scenes.SIZE}-{ANNOTATIONS_VERSION}"
        stored = {}
        for split, pictures in self.open(spec, cache_dir=cache_dir).items():
            annotate, count = SceneAnnotator(folder / split, split, annotation), len(pictures.ids)
            stored[split] = DenseSamples(
                classes=classes,
                pictures=pictures,
                sizes=np.full((count, 2), scenes.SIZE, dtype=np.int64),
                annotate=annotate,
                presence=None if annotation == "semantic" else partial(_presence, annotate, count),
            )
        return stored


READER = ScenesReader()


def _options(target: str) -> tuple[dict[str, int], str, bool]:
    sizes, domain, unseen = dict(DEFAULT_SIZES), "clean", False
    for part in filter(None, target.removeprefix("scenes").split(",")):
        name, _, value = part.partition("=")
        if name == "domain" and value in scenes.DOMAINS:
            domain = value
        elif part == "unseen":
            unseen = True
        elif name in SPLITS and value.isdecimal() and 0 < int(value) <= MAX_SIZE:
            sizes[name] = int(value)
        else:
            near = (
                did_you_mean(value, scenes.DOMAINS)
                if name == "domain"
                else did_you_mean(name, [*SPLITS, "domain", "unseen"])
            )
            raise ConfigError(
                f"scenes option {part!r}: train, val or test=1..{MAX_SIZE}, domain=NAME or unseen is expected.{near}",
                hint=f"Domains: {', '.join(scenes.DOMAINS)}.",
            )
    return sizes, domain, unseen
