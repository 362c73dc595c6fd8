"""The catalogue's checkpoints as data, one module per group of families.

Every fact is what ``python -m bob.backbones.describe_timm NAME`` reads from timm; a test compares each entry again.
"""

from __future__ import annotations

from bob.backbones.entries import convnext, hierarchical, mobile, resnet, vit

ALL = (*mobile.ENTRIES, *resnet.ENTRIES, *convnext.ENTRIES, *vit.ENTRIES, *hierarchical.ENTRIES)
