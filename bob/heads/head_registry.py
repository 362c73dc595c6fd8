"""The heads that turn a backbone's pyramid into boxes, masks or maps. Descriptions only: no torch, planning reads this.

A head is one ``Head`` and one function that builds it. In a plug-in both stand in one file, with torch imported inside
the function::

    def build(fpn, options):
        from torch import nn
        ...

    HEADS.add("mine", Head(name="mine", produces="boxes", doc="...", build=build, gmacs_per_mpixel=100.0))

**A detector's head** (``produces`` is "boxes" or "masks") is built by ``build(fpn, options)`` from a
``bob.heads.fpn.Fpn`` (its ``strides``; its maps have ``options.channels``) and ``DetectorOptions``. It is a module with
two methods. ``maps`` is the FPN's answer: (N, channels, H / stride, W / stride) by level name, finest first. All
coordinates are pixels of the canvas, labels count from 0, and both calls may come in any mode.

- ``losses(images, maps, targets) -> dict[str, Tensor]``: scalars, each a mean over the batch. ``images`` are
  (N, 3, H, W); a target has ``boxes`` float32 (n, 4) as x0, y0, x1, y1, ``labels`` int64 (n,) and, for masks,
  ``masks`` uint8 (n, H, W).
- ``detect(images, maps) -> list[dict[str, Tensor]]``: for each picture ``boxes`` (n, 4) within the canvas, ``scores``
  (n,), ``labels`` (n,), best first, at most ``options.max_detections``; for masks also ``mask_probs`` (n, M, M).

**A segmentation head** (``produces`` is "semantic") is built by ``build(channels, strides, *, classes, width)`` and is
a module from the list of maps, (N, channels[i], H / strides[i], W / strides[i]), to logits (N, classes, h, w) at a
stride of its own, which are resized to the picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bob.core.registry import Registry
from bob.jobs.job import Job
from bob.jobs.protocol_params import ProtocolParams

ALL_LEVELS = (4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class Head:
    """One head.

    Attributes:
        name: As the protocol's parameter ``head`` calls it.
        produces: "boxes", "masks" (boxes with masks) or "semantic" (a class for each pixel).
        doc: One line with the paper.
        build: The function that builds it, or ``module:function`` of one; see above.
        gmacs_per_mpixel: Multiply-accumulates at 256 channels per million input pixels, in 10^9, for estimates of time.
            Rough: those of BoB's own heads are no counts of their modules.
        extra_levels: What a detector's FPN adds: "pool" (one level, Faster R-CNN's) or "convs" (two, RetinaNet's).
        levels: Strides of the maps that a segmentation head is given.
        output_stride: The coarsest stride of a segmentation head's maps; at 16 the last level is dilated.
        linear: Whether a segmentation head is to see the backbone's own maps, without the pyramid's neck.
        params: Parameters of the head's own, which a job has beside the protocol's; a detector finds
            them in ``options.extra``, a segmentation head is built with them as further keywords.
        check: Called with a detector's options while planning; raises ConfigError for those that do not fit.
    """

    name: str
    produces: str
    doc: str
    build: str | Callable[..., Any]
    gmacs_per_mpixel: float
    extra_levels: str = "pool"
    levels: tuple[int, ...] = ALL_LEVELS
    output_stride: int = 32
    linear: bool = False
    params: type[ProtocolParams] | None = None
    check: Callable[[Any], None] | None = None


HEADS: Registry[Head] = Registry("head", list_command="bob list heads")
for _name in ("faster_rcnn", "cascade_rcnn", "fcos", "retinanet", "mask_rcnn", "cascade_mask_rcnn"):
    HEADS.add(_name, f"bob.heads.{_name}:HEAD")
for _name in ("upernet", "deeplabv3plus", "fcn"):
    HEADS.add(_name, f"bob.heads.{_name}:HEAD")
HEADS.add("linear", "bob.heads.linear_head:HEAD")


def heads_that(produces: str) -> tuple[str, ...]:
    """Return the names of the heads that produce "boxes", "masks" or "semantic", in the order of registration."""
    return tuple(name for name in HEADS if HEADS.get(name).produces == produces)


def own_params(name: str, job: Job) -> dict[str, Any]:
    """Return the values that a job gives the parameters of its head's own, by name; nothing if the head has none."""
    own = HEADS.get(name).params
    return {} if own is None else own.of(job).model_dump()


def further_params(given: dict[str, Any], *, usual: str) -> tuple[type[ProtocolParams], ...]:
    """Return the classes of parameters that the chosen head brings along; none if it is not known.

    Args:
        given: Values by parameter name.
        usual: The head if none is given.
    """
    name = given.get("head", usual)
    own = HEADS.get(name).params if name in HEADS else None
    return (own,) if own is not None else ()
