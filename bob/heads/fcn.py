"""The head `fcn` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="fcn",
    produces="semantic",
    doc="FCN (Long et al. 2015, arXiv 1411.4038) on the top map at stride 16",
    build="bob.heads.segmentation_decoders:fcn",
    gmacs_per_mpixel=30.0,
    # At stride 32 (FCN-32s) the map is too coarse for thin things, and a plain ViT would have to pool its map to get
    # there; at 16 it has one size for every family, the finest that a ViT of patch 16 has by itself.
    levels=(32,),
    output_stride=16,
)
