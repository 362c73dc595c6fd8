"""What contact sheets are made of: colours, legible text, panels in rows, a legend, and PNG bytes. Pillow and numpy."""

from __future__ import annotations

import functools
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
# The seven of Okabe and Ito (2008, "Color Universal Design"), then, one by one, whichever colour is farthest from all
# before it in CIELAB, as seen with normal vision, without red cones or without green ones (Machado et al. 2009).
# fmt: off
COLOURS: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0),
    (204, 121, 167), (165, 240, 135), (120, 30, 120), (150, 165, 90), (120, 150, 255), (180, 225, 180),
    (180, 60, 60), (105, 60, 0), (45, 120, 120), (60, 210, 225), (0, 75, 165), (225, 195, 90),
    (210, 150, 150), (225, 180, 135), (0, 105, 45), (105, 105, 150), (165, 30, 90), (165, 75, 15),
)
# fmt: on
BACKGROUND: Colour = (45, 45, 45)
BACKGROUND_NAMES = ("background", "__background__", "_background_", "void", "unlabeled")
PAPER: Colour = (255, 255, 255)
INK: Colour = (25, 25, 25)
FAINT: Colour = (95, 95, 95)
HATCH: tuple[Colour, Colour] = ((225, 225, 225), (165, 165, 165))
TITLE_PX, CAPTION_PX, TAG_PX = 19, 14, 12
MARGIN, GAP, GROUP_GAP = 14, 5, 22
LEGEND_ENTRIES, LEGEND_NAME_PX = 48, 190
PALETTE_SIZE = 256


def class_colours(classes: Sequence[str]) -> list[Colour]:
    """Return a colour for each class: the same classes have the same colours on every sheet.

    A first class that is the background is dark grey and takes no other's colour, so that a data set's objects look
    alike as boxes and as pixels. After 24 classes the colours come again, darker, then lighter.
    """
    grey = bool(classes) and classes[0].lower() in BACKGROUND_NAMES
    return [BACKGROUND] * grey + [_colour(index) for index in range(len(classes) - grey)]


def _colour(index: int) -> Colour:
    turn, place = divmod(index, len(COLOURS))
    if turn == 0:
        return COLOURS[place]
    towards, share = (0 if turn % 2 else 255), min(0.7, 0.25 + 0.15 * ((turn + 1) // 2))
    red, green, blue = (round(part + (towards - part) * share) for part in COLOURS[place])
    return red, green, blue


@functools.lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font at a height in pixels."""
    chosen = ImageFont.load_default(size)
    assert isinstance(chosen, ImageFont.FreeTypeFont)
    return chosen


def text_width(text: str, size: int) -> int:
    """Return how wide a text is drawn, in pixels."""
    return round(font(size).getlength(text))


def fitted(text: str, width: int, size: int) -> str:
    """Return a text that the font can draw within ``width`` pixels: cut with an ellipsis, unknown letters as "?"."""
    text = "".join(_drawn(letter) for letter in " ".join(text.split())[:400])
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def readable(classes: Sequence[str]) -> list[str]:
    """Return the classes' names; one of which the font has no letter at all becomes "class 7", its index."""
    return [
        name if any(_drawn(letter).isalnum() for letter in name) else f"class {index}"
        for index, name in enumerate(classes)
    ]


@functools.lru_cache(maxsize=4096)
def _drawn(letter: str) -> str:
    """Return the letter, without its accent if the font has it only so, or "?"."""
    plain = unicodedata.normalize("NFKD", letter)[:1]
    return next((form for form in (letter, plain) if _has_glyph(form)), "?")


def _has_glyph(letter: str) -> bool:
    face = font(CAPTION_PX)
    return letter == " " or bytes(face.getmask(letter)) != bytes(face.getmask("\U0010ffff"))


def ink_on(colour: Colour) -> Colour:
    """Return black or white, whichever is easier to read on a colour."""
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else PAPER


def panel_size(picture: Image.Image, width: int) -> tuple[int, int]:
    """Return width and height at which a picture is shown: ``width`` wide, or as high if it is upright."""
    scale = width / max(picture.size)
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def shown(picture: Image.Image, width: int) -> Image.Image:
    """Return the picture as it is shown: RGB, its longer side ``width`` pixels."""
    return picture.convert("RGB").resize(panel_size(picture, width), Image.Resampling.LANCZOS)


def hatched(size: tuple[int, int]) -> np.ndarray:
    """Return grey diagonal stripes, uint8 (height, width, 3), for pixels that have no label."""
    width, height = size
    stripes = (np.add.outer(np.arange(height), np.arange(width)) // 3) % 2
    return np.asarray(HATCH, dtype=np.uint8)[stripes]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a sheet and the line above it."""

    image: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One class in the legend; without a colour it is hatched."""

    name: str
    colour: Colour | None


def compose(
    groups: Sequence[Sequence[Panel]],
    *,
    title: str,
    note: str,
    legend: Sequence[Entry],
    columns: int,
    panel_width: int,
) -> Image.Image:
    """Lay out a sheet: title, a note, groups of panels in rows of ``columns`` groups, the legend below.

    Args:
        groups: Panels that belong together, from left to right; all groups have as many.
        title: Of the sheet, one line, cut where it is too long.
        note: How to read it, one line.
        legend: The classes that occur.
        columns: Groups side by side.
        panel_width: Of each panel, pixels; narrower ones are centred.
    """
    panels = max((len(group) for group in groups), default=2)
    group_width = panels * panel_width + (panels - 1) * GAP
    columns = max(1, min(columns, len(groups)))
    width = 2 * MARGIN + columns * group_width + (columns - 1) * GROUP_GAP
    rows = [groups[start : start + columns] for start in range(0, len(groups), columns)]
    heights = [max(panel.image.height for group in row for panel in group) + CAPTION_PX + 6 for row in rows]
    top = MARGIN + TITLE_PX + CAPTION_PX + 20
    places = _legend_places(legend, width - 2 * MARGIN)
    if len(legend) > LEGEND_ENTRIES:
        note = f"{note} The legend lists {LEGEND_ENTRIES} of {len(legend)} entries."
    lines = 1 + max((line for line, _ in places), default=-1)
    sheet = Image.new("RGB", (width, top + sum(heights) + 12 * len(rows) + lines * 22 + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), fitted(title, width - 2 * MARGIN, TITLE_PX), INK, font(TITLE_PX))
    draw.text((MARGIN, MARGIN + TITLE_PX + 7), fitted(note, width - 2 * MARGIN, CAPTION_PX), FAINT, font(CAPTION_PX))
    for row, height in zip(rows, heights, strict=True):
        for place, group in enumerate(row):
            _paste(sheet, group, (MARGIN + place * (group_width + GROUP_GAP), top), panel_width)
        top += height + 12
    _draw_legend(sheet, legend, places, top)
    return sheet


def _paste(sheet: Image.Image, group: Sequence[Panel], corner: tuple[int, int], panel_width: int) -> None:
    left, top = corner
    draw = ImageDraw.Draw(sheet)
    for panel in group:
        draw.text((left, top), fitted(panel.caption, panel_width, CAPTION_PX), INK, font(CAPTION_PX))
        sheet.paste(panel.image, (left + (panel_width - panel.image.width) // 2, top + CAPTION_PX + 6))
        left += panel_width + GAP


def _legend_places(legend: Sequence[Entry], width: int) -> list[tuple[int, int]]:
    places, line, left = [], 0, 0
    for entry in legend[:LEGEND_ENTRIES]:
        needed = 24 + text_width(fitted(entry.name, LEGEND_NAME_PX, CAPTION_PX), CAPTION_PX) + 16
        if left and left + needed > width:
            line, left = line + 1, 0
        places.append((line, left))
        left += needed
    return places


def _draw_legend(sheet: Image.Image, legend: Sequence[Entry], places: Sequence[tuple[int, int]], top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    for entry, (line, left) in zip(legend, places, strict=False):
        x, y = MARGIN + left, top + line * 22
        if entry.colour is None:
            sheet.paste(Image.fromarray(hatched((18, 14))), (x, y + 1))
        else:
            draw.rectangle((x, y + 1, x + 17, y + 14), fill=entry.colour)
        draw.rectangle((x, y + 1, x + 17, y + 14), outline=FAINT)
        draw.text((x + 24, y), fitted(entry.name, LEGEND_NAME_PX, CAPTION_PX), INK, font(CAPTION_PX))


def png(sheet: Image.Image, exact: Sequence[Colour], *, dithered: bool) -> bytes:
    """Return a sheet as PNG with a palette of 256 colours, a fifth of the bytes; colours in ``exact`` stay exact.

    Dithering hides the steps between the 256 and costs a third more bytes.
    """
    kept = sorted({PAPER, INK, *HATCH, *exact})[: PALETTE_SIZE // 2]
    fewer = sheet.quantize(PALETTE_SIZE - len(kept), method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    if dithered:
        fewer = sheet.quantize(palette=fewer, dither=Image.Dither.FLOYDSTEINBERG)
    palette = np.asarray(fewer.getpalette(), dtype=np.uint8).reshape(-1, 3)[: PALETTE_SIZE - len(kept)]
    indices = np.array(fewer)
    codes = np.asarray(sheet).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.int32)
    wanted = np.array([(red << 16) + (green << 8) + blue for red, green, blue in kept], dtype=np.int32)
    place = np.minimum(np.searchsorted(wanted, codes), len(wanted) - 1)
    indices = np.where(wanted[place] == codes, place + len(palette), indices).astype(np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(np.concatenate([palette, np.asarray(kept, dtype=np.uint8)]).tobytes())
    stream = io.BytesIO()
    image.save(stream, format="PNG", optimize=True)
    return stream.getvalue()
