"""The head `retinanet` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="retinanet",
    produces="boxes",
    doc="RetinaNet (Lin et al. 2017, arXiv 1708.02002): dense boxes from anchors, focal loss",
    build="bob.heads.detection_one_stage:retinanet",
    gmacs_per_mpixel=170.0,
    extra_levels="convs",
)
