"""Turning a stored picture into 8-bit RGB, the right way up. Pillow and numpy only."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import stat
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bob.core.errors import DataError
from bob.data.file_names import EXTRA_SUFFIXES, UNREAD_SUFFIXES, suffix_of

MAX_PIXELS = 178_956_970  # where Pillow itself calls a file a decompression bomb
WHITE = (255, 255, 255)
WIDE_BITS = 16
BITS = "bob_bits"  # where a picture's ``info`` says how many bits its grey levels use

# What the files' suffixes promise, and photographs of several frames. Pillow goes by content and knows forty more, of
# which PostScript starts another program, Ghostscript, with the file as its input.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
HEIF_READER = "pi_heif"  # the extra "formats"
EXTRA_HINT = "pip install 'battle-of-the-backbones[formats]'"

# What Pillow's decoders raise on damaged or foreign bytes. MemoryError is not among them: that is the machine's fault.
BROKEN_PICTURE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def open_picture(source: Path | IO[bytes], *, name: str = "") -> Image.Image:
    """Open a picture of one of the ``FORMATS``: its header is read, its pixels not yet.

    Args:
        source: The file.
        name: What a stream is called: its suffix tells which reader is missing.

    Raises:
        OSError: It is no picture, of a kind that nothing here reads, or the path is no regular file: a pipe would be
            waited for without end.
    """
    if isinstance(source, Path):
        _require_file(source)
    suffix = suffix_of(name or str(source)) if name or isinstance(source, Path) else ""
    if suffix in UNREAD_SUFFIXES:  # Pillow takes a raw file for a TIFF, and its thumbnail for the picture
        raise OSError(f"no reader for {suffix}: save it as JPEG, PNG or TIFF")
    try:
        return Image.open(source, formats=formats_read())
    except UnidentifiedImageError as error:
        needed = {".avif": "AVIF"}.get(suffix, "HEIF" if suffix in EXTRA_SUFFIXES else None)
        if needed is None or needed in formats_read():
            raise
        raise OSError(f"no reader for {suffix}: {EXTRA_HINT}") from error


def _require_file(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise OSError(f"it is a link to {str(path.readlink())!r}, which is not there") from error
        raise
    if not stat.S_ISREG(mode):
        raise OSError(f"{path} is no regular file")


@functools.cache
def formats_read() -> tuple[str, ...]:
    """Return Pillow's names of the ``FORMATS`` that this process can read; asked first, it registers extra readers."""
    Image.init()
    if importlib.util.find_spec(HEIF_READER) is not None:
        importlib.import_module(HEIF_READER).register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def refuse_bomb(image: Image.Image) -> None:
    """Raise before the pixels of an absurdly large picture are unpacked.

    Raises:
        ValueError: It has more than ``MAX_PIXELS`` pixels.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"decompression bomb: {width} x {height} pixels, at most {MAX_PIXELS} are read")


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB with its EXIF orientation applied.

    Greyscale, palette and CMYK are converted; 16-bit grey is scaled, not clipped (65535 becomes 255, or the highest
    level of the bits that ``info[BITS]`` states); transparency is laid on white, as a viewer shows it. Only the first
    frame of an animation is read.

    Raises:
        ValueError: The pixels' range is not known (32-bit integer or float), or the picture is a decompression bomb.
        DataError: A level has more bits than are stated: to leave out the brightest pictures would choose among them.
    """
    refuse_bomb(image)
    bits = image.info.get(BITS, WIDE_BITS)
    image = ImageOps.exif_transpose(image)
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if is_wide(image):
        return _from_wide(image, bits).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    return image.convert("RGB")


def is_wide(image: Image.Image) -> bool:
    """Tell whether a picture's grey levels have more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _from_wide(image: Image.Image, bits: int) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F" or values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError(f"pixels of mode {image.mode} have no known range; 8-bit or 16-bit is expected")
    top = 2**bits - 1
    if values.max(initial=0) > top:
        raise DataError(
            f"a picture has the grey level {values.max()}, though those looked at use {bits} bits, up to {top}.",
            hint=f"Say how many bits they have: --set picture_bits={WIDE_BITS}",
        )
    return Image.fromarray(((values.astype(np.uint64) * 255 + top // 2) // top).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    paper = Image.new("RGB", layer.size, WHITE)
    paper.paste(layer, mask=layer.getchannel("A"))
    return paper
