"""What a JSON file holds of COCO, told by a few of its blocks: a file of 450 MB is not parsed to be recognised."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from typing import IO, Literal, Protocol

BLOCK_BYTES = 1 << 16
BLOCKS = 8  # the head, the tail, and what lies evenly between them
BOXES, KEYPOINTS, CAPTIONS, PANOPTIC = "boxes", "boxes with keypoints", "captions", "panoptic masks"
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?\s*\{")
_NO_ANNOTATION = re.compile(rb'"annotations"\s*:\s*\[\s*\]')


class Openable(Protocol):
    """A file, or a file in an archive."""

    def open(self, mode: Literal["rb"]) -> IO[bytes]:
        """Return its content."""
        ...


def coco_kind(path: Openable) -> str | None:
    """Return what COCO's annotations in a file are: BOXES, KEYPOINTS, CAPTIONS or PANOPTIC; None if it has none.

    A file with COCO's lists and an empty list of annotations counts as BOXES.

    Raises:
        OSError: It cannot be read.
    """
    content = _blocks(path)
    if not _OBJECT.match(content):
        return None
    if _NO_ANNOTATION.search(content) and b'"images"' in content and b'"categories"' in content:
        return BOXES
    if b'"image_id"' not in content:
        return None
    if b'"segments_info"' in content:
        return PANOPTIC
    if b'"bbox"' in content or b'"segmentation"' in content:
        return KEYPOINTS if b'"keypoints"' in content else BOXES
    return CAPTIONS if b'"caption"' in content else None


def mentions_boxes(path: Openable) -> bool:
    """Tell whether a file lists pictures with boxes or masks, as COCO's lists or in a form near to them.

    Raises:
        OSError: It cannot be read.
    """
    content = _blocks(path)
    return b'"file_name"' in content and (b'"bbox"' in content or b'"segmentation"' in content)


def _blocks(path: Openable) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size <= BLOCKS * BLOCK_BYTES:
            return file.read(BLOCKS * BLOCK_BYTES)
        starts = [(size - BLOCK_BYTES) * turn // (BLOCKS - 1) for turn in range(BLOCKS)]
        assert all(end - start >= BLOCK_BYTES for start, end in pairwise(starts)), "blocks do not overlap"
        parts = []
        for start in starts:
            file.seek(start)
            parts.append(file.read(BLOCK_BYTES))
        return b"\n".join(parts)
