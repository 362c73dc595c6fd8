"""Contact sheets: a few test pictures of a dense job with truth and prediction side by side, as one small PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw

from bob.data.annotations import IGNORE, Detections, Instances, Rle
from bob.tasks.dense.sheets.sheet_layout import (
    TAG_PX,
    Colour,
    Entry,
    Panel,
    class_colours,
    compose,
    fitted,
    font,
    hatched,
    ink_on,
    panel_size,
    png,
    readable,
    shown,
    text_width,
)

PICTURES = 6
LEAST_SCORE = 0.5
MOST_BYTES = 600_000
# Panels, in pixels, from the size that is wanted to the one at which even noise stays below the limit.
DETECTION_WIDTHS = (320, 280, 240, 200, 170)
SEGMENTATION_WIDTHS = (220, 190, 160)
TAG_NAME_PX = 90
MASK_SHARE = 0.45
HALO: Colour = (0, 0, 0)
Box = tuple[float, float, float, float]


def chosen(n: int, count: int = PICTURES) -> list[int]:
    """Return up to ``count`` indices spread evenly over ``n`` pictures, the first and the last among them."""
    count = min(n, count)
    return [round(place * (n - 1) / max(1, count - 1)) for place in range(count)]


def detection_sheet(
    pictures: Sequence[Image.Image],
    truth: Sequence[Instances],
    found: Sequence[Detections],
    classes: Sequence[str],
    *,
    least_score: float = LEAST_SCORE,
    title: str,
) -> bytes:
    """Draw the boxes, and the masks if there are any: truth left, prediction right.

    Args:
        pictures: About six, in any mode; shown at 320 pixels at most.
        truth: Of each picture, in its pixels. Crowds are drawn dashed and named so.
        found: Of each picture, in its pixels.
        classes: All of the data set, which fixes their colours.
        least_score: Detections below are left out: a detector is asked for a hundred of any score.
        title: One line above all.

    Returns:
        A PNG: the same arguments give the same bytes; below 600 kB for six pictures, whatever they show.
    """
    classes = readable(classes)
    sure = [detections.scores >= least_score for detections in found]

    def group(place: int, width: int) -> list[Panel]:
        picture, known, seen = pictures[place], truth[place], found[place]
        left = with_objects(picture, known, range(len(known)), classes, width)
        right = with_objects(picture, seen, np.flatnonzero(sure[place]), classes, width)
        return [
            Panel(image=left, caption=f"truth: {_objects(len(known))}"),
            Panel(image=right, caption=f"found: {_objects(int(sure[place].sum()))}"),
        ]

    labels = [known.labels for known in truth] + [item.labels[keep] for item, keep in zip(found, sure, strict=True)]
    colours = class_colours(classes)
    legend = [Entry(name=classes[label], colour=colours[label]) for label in _occurring(labels)]
    note = f"Left: truth. Right: found with a score of at least {least_score:g}, which stands beside the name."
    return smallest_enough(
        len(pictures), group, DETECTION_WIDTHS, columns=2, title=title, note=note, legend=legend, colours=colours
    )


def segmentation_sheet(
    pictures: Sequence[Image.Image],
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    classes: Sequence[str],
    *,
    title: str,
) -> bytes:
    """Draw picture, true classes and predicted classes beside each other, and a legend of the classes that occur.

    Args:
        pictures: About six, in any mode; shown at 220 pixels at most.
        truth: uint8 (H, W) of each picture; 255 is no label, and hatched.
        predicted: uint8 (H, W) of each picture.
        classes: All of the data set, which fixes their colours.
        title: One line above all.

    Returns:
        A PNG, as ``detection_sheet`` gives it.
    """
    colours, classes = class_colours(classes), readable(classes)

    def group(place: int, width: int) -> list[Panel]:
        known, guess, size = truth[place], predicted[place], panel_size(pictures[place], width)
        return [
            Panel(image=shown(pictures[place], width), caption="picture"),
            Panel(image=map_picture(known, colours, size), caption="truth"),
            Panel(image=map_picture(guess, colours, size), caption=f"prediction: {_agreement(known, guess)}"),
        ]

    labels = _occurring([np.unique(labels) for labels in (*truth, *predicted)])
    legend = [Entry(name=classes[label], colour=colours[label]) for label in labels if label != IGNORE]
    if IGNORE in labels:
        legend.insert(0, Entry(name="no label, not scored", colour=None))
    note = "Each colour is a class, named below. Left: picture. Middle: truth. Right: prediction."
    return smallest_enough(
        len(pictures), group, SEGMENTATION_WIDTHS, columns=2, title=title, note=note, legend=legend, colours=colours
    )


def smallest_enough(
    count: int,
    group: Callable[[int, int], list[Panel]],
    widths: Sequence[int],
    *,
    columns: int,
    title: str,
    note: str,
    legend: Sequence[Entry],
    colours: Sequence[Colour],
) -> bytes:
    """Return the sheet of ``count`` groups as PNG, its panels as wide as the limit of its bytes allows."""
    used = [entry.colour for entry in legend if entry.colour is not None]
    data = b""
    for width in widths:
        groups = [group(place, width) for place in range(count)]
        sheet = compose(groups, title=title, note=note, legend=legend, columns=columns, panel_width=width)
        data = png(sheet, used, dithered=width != widths[-1])
        if len(data) <= MOST_BYTES:
            break
    return data


def _occurring(labels: Iterable[np.ndarray]) -> list[int]:
    return sorted({int(label) for part in labels for label in part})


def _objects(count: int) -> str:
    return "no object" if count == 0 else f"{count} object{'s' * (count > 1)}"


def _agreement(truth: np.ndarray, predicted: np.ndarray) -> str:
    assert truth.shape == predicted.shape, f"truth is {truth.shape}, the prediction {predicted.shape}"
    scored = truth != IGNORE
    if not scored.any():
        return "no pixel is scored"
    return f"{(predicted == truth)[scored].mean():.0%} of pixels right"


def map_picture(labels: np.ndarray, colours: Sequence[Colour], size: tuple[int, int]) -> Image.Image:
    """Return a map uint8 (H, W) in its classes' colours; pixels without a label are hatched."""
    small = np.asarray(Image.fromarray(labels.astype(np.uint8)).resize(size, Image.Resampling.NEAREST))
    table = np.zeros((IGNORE + 1, 3), dtype=np.uint8)
    table[: len(colours)] = np.asarray(colours, dtype=np.uint8)[: IGNORE + 1]
    return Image.fromarray(np.where(small[..., None] == IGNORE, hatched(size), table[small]))


def with_objects(
    picture: Image.Image, objects: Instances | Detections, which: Iterable[int], classes: Sequence[str], width: int
) -> Image.Image:
    """Return the picture with the objects ``which``: masks below, boxes, then names where there is room."""
    image = shown(picture, width)
    scale = (image.width / picture.width, image.height / picture.height)
    colours = class_colours(classes)
    weight = objects.scores if isinstance(objects, Detections) else _areas(objects)
    order = sorted((int(place) for place in which), key=lambda place: (-float(weight[place]), place))
    if objects.masks is not None:
        for place in reversed(order):
            image = _tinted(image, objects.masks[place], colours[objects.labels[place]])
    draw = ImageDraw.Draw(image)
    corners = [_scaled(objects.boxes[place], scale, image.size) for place in order]
    for place, box in reversed(list(zip(order, corners, strict=True))):
        _outline(draw, box, colours[objects.labels[place]], dashed=_is_crowd(objects, place))
    taken: list[Box] = []
    for place, box in zip(order, corners, strict=True):
        label = int(objects.labels[place])
        _tag(draw, _name(objects, place, classes[label]), box, colours[label], taken)
    return image


def _areas(objects: Instances) -> np.ndarray:
    return np.prod(objects.boxes[:, 2:] - objects.boxes[:, :2], axis=1)


def _is_crowd(objects: Instances | Detections, place: int) -> bool:
    return isinstance(objects, Instances) and bool(objects.crowd[place])


def _name(objects: Instances | Detections, place: int, name: str) -> str:
    name = fitted(name, TAG_NAME_PX, TAG_PX)
    if isinstance(objects, Detections):
        return f"{name} {objects.scores[place]:.2f}"
    return f"{name} (crowd)" if _is_crowd(objects, place) else name


def _tinted(image: Image.Image, mask: Rle, colour: Colour) -> Image.Image:
    from hotcoco import mask as run_lengths

    pixels = Image.fromarray(run_lengths.decode(mask) * np.uint8(round(255 * MASK_SHARE)))
    alpha = pixels.resize(image.size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", image.size, colour), image, alpha)


def _scaled(box: np.ndarray, scale: tuple[float, float], size: tuple[int, int]) -> Box:
    left, right = (min(max(float(edge) * scale[0], 0), size[0] - 1) for edge in (box[0], box[2]))
    top, bottom = (min(max(float(edge) * scale[1], 0), size[1] - 1) for edge in (box[1], box[3]))
    return left, top, max(left, right), max(top, bottom)


def _outline(draw: ImageDraw.ImageDraw, box: Box, colour: Colour, *, dashed: bool) -> None:
    left, top, right, bottom = (round(edge) for edge in box)
    if not dashed:
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=HALO)
        draw.rectangle((left, top, right, bottom), outline=colour, width=2)
        return
    for x in range(left, right, 8):
        draw.line([(x, top), (min(x + 4, right), top)], fill=colour, width=2)
        draw.line([(x, bottom), (min(x + 4, right), bottom)], fill=colour, width=2)
    for y in range(top, bottom, 8):
        draw.line([(left, y), (left, min(y + 4, bottom))], fill=colour, width=2)
        draw.line([(right, y), (right, min(y + 4, bottom))], fill=colour, width=2)


def _tag(draw: ImageDraw.ImageDraw, text: str, box: Box, colour: Colour, taken: list[Box]) -> None:
    """Write a name at the box, where it hides no other name; leave it out if there is no such place."""
    limit_x, limit_y = draw.im.size
    width, height = text_width(text, TAG_PX) + 6, TAG_PX + 4
    left = max(0, min(box[0] - 1, limit_x - width))
    for top in (box[1] - height, box[1], box[3] - height, box[3]):
        here = (left, top, left + width, top + height)
        free = all(here[2] <= t[0] or t[2] <= here[0] or here[3] <= t[1] or t[3] <= here[1] for t in taken)
        if free and top >= 0 and top + height <= limit_y:
            draw.rectangle(here, fill=colour)
            draw.text((left + 3, top + 1), text, ink_on(colour), font(TAG_PX))
            taken.append(here)
            return
