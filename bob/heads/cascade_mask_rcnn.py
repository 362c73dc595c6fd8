"""The head `cascade_mask_rcnn` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="cascade_mask_rcnn",
    produces="masks",
    doc="Cascade R-CNN with a mask head on the boxes of its last stage",
    build="bob.heads.detection_two_stage:cascaded",
    gmacs_per_mpixel=270.0,
)
