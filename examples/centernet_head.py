"""A detection head: objects as points, in the manner of CenterNet (Zhou et al. 2019, arXiv 1904.07850).

On the finest level of the feature pyramid one heat map per class peaks at the centres of objects; two more maps give
each peak its object's size and the centre's place within the cell. There are no anchors, and no suppression but that
of neighbouring cells::

    bob run --plugin centernet_head.py --task detection --protocol frozen --data ~/cells --set head=centernet \\
        --backbone resnet50.a1_in1k
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from bob.heads.head_registry import HEADS, Head
from bob.jobs.protocol_params import ProtocolParams

if TYPE_CHECKING:
    from bob.heads.detector_options import DetectorOptions
    from bob.heads.fpn import Fpn

Maps = dict[str, Tensor]
# The paper's: the focal loss's powers (equation 1), and the weight of the sizes (equation 4), which here are in cells.
ALPHA, BETA = 2, 4
SIZE_WEIGHT = 0.1
PRIOR = 0.1  # of a peak in the untrained map: its logit is the bias, -2.19 as in the authors' code


class CenternetParams(ProtocolParams):
    """What this head has beside the protocol's parameters."""

    spread: float = Field(
        0.1, gt=0, le=1, description="standard deviation of a peak in the training target, in sizes of the object"
    )


class Centernet(nn.Module):
    """Heat maps, sizes and offsets from the finest map; coarser ones only reach it through the network."""

    def __init__(self, fpn: Fpn, options: DetectorOptions) -> None:
        super().__init__()
        self.stride, self.options = fpn.strides[0], options
        self.heat, self.size, self.offset = (_tower(options.channels, out) for out in (options.classes, 2, 2))
        last: Any = self.heat[-1]
        nn.init.constant_(last.bias, math.log(PRIOR / (1 - PRIOR)))

    def losses(self, images: Tensor, maps: Maps, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the penalty-reduced focal loss of the heat maps and the L1 losses of sizes and offsets."""
        heat, size, offset = self._outputs(maps)
        wanted = torch.zeros_like(heat)
        place, sizes, offsets = [], [], []
        for number, target in enumerate(targets):
            for box, label in zip(target["boxes"] / self.stride, target["labels"].tolist(), strict=True):
                centre, extent = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
                column = int(centre[0].clamp(0, heat.shape[3] - 1))
                row = int(centre[1].clamp(0, heat.shape[2] - 1))
                peak = _peak(heat.shape[2:], row, column, extent * self.options.extra["spread"], heat.device)
                wanted[number, label] = torch.maximum(wanted[number, label], peak)
                place.append((number, row, column))
                sizes.append(extent)
                offsets.append(centre - torch.tensor([column, row], device=centre.device))
        count = max(1, len(place))
        found = {"loss_heat": _focal(heat, wanted) / count}
        if not place:
            # Every parameter has a gradient in each step, whatever the pictures show.
            return {**found, "loss_size": size.sum() * 0, "loss_offset": offset.sum() * 0}
        numbers, rows, columns = (torch.tensor(values, device=heat.device) for values in zip(*place, strict=True))
        at_size, at_offset = size[numbers, :, rows, columns], offset[numbers, :, rows, columns]
        found["loss_size"] = SIZE_WEIGHT * functional.l1_loss(at_size, torch.stack(sizes), reduction="sum") / count
        found["loss_offset"] = functional.l1_loss(at_offset, torch.stack(offsets), reduction="sum") / count
        return found

    def detect(self, images: Tensor, maps: Maps) -> list[Maps]:
        """Return the objects at the peaks of each picture's heat maps, best first."""
        heat, size, offset = self._outputs(maps)
        scores = heat.sigmoid()
        # A peak is what no neighbour exceeds: a 3 x 3 max pooling stands for suppression (section 5).
        scores = scores * (functional.max_pool2d(scores, 3, stride=1, padding=1) == scores)
        height, width = images.shape[-2:]
        bounds = torch.tensor([width, height, width, height], device=heat.device)
        found = []
        for own, sizes, offsets in zip(scores, size, offset, strict=True):
            best, index = own.flatten().topk(min(self.options.max_detections, own.numel()))
            index = index[best > self.options.score_threshold]
            labels, cell = index // own[0].numel(), index % own[0].numel()
            row, column = cell // own.shape[2], cell % own.shape[2]
            centre = torch.stack([column, row], dim=1) + offsets[:, row, column].T
            half = sizes[:, row, column].T.clamp_min(0) / 2
            boxes = torch.cat([centre - half, centre + half], dim=1) * self.stride
            found.append({
                "boxes": torch.minimum(boxes.clamp_min(0), bounds),
                "scores": best[: len(index)],
                "labels": labels,
            })  # fmt: skip
        return found

    def _outputs(self, maps: Maps) -> tuple[Tensor, Tensor, Tensor]:
        finest = next(iter(maps.values()))
        heat, size, offset = (part(finest).float() for part in (self.heat, self.size, self.offset))
        return heat, size, offset


def _tower(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, outputs, 1))


def _peak(shape: Any, row: int, column: int, deviation: Tensor, device: Any) -> Tensor:
    """Return a Gaussian of maximum 1 at a cell (section 3)."""
    rows, columns = torch.arange(shape[0], device=device), torch.arange(shape[1], device=device)
    wide, high = deviation.clamp_min(1e-3)
    squares = ((rows[:, None] - row) / high).square() + ((columns[None] - column) / wide).square()
    return torch.exp(-squares / 2)


def _focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the sum of equation 1, which trusts cells near a peak less as background."""
    score = logits.sigmoid()
    at_peak = wanted == 1
    right = (1 - score).pow(ALPHA) * functional.logsigmoid(logits)
    wrong = (1 - wanted).pow(BETA) * score.pow(ALPHA) * functional.logsigmoid(-logits)
    return -torch.where(at_peak, right, wrong).sum()


HEADS.add(
    "centernet",
    Head(
        name="centernet",
        produces="boxes",
        doc="objects as points, after CenterNet (Zhou et al. 2019, arXiv 1904.07850)",
        build=Centernet,
        gmacs_per_mpixel=110.0,  # three towers at stride 4 of 3 x 3 x 256 x 256, and torchvision's FPN
        params=CenternetParams,
    ),
)
