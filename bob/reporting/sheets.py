"""Contact sheets of a board: test pictures with truth and prediction, of the best candidate and the best control."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass

from bob.reporting.report_data import Board, Entry
from bob.store.layout import Layout

log = logging.getLogger(__name__)

MAX_BYTES = 3_000_000  # each goes into the page, in base64
MAX_PIXELS = 30_000_000


@dataclass(frozen=True)
class Sheet:
    """A contact sheet.

    Attributes:
        backbone: Whose predictions it shows.
        png: The picture; None if it cannot be shown.
        fault: Why not; empty if it can.
    """

    backbone: str
    png: bytes | None
    fault: str = ""


def contact_sheets(board: Board, layout: Layout) -> list[Sheet]:
    """Return the sheets of the best candidate and the best control that left one, at most one each."""
    best = next((entry for entry in board.candidates if entry.sheet), None)
    control = next((entry for entry in board.entries if entry.is_control and entry.sheet), None)
    return [_sheet(entry, layout) for entry in (best, control) if entry is not None]


def _sheet(entry: Entry, layout: Layout) -> Sheet:
    try:
        return Sheet(entry.backbone, _read(layout, str(entry.sheet)))
    except (_FaultError, OSError) as error:
        fault = str(error) if isinstance(error, _FaultError) else f"it cannot be read ({error.strerror or error})"
        log.warning("The contact sheet of job %s (%s) is left out: %s.", entry.sheet, entry.backbone, fault)
        return Sheet(entry.backbone, None, fault)


class _FaultError(Exception):
    """Why a sheet is not shown."""


def _read(layout: Layout, job_id: str) -> bytes:
    """Return the PNG of a job. Its place follows from the job's id: no path in a row is ever opened."""
    path = layout.sheet(job_id)
    if not path.resolve().is_relative_to(layout.sheets.resolve()):
        raise _FaultError("it is a link to a file outside the folder of contact sheets")
    if not path.is_file():
        raise _FaultError("the file is missing")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise _FaultError(f"it is larger than {MAX_BYTES / 1e6:g} MB")
    _check_png(content)
    return content


def _check_png(content: bytes) -> None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _FaultError(f"it has {picture.width} x {picture.height} pixels, more than {MAX_PIXELS:.0e}")
            picture.load()
    # What Pillow raises for a file that is cut off, garbled or a bomb.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _FaultError(f"it is no whole PNG picture ({error})") from error
