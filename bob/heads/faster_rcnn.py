"""The head `faster_rcnn` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="faster_rcnn",
    produces="boxes",
    doc="Faster R-CNN (Ren et al. 2015, arXiv 1506.01497): proposals, then a box head per region",
    build="bob.heads.detection_two_stage:plain",
    gmacs_per_mpixel=170.0,
)
