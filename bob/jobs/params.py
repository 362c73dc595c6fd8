"""Protocol parameters: what a suite or ``--set`` says, checked against what the protocol declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from bob.core.errors import ConfigError, did_you_mean
from bob.jobs.job import Params
from bob.tasks.spec import Param, Protocol


def resolve_params(protocol: Protocol, given: Mapping[str, Any]) -> Params:
    """Return all parameters of a protocol, sorted by name: what was given, and the defaults for the rest.

    Raises:
        ConfigError: A name the protocol does not have, or a value outside what it may be.
    """
    for name in given:
        if name not in protocol.params:
            known = ", ".join(sorted(protocol.params)) or "none"
            raise ConfigError(
                f"protocol {protocol.name!r} has no parameter {name!r}.{did_you_mean(name, protocol.params)}",
                hint=f"It has: {known}.",
            )
    values = {
        name: _checked(protocol.name, name, param, given[name]) if name in given else param.default
        for name, param in protocol.params.items()
    }
    return tuple(sorted(values.items()))


def _checked(protocol: str, name: str, param: Param, value: Any) -> Any:
    typed = _typed(protocol, name, param.default, value)
    for item in typed if isinstance(typed, tuple) else (typed,):
        if param.choices and item not in param.choices:
            raise _error(protocol, name, value, f"one of {', '.join(map(str, param.choices))}")
        if param.low is not None and item < param.low:
            raise _error(protocol, name, value, f"at least {param.low:g}")
        if param.high is not None and item > param.high:
            raise _error(protocol, name, value, f"at most {param.high:g}")
    return typed


def _typed(protocol: str, name: str, default: Any, value: Any) -> Any:
    if isinstance(default, tuple):
        items = value if isinstance(value, list | tuple) else str(value).split(",")
        if not items:
            raise _error(protocol, name, value, "a list that is not empty")
        return tuple(_typed(protocol, name, default[0], item) for item in items)
    if default is None:
        return value
    if isinstance(default, bool):
        return _boolean(protocol, name, value)
    try:
        typed = type(default)(value)
    except (TypeError, ValueError, OverflowError):
        raise _error(protocol, name, value, _TYPE_NAMES[type(default)]) from None
    if isinstance(typed, float) and not math.isfinite(typed):
        raise _error(protocol, name, value, "a finite number")
    if isinstance(default, int) and isinstance(value, float) and value != typed:
        raise _error(protocol, name, value, "a whole number")
    return typed


def _boolean(protocol: str, name: str, value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise _error(protocol, name, value, "true or false")
    return words[str(value).lower()]


def _error(protocol: str, name: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"parameter {name!r} of protocol {protocol!r} is {value!r}: expected {expected}.",
        hint="'bob list protocols' shows every parameter and its default.",
    )


_TYPE_NAMES: dict[type, str] = {int: "a whole number", float: "a number", str: "a text"}
