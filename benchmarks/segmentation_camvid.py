"""Segmentation of streets: BoB's `finetune` against segmentation-models-pytorch on the same backbone and budget.

The peer is its FPN on timm's ``features_only`` model: half size (192 x 256), random crops, sizes and flips, AdamW;
8 epochs of 120 pictures, as BoB. Both are scored on the 60 test pictures at full size. ``--data`` names a folder with
SPLIT/images and SPLIT/masks whose label 11 is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from benchmarks._dense import Side, compare, peer_backbone, shuffled, train_peer

HEIGHT, WIDTH, EPOCHS, BATCH, CLASSES = 192, 256, 8, 4, 11
BOB_BATCH = 2
PEER_LR = 1e-3


class _Fpn(nn.Module):
    """The peer: its decoder on timm's maps, then one convolution."""

    def __init__(self, features: Any) -> None:
        from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder

        super().__init__()
        self.features = features
        self.decoder = FPNDecoder([3, 0, *features.feature_info.channels()], encoder_depth=5)
        self.last = nn.Conv2d(128, CLASSES, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.decoder([images, images, *self.features(images)])
        return interpolate(self.last(maps), size=images.shape[-2:], mode="bilinear", align_corners=False)


def peer(tag: str, data: Path, root: Path) -> dict[str, float]:
    """Train and score the peer."""
    torch.manual_seed(0)
    model = _Fpn(peer_backbone(tag, root))
    names = sorted(path.stem for path in (data / "train" / "images").iterdir())
    loaded = {name: _read(data / "train", name) for name in names}

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        chance = np.random.default_rng(epoch)
        for indices in shuffled(len(names), BATCH, epoch):
            views = [_view(*loaded[names[index]], chance) for index in indices]
            yield torch.stack([image for image, _ in views]), torch.stack([mask for _, mask in views])

    def loss(batch: Any) -> torch.Tensor:
        images, masks = batch
        return cross_entropy(model(images), masks, ignore_index=CLASSES)

    steps = len(names) // BATCH
    train_s = train_peer(model, model.features, batches, loss, epochs=EPOCHS, steps_per_epoch=steps, lr=PEER_LR)
    return {"mIoU": _scored(model, data), "train_s": train_s}


def _read(folder: Path, name: str) -> tuple[Image.Image, Image.Image]:
    image = next((folder / "images").glob(f"{name}.*"))
    return Image.open(image).convert("RGB"), Image.open(folder / "masks" / f"{name}.png")


def _view(image: Image.Image, mask: Image.Image, chance: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a random crop of half to full height, resized and perhaps mirrored."""
    share = chance.uniform(0.5, 1.0)
    height, width = round(image.height * share), round(image.width * share)
    left, top = chance.integers(image.width - width + 1), chance.integers(image.height - height + 1)
    box = (left, top, left + width, top + height)
    image = image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR, box=box)
    mask = mask.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST, box=box)
    if chance.random() < 0.5:
        image, mask = (one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in (image, mask))
    return _tensor(image), torch.from_numpy(np.array(mask)).long()


def _tensor(image: Image.Image) -> torch.Tensor:
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5) / 0.5


@torch.inference_mode()
def _scored(model: nn.Module, data: Path) -> float:
    model.eval()
    confusion = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    for path in sorted((data / "test" / "images").iterdir()):
        image, mask = _read(data / "test", path.stem)
        small = _tensor(image.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))[None]
        logits = interpolate(model(small), size=(image.height, image.width), mode="bilinear", align_corners=False)
        truth, found = np.array(mask).ravel(), logits[0].argmax(0).numpy().ravel()
        kept = truth < CLASSES
        confusion += np.bincount(truth[kept] * CLASSES + found[kept], minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    both = np.diag(confusion)
    return float(np.mean(both / (confusion.sum(0) + confusion.sum(1) - both)))


SIDE_OF_BOB = Side(
    task="semantic_segmentation",
    size=HEIGHT,
    epochs=EPOCHS,
    metrics={"mIoU": "miou"},
    params={"batch_size": BOB_BATCH, "channels": 128, "lrs": (1e-3,), "scale": (0.75, 2.0)},
)

if __name__ == "__main__":
    compare(__doc__, name="camvid", side=SIDE_OF_BOB, peer=peer, peer_name="smp FPN")
