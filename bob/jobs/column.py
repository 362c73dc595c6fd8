"""What a column of the row is. No torch, no pandas."""

from __future__ import annotations

from dataclasses import dataclass

DTYPES = ("string", "float64", "int64", "bool")
GROUPS = ("identity", "outcome", "metric", "cost", "provenance")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the row.

    Attributes:
        name: As in the table; a unit is part of the name (``latency_ms_b1_p50``).
        dtype: "string", "float64", "int64" or "bool"; every column may be null.
        group: One of ``GROUPS``.
        doc: One line: what it is, with its unit.
    """

    name: str
    dtype: str
    group: str
    doc: str


_TYPES = {"s": "string", "f": "float64", "i": "int64", "b": "bool"}


def columns(group: str, *entries: tuple[str, str, str]) -> tuple[Column, ...]:
    """Return the columns of a group from name, type ("s", "f", "i" or "b") and doc of each."""
    return tuple(Column(name=name, dtype=_TYPES[kind], group=group, doc=doc) for name, kind, doc in entries)
