"""A protocol's parameters as a model: names, types, ranges, defaults, meaning. No torch: planning reads this.

A protocol declares one class with a field per parameter::

    class KnnParams(ProtocolParams):
        k: int = Field(20, ge=1, description="neighbours that vote")

What a suite or ``--set`` says is checked against it while planning; ``KnnParams.of(job)`` gives a running job its
values.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from bob.core.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
    from typing_extensions import Self

    from bob.jobs.job import Job, Params

LIST_HINT = "'bob list protocols' shows every parameter with its default and range."


class ProtocolParams(BaseModel):
    """The base of every protocol's parameters.

    Each field has a type (int, float, bool, str, or a tuple of one of these), a default, and a description for
    `bob list protocols`. A check of values that must go together is a validator of the class that raises ConfigError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True)

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return a job's parameters, of those that this class declares."""
        return cls(**{name: value for name, value in job.params if name in cls.model_fields})

    @classmethod
    def checked(cls, protocol: str, given: Mapping[str, Any]) -> Params:
        """Return all parameters as pairs sorted by name: what is given, checked, and the defaults for the rest.

        Args:
            protocol: The protocol's name, for messages.
            given: Values by name, or the texts of values.

        Raises:
            ConfigError: A name that there is not, a value outside what it may be, or values that do not go together.
        """
        for name in given:
            if name not in cls.model_fields:
                known = ", ".join(sorted(cls.model_fields)) or "none"
                close = did_you_mean(name, cls.model_fields)
                raise ConfigError(f"protocol {protocol!r} has no parameter {name!r}.{close}", hint=f"It has: {known}.")
        try:
            values = cls(**given)
        except ValidationError as error:
            raise _config_error(cls, protocol, given, error) from error
        return tuple(sorted((name, getattr(values, name)) for name in cls.model_fields))

    @field_validator("*", mode="before")
    @classmethod
    def _listed(cls, value: Any, info: ValidationInfo) -> Any:
        """Take one value, or values with commas between them, for a list of one or several."""
        if not is_list(cls.model_fields[str(info.field_name)]):
            return value
        items = value if isinstance(value, list | tuple) else str(value).split(",")
        if not items:
            raise ValueError("a list that is not empty")
        return tuple(item.strip() if isinstance(item, str) else item for item in items)


@dataclass(frozen=True)
class OneOf:
    """Names that a value must be among, looked up when it is checked: a plug-in may have added to them.

    It stands beside the type: ``head: Annotated[str, OneOf(lambda: HEADS.names())]``.
    """

    names: Callable[[], Sequence[Any]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Check the value once it has its type."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Return the schema with the names of this moment."""
        return {**handler(schema), "enum": list(self.names())}

    def _check(self, value: Any) -> Any:
        if value not in self.names():
            raise ValueError(f"one of {', '.join(map(str, self.names()))}")
        return value


@functools.cache
def merged(*classes: type[ProtocolParams]) -> type[ProtocolParams]:
    """Return one class with the parameters and the checks of several; the first one's defaults win."""
    if len(classes) == 1:
        return classes[0]
    return create_model("And".join(each.__name__ for each in classes), __base__=classes)


def is_list(field: FieldInfo) -> bool:
    """Tell whether a parameter is a list of values."""
    return get_origin(field.annotation) is tuple


def in_words(cls: type[ProtocolParams], name: str) -> str:
    """Return a parameter's type and range in a few words, such as ``number, at least 0, at most 1``."""
    schema = cls.model_json_schema()["properties"][name]
    item = schema.get("items", schema)
    parts = [{"integer": "whole number", "boolean": "true or false", "string": "text"}.get(item.get("type"), "number")]
    if "enum" in item or "const" in item:
        parts = [" or ".join(map(str, item.get("enum", [item.get("const")])))]
    bounds = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "more than"}
    parts += [f"{word} {item[key]:g}" for key, word in bounds.items() if key in item]
    return ("list of: " if is_list(cls.model_fields[name]) else "") + ", ".join(parts)


def _config_error(
    cls: type[ProtocolParams], protocol: str, given: Mapping[str, Any], error: ValidationError
) -> ConfigError:
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    return ConfigError(
        f"parameter {name!r} of protocol {protocol!r} is {given.get(name)!r}: "
        f"expected {_expected(cls.model_fields[name], dict(first))}.",
        hint=LIST_HINT,
    )


def _expected(field: FieldInfo, fault: dict[str, Any]) -> str:
    """Return what pydantic expected, in words."""
    kind, context = fault["type"], fault.get("ctx", {})
    args = get_args(field.annotation)
    wants_whole = int in (field.annotation, *args)
    ranges = {"greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le")}
    ranges |= {"greater_than": ("more than", "gt"), "less_than": ("less than", "lt")}
    if kind in ranges:
        word, key = ranges[kind]
        return f"{word} {context[key]:g}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return "one of " + ", ".join(re.findall(r"'([^']*)'", context["expected"]))
    if kind == "finite_number" and not wants_whole:
        return "a finite number"
    words = {"int": "a whole number", "finite": "a whole number", "float": "a number", "bool": "true or false"}
    return words.get(kind.partition("_")[0], "a text")
