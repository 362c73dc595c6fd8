"""The terminal that every command prints on: what comes from elsewhere is shown, never obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from bob.core.text import visible


class Terminal(Console):
    """A rich console that writes control characters in names, errors and rows as visible escapes.

    Markup is another matter: a text from elsewhere that is put into markup still needs ``rich.markup.escape``.
    """

    def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
        """Return rich's text for a plain one; made visible here, so that tables measure what they will show."""
        return super().render_str(visible(text), *arguments, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of something; rich's own control codes (cursor, screen) are left as they are."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
