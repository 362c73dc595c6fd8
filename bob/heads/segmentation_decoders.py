"""The parts of the segmentation heads: maps of a pyramid in, class logits at a stride of 4 to 16 out."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from bob.core.errors import ConfigError

ASPP_RATES = (6, 12, 18)  # of DeepLabV3+ at output stride 16 (arXiv 1802.02611, section 4)
ASPP_DROPOUT = 0.1  # as in the authors' code; their paper names none


def upernet(channels: Sequence[int], strides: Sequence[int], *, classes: int, width: int) -> nn.Module:
    """UPerNet (Xiao et al. 2018, arXiv 1807.10221): pyramid pooling on top, an FPN, all levels fused at the finest.

    The decoder is segmentation-models-pytorch's, which also layer-normalises each map that it is given; no auxiliary
    head.

    Raises:
        ConfigError: There are fewer than two levels.
    """
    if len(channels) < 2:
        raise ConfigError(f"head 'upernet' needs at least two levels of the pyramid: got strides {tuple(strides)}.")
    # Importing it costs 0.2 s beside timm and torchvision, and planning and other heads need none of it.
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

    # It expects maps of stride 1 and 2 before these, and skips them.
    decoder = UPerNetDecoder([0, 0, *channels], encoder_depth=len(channels) + 1, decoder_channels=width)
    return _Decoded(_batch_free(decoder), width, classes, order=[0, 0, *range(len(channels))])


def deeplabv3plus(channels: Sequence[int], strides: Sequence[int], *, classes: int, width: int) -> nn.Module:
    """DeepLabV3+ (Chen et al. 2018, arXiv 1802.02611) at output stride 16, its low-level map at stride 4.

    The decoder is segmentation-models-pytorch's: depthwise separable ASPP at rates 6, 12 and 18, one separable 3x3
    convolution after it and one after the join with 48 low-level channels, where the paper has two after the join.

    Raises:
        ConfigError: The finest map is not at stride 4, or the top one not at 16.
    """
    if (strides[0], strides[-1]) != (4, 16):
        raise ConfigError(
            f"head 'deeplabv3plus' takes a map at stride 4 and the top map at 16: got strides {tuple(strides)}.",
            hint="Build the pyramid with what pyramid_needs('deeplabv3plus') says.",
        )
    from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder

    # It reads the map at place 2 and the last one.
    decoder = DeepLabV3PlusDecoder(
        [0, 0, channels[0], channels[-1]],
        encoder_depth=5,
        out_channels=width,
        atrous_rates=ASPP_RATES,
        output_stride=16,
        aspp_separable=True,
        aspp_dropout=ASPP_DROPOUT,
    )
    return _Decoded(_batch_free(decoder), width, classes, order=[0, 0, 0, -1])


def fcn(channels: Sequence[int], strides: Sequence[int], *, classes: int, width: int) -> nn.Module:
    """FCN (Long et al. 2015, arXiv 1411.4038) on the top map, as torchvision has it: a 3x3 convolution to a quarter.

    ``width`` is not used: the head follows the backbone, as published.
    """
    from torchvision.models.segmentation.fcn import FCNHead

    return _TopMap(FCNHead(channels[-1], classes))


class LinearOnLevels(nn.Module):
    """Batch norm and a 1x1 convolution, as DINOv2 is evaluated (arXiv 2304.07193), on all levels of a pyramid.

    Meant is: resize all levels to the finest, concatenate, classify each pixel linearly. Resizing and a 1x1
    convolution commute, so each level is classified at its own size and the logits are resized and added: the same
    map from a fraction of the memory. Each level's batch norm sees the pixels before resizing.
    """

    def __init__(self, channels: Sequence[int], *, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(count) for count in channels])
        # One bias is enough for a sum.
        self.levels = nn.ModuleList(
            [nn.Conv2d(count, classes, 1, bias=level == 0) for level, count in enumerate(channels)]
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Map per level (N, C_i, H_i, W_i), finest first, to logits (N, classes, H_0, W_0)."""
        pairs = zip(self.levels, self.norms, maps, strict=True)
        logits = [classify(norm(level)) for classify, norm, level in pairs]
        total = logits[0]
        for coarse in logits[1:]:
            total = total + resize(coarse, total.shape[-2:])
        return total


def linear(channels: Sequence[int], strides: Sequence[int], *, classes: int, width: int) -> nn.Module:
    """Return ``LinearOnLevels``; ``width`` is not used."""
    return LinearOnLevels(channels, classes=classes)


def resize(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (N, K, h, w) to ``size`` (height, width), bilinear, pixel areas aligned."""
    return functional.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


class _Decoded(nn.Module):
    """A decoder of segmentation-models-pytorch, and the classifier on it."""

    def __init__(self, decoder: nn.Module, width: int, classes: int, *, order: list[int]) -> None:
        super().__init__()
        self.decoder = decoder
        self.classifier = nn.Conv2d(width, classes, 1)
        self.order = order

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.classifier(self.decoder([maps[place] for place in self.order]))


class _TopMap(nn.Module):
    """A head on the last map alone; its last layer is the classifier."""

    def __init__(self, head: nn.Sequential) -> None:
        super().__init__()
        self.head = head

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return self.head(maps[-1])


def _batch_free(decoder: nn.Module) -> nn.Module:
    """Normalise globally pooled branches over their channels instead of over the batch.

    Their map has one pixel, so a batch of one has no statistics (torch refuses it) and one of two hardly any. A group
    norm of one group (Wu and He 2018, arXiv 1803.08494) gives the same for every batch. All other norms see many
    pixels and stay as published.
    """
    for branch in decoder.modules():
        children = list(branch.modules())[1:] if isinstance(branch, nn.Sequential) else []
        if not children or not isinstance(children[0], nn.AdaptiveAvgPool2d) or children[0].output_size != 1:
            continue
        for parent in branch.modules():
            for name, child in parent.named_children():
                if isinstance(child, nn.BatchNorm2d):
                    setattr(parent, name, nn.GroupNorm(1, child.num_features))
    return decoder
