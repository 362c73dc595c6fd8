"""Which way up a picture lies: as its annotations do. Pillow only."""

from __future__ import annotations

from PIL import Image

ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # its values that swap width and height


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return (height, width) of an opened picture with its EXIF orientation applied. Pixels are not decoded."""
    width, height = image.size
    return (width, height) if _is_turned(image) else (height, width)


def oriented(image: Image.Image, size: tuple[int, int], *, said_by: str) -> Image.Image:
    """Return an opened picture so that ``to_rgb`` gives it the size that its annotations refer to.

    Annotations made on the turned picture and on the picture as stored are both common, and only the size tells: the
    EXIF orientation is applied if that gives ``size``, and left out if only the stored pixels do.

    Args:
        image: As opened; nothing is decoded.
        size: Height and width, in pixels.
        said_by: Where the size is stated, for the error.

    Raises:
        ValueError: The picture has another size either way.
    """
    height, width = size
    if upright_size(image) == size:
        return image
    if image.size == (width, height):
        image.getexif()[ORIENTATION] = 1
        return image
    raise ValueError(f"the file has {image.width} x {image.height} pixels, {said_by} says {width} x {height}")


def may_fit(image: Image.Image, size: tuple[int, int]) -> bool:
    """Tell whether ``oriented`` would succeed."""
    height, width = size
    return image.size == (width, height) or upright_size(image) == size


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ORIENTATION, 1) in TURNED
