"""Values of annotation files as people write them: numbers and truth values as text, fractions, or nothing."""

from __future__ import annotations

from typing import Any, TypeGuard

FALSE = ("", "0", "false", "no", "none", "null", "n", "f")
TRUE = ("1", "true", "yes", "y", "t")


def whole_number(value: Any) -> int | None:
    """Return an id as a whole number: 7, 7.0 and "7" are one id. None if it is no whole number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= 18:
        return int(value)
    return None


def truth(value: Any) -> bool | None:
    """Return a flag: 0, 0.0, "0", "False" and nothing are false, 1, "1", "true" true. None if it is neither."""
    if value is None:
        return False
    if isinstance(value, bool | int | float):
        return bool(value) if value in (0, 1) else None
    text = value.strip().lower() if isinstance(value, str) else None
    if text is None:
        return None
    if text in FALSE or text in TRUE:
        return text in TRUE
    try:
        return truth(float(text))
    except ValueError:
        return None


def is_text(value: Any) -> TypeGuard[str]:
    """Tell whether a value is text with something in it that every file can hold: JSON can write half characters."""
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
