"""From a picture and its annotations to one view on the canvas: what a dense task trains and is scored on."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bob.backbones.backbone import InputConfig
from bob.data.annotations import Instances
from bob.data.dense_pictures import DensePictures
from bob.data.loading import PictureCache, derived_seed
from bob.data.placement import Placement, contain, cover, whole
from bob.data.streams import EVALUATION, Key
from bob.data.transforms import recoloured, resampling

LEAST_SIDE = 1.0  # canvas pixels: what the crop leaves of an object must be at least this wide and high
CHANCES = 7


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training views differ from evaluation's.

    Attributes:
        scale: Least and greatest factor on the size at which the picture fits the canvas, drawn uniformly. (0.1, 2) is
            large-scale jitter (Ghiasi et al. 2021, arXiv 2012.07177); (0.6, 1) is the usual multi-scale training of
            short sides 480 to 800 of 800.
        flip: Whether half of the views are mirrored.
        jitter: Brightness, contrast and saturation are each multiplied by 1 +- this.
        base: "contain" or "cover": what factor 1 means.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    flip: bool = True
    jitter: float = 0.0
    base: str = "contain"


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture on its canvas.

    Attributes:
        pixels: uint8 (H, W, 3).
        target: What it is trained towards: ``boxes`` float32 (n, 4), ``labels`` int64 (n,) and, if the annotation has
            them, ``masks`` uint8 (n, H, W); or ``map`` uint8 (H, W). Empty in evaluation.
        placement: How the picture lies on the canvas.
    """

    pixels: np.ndarray
    target: dict[str, np.ndarray]
    placement: Placement


class DenseViews:
    """Maps (epoch, index) to a ``View``. It can be pickled into worker processes and called from threads."""

    def __init__(
        self,
        cache: PictureCache,
        pictures: DensePictures,
        input: InputConfig,
        *,
        canvas: tuple[int, int],
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self._cache = cache
        self._pictures = pictures
        self._canvas = canvas
        self._augmentation = augmentation
        self._seed = seed
        self._resample = resampling(input.interpolation)
        # Padding in the model's own mean is zero once normalised.
        self._fill = tuple(round(255 * part) for part in input.mean)

    def __getitem__(self, key: Key) -> View:
        epoch, index = key
        image = self._cache.load(index)
        size = (image.height, image.width)
        if epoch == EVALUATION:
            placement = whole(size, self._canvas)
            return View(pixels=self._pixels(image, placement), target={}, placement=placement)
        generator = torch.Generator().manual_seed(derived_seed(self._seed, epoch, index))
        chance = torch.rand(CHANCES, generator=generator, dtype=torch.float64).tolist()
        placement = self._drawn(size, chance)
        colours = functools.partial(recoloured, jitter=self._augmentation.jitter, chance=chance[4:7])
        pixels = self._pixels(image, placement, change=colours)
        return View(pixels=pixels, target=self._target(index, placement), placement=placement)

    def _pixels(self, image: Any, placement: Placement, **change: Any) -> np.ndarray:
        return placement.place_picture(image, self._resample, fill=self._fill, **change)

    def _drawn(self, size: tuple[int, int], chance: list[float]) -> Placement:
        """Return a random placement: a factor on the size, a part of what is larger than the canvas, a side."""
        low, high = self._augmentation.scale
        factor = low + (high - low) * chance[0]
        base = cover if self._augmentation.base == "cover" else contain
        scaled = base(size, self._canvas, factor=factor)
        slack = [max(0, length - room) for length, room in zip(scaled, self._canvas, strict=True)]
        crop = (int(chance[1] * (slack[0] + 1)), int(chance[2] * (slack[1] + 1)))
        flip = self._augmentation.flip and chance[3] < 0.5
        return Placement(size=size, scaled=scaled, crop=crop, canvas=self._canvas, flip=flip)

    def _target(self, index: int, placement: Placement) -> dict[str, np.ndarray]:
        if self._pictures.annotation == "semantic":
            return {"map": placement.place_labels(self._pictures.semantic(index))}
        with_masks = self._pictures.annotation == "instances"
        return instance_target(self._pictures.instances(index), placement, with_masks=with_masks)


def instance_target(instances: Instances, placement: Placement, *, with_masks: bool) -> dict[str, np.ndarray]:
    """Return boxes, labels and masks on the canvas of the objects that are still visible there; crowds never train."""
    boxes = placement.place_boxes(instances.boxes)
    kept = ~instances.crowd & (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(axis=1)
    masks: np.ndarray | None = None
    if with_masks:
        masks, shown = _masks(instances, placement, np.flatnonzero(kept))
        kept[np.flatnonzero(kept)[~shown]] = False
        masks = masks[shown]
    target = {"boxes": boxes[kept].astype(np.float32), "labels": instances.labels[kept].astype(np.int64)}
    return target if masks is None else {**target, "masks": masks}


def _masks(instances: Instances, placement: Placement, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the objects' masks, uint8 (n, H, W), and which of them have a pixel on the canvas."""
    from pycocotools import mask as coco_mask

    if instances.masks is None:
        raise ValueError("instances without masks cannot train a mask head")
    placed = np.zeros((len(indices), *placement.canvas), dtype=np.uint8)
    for place, index in enumerate(indices.tolist()):
        placed[place] = placement.place_labels(coco_mask.decode(instances.masks[index]), fill=0)
    return placed, np.asarray(placed.any(axis=(1, 2)))
