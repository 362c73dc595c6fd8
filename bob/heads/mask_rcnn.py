"""The head `mask_rcnn` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="mask_rcnn",
    produces="masks",
    doc="Mask R-CNN (He et al. 2017, arXiv 1703.06870): Faster R-CNN with a mask head",
    build="bob.heads.detection_two_stage:plain",
    gmacs_per_mpixel=250.0,
)
