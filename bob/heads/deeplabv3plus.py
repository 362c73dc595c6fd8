"""The head `deeplabv3plus` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="deeplabv3plus",
    produces="semantic",
    doc="DeepLabV3+ (Chen et al. 2018, arXiv 1802.02611) at output stride 16",
    build="bob.heads.segmentation_decoders:deeplabv3plus",
    gmacs_per_mpixel=60.0,
    levels=(4, 32),
    output_stride=16,
)
