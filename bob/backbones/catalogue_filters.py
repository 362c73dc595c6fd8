"""Filters over the catalogue: ``{"params_m": "< 30", "family": "vit"}`` in a suite, text on the command line."""

from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bob.backbones.backbone import Backbone
from bob.core.errors import ConfigError, UnknownNameError, did_you_mean

FIELDS: dict[str, Callable[[Backbone], Any]] = {
    "name": lambda b: b.name,
    "arch": lambda b: b.arch,
    "tag": lambda b: b.tag,
    "family": lambda b: b.family,
    "pretrain_method": lambda b: b.pretrain_method,
    "pretrain_data": lambda b: b.pretrain_data,
    "params_m": lambda b: b.params_m,
    "license": lambda b: b.license,
    "image_size": lambda b: b.input.image_size,
    "size_multiple": lambda b: b.size_multiple,
    "package": lambda b: b.package or "",
    "source": lambda b: b.source,
}
NUMBERS = ("params_m", "image_size", "size_multiple")
# A value of these that no backbone has is a typing error, not an empty answer.
CLOSED = ("family", "pretrain_method", "pretrain_data", "license")
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "=": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"^\s*(<=|>=|!=|==|=|<|>)?\s*(.*?)\s*$", re.DOTALL)
_RANGE = re.compile(r"^\s*([-\d.eE+]*?\d)\s*\.\.\s*([-\d.eE+]+)\s*$")
_CLAUSE = re.compile(r"^\s*(\w+)\s*(<=|>=|!=|==|=|<|>)\s*(.+?)\s*$")
Test = Callable[[Backbone], bool]


def match(where: Mapping[str, Any], among: Sequence[Backbone], known: Sequence[Backbone]) -> tuple[Backbone, ...]:
    """Return the backbones that meet every condition, in their order.

    Args:
        where: Field to condition. A number, or a text such as ``"< 30"``, ``">= 5"``, ``"!= 224"`` or the range
            ``"10..30"`` (ends included) for numbers; a text for the others, compared without case, ``*`` and ``?``
            as in file names, ``"!= x"`` for the opposite. A list holds if any of its conditions does; a list of
            numbers' comparisons as one text, ``"> 5, < 30"``, if all do.
        among: The backbones to choose from.
        known: All that there are: a family that none of them has is an error, not an empty answer.

    Raises:
        UnknownNameError: A field that a backbone does not have, or a family, method, data or licence that none has.
        ConfigError: A condition that cannot be read.
    """
    tests = [_test(field, value, known) for field, value in where.items()]
    return tuple(backbone for backbone in among if all(test(backbone) for test in tests))


def select(text: str, among: Sequence[Backbone], known: Sequence[Backbone]) -> tuple[Backbone, ...]:
    """Return the backbones that a command line's filter text means.

    Args:
        text: Clauses separated by commas that must all hold: ``field op value`` (``params_m < 30``), or a word found
            in any field (``dino``), without case.
        among: The backbones to choose from.
        known: As for ``match``.

    Raises:
        UnknownNameError, ConfigError: As for ``match``.
    """
    chosen = tuple(among)
    for clause in filter(None, (part.strip() for part in text.split(","))):
        parts = _CLAUSE.match(clause)
        if parts:
            chosen = match({parts[1]: f"{parts[2]} {parts[3]}"}, chosen, known)
        else:
            chosen = tuple(b for b in chosen if _mentions(b, clause.lower()))
    return chosen


def _mentions(backbone: Backbone, word: str) -> bool:
    return any(word in str(value(backbone)).lower() for value in FIELDS.values())


def _test(field: str, condition: Any, known: Sequence[Backbone]) -> Test:
    if field not in FIELDS:
        choices = ", ".join(FIELDS)
        raise UnknownNameError(
            f"filter field {field!r} is not known: expected one of {choices}.{did_you_mean(field, FIELDS)}"
        )
    if isinstance(condition, (list, tuple)):
        return _any_of([_test(field, one, known) for one in condition])
    if field in NUMBERS:
        return _number_test(field, condition)
    if not isinstance(condition, str):
        raise ConfigError(f"filter {field}: {condition!r} is a {type(condition).__name__}: expected a text or a list.")
    return _text_test(field, condition, known)


def _any_of(tests: list[Test]) -> Test:
    return lambda backbone: any(test(backbone) for test in tests)


def _number_test(field: str, condition: Any) -> Test:
    read = FIELDS[field]
    if isinstance(condition, (int, float)) and not isinstance(condition, bool):
        return lambda backbone: read(backbone) == condition
    pairs = [pair for part in str(condition).split(",") for pair in _comparisons(field, part, condition)]
    return lambda backbone: all(OPERATORS[sign](read(backbone), bound) for sign, bound in pairs)


def _comparisons(field: str, part: str, whole: Any) -> list[tuple[str, float]]:
    if span := _RANGE.match(part):
        return [(">=", _number(field, span[1], whole)), ("<=", _number(field, span[2], whole))]
    sign, value = _split(part)
    return [(sign, _number(field, value, whole))]


def _split(condition: str) -> tuple[str, str]:
    parts = _CONDITION.match(condition)
    assert parts is not None, "the pattern matches every text"
    return {None: "=", "==": "="}.get(parts[1], parts[1]), parts[2]


def _number(field: str, text: str, whole: Any) -> float:
    try:
        return float(text)
    except ValueError:
        signs = " ".join(OPERATORS)
        raise ConfigError(
            f"filter {field}: {whole!r} cannot be read: expected a number, one of {signs} and a number "
            "('< 30'), or a range ('10..30')."
        ) from None


def _text_test(field: str, condition: str, known: Sequence[Backbone]) -> Test:
    sign, value = _split(condition)
    if sign not in ("=", "!="):
        raise ConfigError(f"filter {field}: {condition!r} orders texts: expected '= text', '!= text' or a pattern.")
    read, pattern = FIELDS[field], value.lower()
    if field in CLOSED and not set("*?[") & set(value):
        values = {read(b) for b in known}
        if pattern not in {one.lower() for one in values}:
            choices = ", ".join(sorted(values))
            close = did_you_mean(value, values)
            raise UnknownNameError(f"filter {field}: no backbone has {value!r}: expected one of {choices}.{close}")
    wanted = sign == "="
    return lambda backbone: fnmatch.fnmatchcase(read(backbone).lower(), pattern) == wanted
