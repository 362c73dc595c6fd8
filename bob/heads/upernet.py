"""The head `upernet` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="upernet",
    produces="semantic",
    doc="UPerNet (Xiao et al. 2018, arXiv 1807.10221): pyramid pooling, an FPN, all levels fused",
    build="bob.heads.segmentation_decoders:upernet",
    gmacs_per_mpixel=350.0,
)
