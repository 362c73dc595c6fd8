"""Text from elsewhere (names, errors, rows) as a terminal may show it: control characters become visible escapes.

A terminal obeys what it is sent: a folder's name can clear the screen, rewrite the line above, or set the clipboard.
"""

from __future__ import annotations

import logging
import re

# C0 but tab and line feed, DEL and C1; what turns the direction of writing; line and paragraph separators; and what
# stands for bytes that are no UTF-8, which cannot be written at all.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_NO_TEXT = re.compile("[\ud800-\udfff]")
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4})")

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{20,}")
_USER = re.compile(r"(\w+://)[^/\s@'\"]+@")
_QUERY = re.compile(r"(\w+://[^\s?'\"]+)\?[^\s'\")>]+")


def visible(text: str) -> str:
    """Return the text with every character that a terminal would obey written as an escape, ``\\x1b``."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable(name: str) -> str:
    """Return a file's name as text that UTF-8 can hold: a byte that is no UTF-8 becomes an escape, ``\\xe9``.

    In a name with such a byte, or with what looks like its escape, backslashes are doubled, so that no two names become
    one and ``os.fsencode`` of the unescaped text is the name. Other names stay as they are.
    """
    if name.isascii() and "\\x" not in name:
        return name
    if not _NO_TEXT.search(name) and not _ESCAPE.search(name):
        return name
    return _NO_TEXT.sub(_escaped, name.replace("\\", "\\\\"))


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number - 0xDC00:02x}" if 0xDC80 <= number <= 0xDCFF else f"\\u{number:04x}"


def without_secrets(text: str) -> str:
    """Return an error's text without what opens doors: hub tokens, passwords in addresses, and signed queries.

    Error texts become rows and reports, which are shared.
    """
    text = _TOKEN.sub("hf_...", text)
    return _QUERY.sub(r"\1?...", _USER.sub(r"\1...@", text))


class VisibleFormatter(logging.Formatter):
    """Formats log records so that nothing in them is obeyed by the terminal that shows them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line."""
        return visible(super().format(record))


class OnceFilter(logging.Filter):
    """Lets each warning through once: several parts of a command may meet the same fault."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record's text was not there before."""
        text = record.getMessage()
        is_new = text not in self._seen
        self._seen.add(text)
        return is_new


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: "1 job", "2 jobs"; ``plural`` where an s alone does not make it."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
