"""One small generic registry: entries in code, lazy ``module:attr`` references, entry points, did-you-mean."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any, Generic, TypeVar

from bob.core.errors import BobError, unknown_name

T = TypeVar("T")


def load_reference(reference: str) -> Any:
    """Import ``package.module:attribute`` and return the attribute.

    Raises:
        BobError: The reference is malformed, or the module or attribute is not there.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise BobError(f"reference {reference!r} is not of the form 'package.module:attribute'.")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise BobError(f"reference {reference!r} cannot be loaded: {error}.") from error


class Registry(Generic[T]):
    """Names to entries. An entry may be a reference that is imported at its first use.

    Args:
        kind: The noun in error messages ("backbone").
        list_command: The command that shows the entries, for the error's hint.
        entry_point_group: Installed packages add entries under this group, loaded at the first miss or listing.
    """

    def __init__(self, kind: str, *, list_command: str, entry_point_group: str | None = None) -> None:
        self.kind = kind
        self._list_command = list_command
        self._group = entry_point_group
        self._entries: dict[str, T | str] = {}
        self._loaded_entry_points = entry_point_group is None

    def add(self, name: str, entry: T | str, *, replace: bool = False) -> None:
        """Register an entry, or a ``module:attr`` reference to one. A name is given once unless ``replace``."""
        if name in self._entries and not replace:
            raise BobError(f"{self.kind} {name!r} is registered already. Give the new one another name.")
        self._entries[name] = entry

    def register(self, name: str) -> Callable[[T], T]:
        """Register what the decorator stands on."""

        def keep(entry: T) -> T:
            self.add(name, entry)
            return entry

        return keep

    def get(self, name: str) -> T:
        """Return the entry, importing it if it is a reference.

        Raises:
            UnknownNameError: No entry has this name; the message offers the closest.
        """
        if name not in self._entries:
            self._load_entry_points()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries, hint=f"{self._list_command!r} shows what there is.")
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = load_reference(entry)
            self._entries[name] = entry
        return entry

    def names(self) -> list[str]:
        """Return every name, in the order of registration."""
        self._load_entry_points()
        return list(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def _load_entry_points(self) -> None:
        if self._loaded_entry_points or self._group is None:
            return
        self._loaded_entry_points = True
        for point in metadata.entry_points(group=self._group):
            self._entries.setdefault(point.name, point.value)
