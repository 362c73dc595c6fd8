"""Whether a file's boxes follow its format's convention: one wrong box is a fault, most of them a mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bob.core.errors import DataError

LEAST = 3  # of fewer boxes nothing can be told
SAME_AREA = 0.02  # stated areas differ from their boxes' by rounding
APART, TOGETHER = 0.1, 0.5  # shares of the smaller of a mask's box and the stated one that lie in the other
SLACK = 1.0  # pixels by which a good box may leave its picture
NEARLY_ALL, MANY = 0.95, 0.1  # boxes of another convention fit it without exception, and often do not fit as shares
HINT = "COCO's boxes are [left, top, width, height] in pixels: convert them and run again."


@dataclass
class BoxJudge:
    """Counts what the boxes of one file look like.

    Attributes:
        boxes: Boxes that were looked at.
        outside: Those that leave their picture.
        corners: Those that would fit as corners (left, top, right, bottom), and better than as they are.
        shares: Those with all four numbers from 0 to 1.
        masked: Those that have a mask as well.
        apart: Those whose mask lies elsewhere.
        exchanged: Those whose mask would fit with x and y exchanged.
        sizes: Stated corners that would fit as [left, top, width, height], and cannot be corners.
        hint: What the format's boxes are, and what to do.
    """

    boxes: int = 0
    outside: int = 0
    corners: int = 0
    shares: int = 0
    masked: int = 0
    apart: int = 0
    exchanged: int = 0
    sizes: int = 0
    hint: str = HINT

    def look(self, box: Sequence[float], size: tuple[int, int], area: float | None) -> None:
        """Look at a stated [left, top, width, height] in a picture of (height, width), and at its stated area."""
        left, top, width, height = box
        self.boxes += 1
        self.shares += all(0 <= value <= 1 for value in box)
        is_outside = left + width > size[1] + SLACK or top + height > size[0] + SLACK
        self.outside += is_outside
        fits = 0 <= left < width <= size[1] + SLACK and 0 <= top < height <= size[0] + SLACK
        as_corners = (width - left) * (height - top)
        says = area is not None and _same(area, as_corners) and not _same(area, width * height)
        self.corners += fits and (is_outside or says)

    def look_at_corners(self, box: Sequence[float], size: tuple[int, int]) -> None:
        """Look at stated corners (left, top, right, bottom), in pixels, in a picture of (height, width)."""
        left, top, right, bottom = box
        self.boxes += 1
        self.shares += all(0 <= value <= 1 for value in box)
        self.outside += right > size[1] + SLACK or bottom > size[0] + SLACK
        fits = min(left, top) >= 0 and left + right <= size[1] + SLACK and top + bottom <= size[0] + SLACK
        self.sizes += fits and min(right, bottom) > 0 and (right < left or bottom < top)

    def look_at_mask(self, box: Sequence[float], mask_box: Sequence[float]) -> None:
        """Look at the corners of a stated box and of its mask's, (left, top, right, bottom) each."""
        self.masked += 1
        self.apart += _overlap(box, mask_box) < APART
        left, top, right, bottom = mask_box
        self.exchanged += _overlap(box, (top, left, bottom, right)) > TOGETHER

    def decide(self, file: object) -> None:
        """Refuse the file if most of its boxes follow another convention.

        Raises:
            DataError: They do; the message says what they look like.
        """
        if self.boxes < LEAST:
            return
        most = self.boxes / 2
        if self.shares > most:
            raise DataError(
                f"{file}: {self.shares} of {self.boxes} boxes have four numbers from 0 to 1: they look like shares of "
                "the picture, as YOLO writes them.",
                hint=self.hint,
            )
        if self.sizes > most:
            raise DataError(
                f"{file}: {self.sizes} of {self.boxes} boxes end before they begin and would fit as left, top, width "
                "and height.",
                hint=self.hint,
            )
        if self.corners > most:
            raise DataError(
                f"{file}: {self.corners} of {self.boxes} boxes look like corners (left, top, right, bottom): read as "
                "COCO's they leave their pictures, or have another area than is stated.",
                hint=self.hint,
            )
        if self.outside > most:
            raise DataError(
                f"{file}: {self.outside} of {self.boxes} boxes leave their pictures: they may be of pictures of "
                "another size, or of another convention.",
                hint=self.hint,
            )
        if self.masked >= LEAST and self.apart > self.masked / 2:
            looks = "; with x and y exchanged they would fit" if self.exchanged > self.masked / 2 else ""
            raise DataError(
                f"{file}: {self.apart} of {self.masked} masks lie away from their own boxes{looks}.",
                hint="A polygon is [x1, y1, x2, y2, ...]: make boxes and polygons agree and run again.",
            )


@dataclass
class ShareJudge:
    """Counts what the boxes of a split look like whose format wants centre and sides, as shares of the picture.

    Attributes:
        boxes: Boxes, and polygons, that were looked at.
        pixels: Those with a number above 1.
        outside: Boxes that leave their picture.
        corners: Boxes that would fit as corners (left, top, right, bottom).
        lefts: Boxes that would fit as left, top, width, height.
    """

    boxes: int = 0
    pixels: int = 0
    outside: int = 0
    corners: int = 0
    lefts: int = 0

    def look(self, box: Sequence[float], size: tuple[int, int]) -> None:
        """Look at a stated (x, y, width, height) in a picture of (height, width)."""
        x, y, width, height = box
        across, down = SLACK / size[1], SLACK / size[0]
        self.boxes += 1
        self.pixels += width > 1 + across or height > 1 + down or x > 1 + across or y > 1 + down
        is_left, is_right = x - width / 2 < -across, x + width / 2 > 1 + across
        self.outside += is_left or is_right or y - height / 2 < -down or y + height / 2 > 1 + down
        self.corners += 0 <= x < width <= 1 + across and 0 <= y < height <= 1 + down
        self.lefts += x >= 0 and y >= 0 and x + width <= 1 + across and y + height <= 1 + down

    def look_at_polygon(self, values: Sequence[float], size: tuple[int, int]) -> None:
        """Look at the numbers of a polygon, x and y in turn."""
        self.boxes += 1
        self.pixels += max(values) > 1 + SLACK / min(size)

    def decide(self, where: object, *, hint: str) -> None:
        """Refuse the split if its boxes follow another convention.

        Raises:
            DataError: They do; the message says what they look like.
        """
        if self.boxes < LEAST:
            return
        if self.pixels > self.boxes / 2:
            raise DataError(
                f"{where}: {self.pixels} of {self.boxes} boxes have numbers above 1: they look like pixels, and shares "
                "of the picture's sides are expected.",
                hint=hint,
            )
        if self.outside <= self.boxes * MANY:
            return
        fits = {"corners (left, top, right, bottom)": self.corners, "left, top, width, height": self.lefts}
        other = next((name for name, count in fits.items() if count >= NEARLY_ALL * self.boxes), None)
        if other is not None or self.outside > self.boxes / 2:
            looks = f"they look like {other}" if other else "they follow another convention"
            raise DataError(
                f"{where}: {self.outside} of {self.boxes} boxes leave their pictures, read as centre, width and "
                f"height: {looks}.",
                hint=hint,
            )


def _same(first: float, second: float) -> bool:
    return abs(first - second) <= SAME_AREA * max(abs(first), abs(second)) + SLACK


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how much of the smaller of two boxes of corners lies in the other, in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(0.0, width) * max(0.0, height) / smaller if smaller > 0 else 0.0
