"""The head `linear` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="linear",
    produces="semantic",
    doc="one linear layer per pixel on all levels, without a neck",
    build="bob.heads.segmentation_decoders:linear",
    gmacs_per_mpixel=3.0,
    linear=True,
)
