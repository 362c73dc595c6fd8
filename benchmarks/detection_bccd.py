"""Detection on blood cells: BoB's `finetune` against plain torchvision on the same backbone and the same budget.

The peer is torchvision's Faster R-CNN with a feature pyramid on timm's ``features_only`` model: short side 320, batch
norm frozen, horizontal flips, AdamW, strides 8 to 32; 6 epochs of 205 pictures, as BoB. Both are scored on the 72 test
pictures by pycocotools. ``--data`` names a folder with SPLIT.json and SPLIT/*.jpg.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from benchmarks._dense import Side, compare, peer_backbone, shuffled, train_peer

SIDE, EPOCHS, BATCH = 320, 6, 4
BOB_BATCH = 2
PEER_LR = 5e-4
LEVELS = (8, 16, 32)  # a CPU chokes on a detector at stride 4
PROPOSALS, ROI_BATCH = 1000, 512  # torchvision's own


class _Pyramid(torch.nn.Module):
    """timm's maps through torchvision's feature pyramid, as torchvision's detectors want them."""

    def __init__(self, features: Any) -> None:
        super().__init__()
        self.features = features
        self.fpn = FeaturePyramidNetwork(features.feature_info.channels()[-3:], 256, extra_blocks=LastLevelMaxPool())
        self.out_channels = 256

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = self.features(images)[-len(LEVELS) :]
        return self.fpn({str(place): feature for place, feature in enumerate(maps)})


def peer(tag: str, data: Path, root: Path) -> dict[str, float]:
    """Train and score the peer."""
    from pycocotools.coco import COCO

    coco = COCO(str(data / "train.json"))
    images, ids = coco.dataset["images"], sorted(coco.getCatIds())
    if ids != list(range(1, len(ids) + 1)):
        raise SystemExit(f"category ids {ids}: the peer takes them as labels, so 1 to {len(ids)} are expected")
    torch.manual_seed(0)
    backbone = _Pyramid(peer_backbone(tag, root))
    anchors = AnchorGenerator(((32,), (64,), (128,), (256,)), ((0.5, 1.0, 2.0),) * 4)
    half = [0.5] * 3
    model = FasterRCNN(
        backbone,
        num_classes=len(ids) + 1,
        rpn_anchor_generator=anchors,
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], output_size=7, sampling_ratio=2),
        rpn_post_nms_top_n_train=PROPOSALS,
        rpn_post_nms_top_n_test=PROPOSALS,
        box_batch_size_per_image=ROI_BATCH,
        min_size=SIDE,
        max_size=2 * SIDE,
        image_mean=half,
        image_std=half,
    )
    pixels = {image["id"]: _read(data / "train" / image["file_name"]) for image in images}

    def batches(epoch: int) -> Iterator[tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]]:
        chance = np.random.default_rng(epoch)
        for indices in shuffled(len(images), BATCH, epoch):
            samples = [_sample(coco, images[index], pixels, flip=chance.random() < 0.5) for index in indices]
            yield [image for image, _ in samples], [target for _, target in samples]

    def loss(batch: Any) -> torch.Tensor:
        return torch.stack(list(model(*batch).values())).sum()

    steps = len(images) // BATCH
    train_s = train_peer(model, backbone.features, batches, loss, epochs=EPOCHS, steps_per_epoch=steps, lr=PEER_LR)
    return {**_scored(model, data), "train_s": train_s}


def _read(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float() / 255


def _sample(
    coco: Any, image: dict[str, Any], pixels: dict[int, torch.Tensor], *, flip: bool
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False))
    boxes = torch.tensor([one["bbox"] for one in found if min(one["bbox"][2:]) > 0]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([one["category_id"] for one in found if min(one["bbox"][2:]) > 0])
    picture = pixels[image["id"]]
    if flip:
        picture = picture.flip(-1)
        boxes[:, [0, 2]] = picture.shape[-1] - boxes[:, [2, 0]]
    return picture, {"boxes": boxes, "labels": labels}


@torch.inference_mode()
def _scored(model: torch.nn.Module, data: Path) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    coco, results = COCO(str(data / "test.json")), []
    model.eval()
    for image in coco.dataset["images"]:
        (found,) = model([_read(data / "test" / image["file_name"])])
        for box, score, label in zip(found["boxes"].tolist(), found["scores"], found["labels"], strict=True):
            sides = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append({"image_id": image["id"], "category_id": int(label), "bbox": sides, "score": float(score)})
    scored = COCOeval(coco, coco.loadRes(results), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    return {"AP": float(scored.stats[0]), "AP50": float(scored.stats[1])}


SIDE_OF_BOB = Side(
    task="detection",
    size=SIDE,
    epochs=EPOCHS,
    metrics={"AP": "box_ap", "AP50": "box_ap50"},
    params={
        "batch_size": BOB_BATCH,
        "levels": LEVELS,
        "anchor_scale": 4.0,
        "proposals": PROPOSALS,
        "roi_batch": ROI_BATCH,
        "scale": (1.0, 1.0),
        "lrs": (5e-4,),
    },
)

if __name__ == "__main__":
    compare(__doc__, name="bccd", side=SIDE_OF_BOB, peer=peer, peer_name="torchvision")
