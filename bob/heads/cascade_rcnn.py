"""The head `cascade_rcnn` as data. No torch: planning reads this."""

from __future__ import annotations

from bob.heads.head_registry import Head

HEAD = Head(
    name="cascade_rcnn",
    produces="boxes",
    doc="Cascade R-CNN (Cai and Vasconcelos 2018, arXiv 1712.00726): three box heads one after the other",
    build="bob.heads.detection_two_stage:cascaded",
    gmacs_per_mpixel=190.0,
)
