"""One small generic registry: entries in code, lazy ``module:attr`` references, plug-ins, did-you-mean."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from bob.core import plugins
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


def resolved(entry: Any) -> Any:
    """Return a function given as such, or as ``package.module:attribute``, which is imported then.

    Raises:
        BobError: As ``load_reference``.
    """
    return load_reference(entry) if isinstance(entry, str) else entry


class Registry(Generic[T]):
    """Names to entries. An entry may be a reference that is imported at its first use.

    The plug-ins of installed packages are imported at the first miss or listing.

    Args:
        kind: The noun in error messages ("backbone").
        list_command: The command that shows the entries, for the error's hint.
    """

    def __init__(self, kind: str, *, list_command: str) -> None:
        self.kind = kind
        self._list_command = list_command
        self._entries: dict[str, T | str] = {}

    def add(self, name: str, entry: T | str) -> None:
        """Register an entry, or a ``module:attr`` reference to one.

        Raises:
            BobError: The name is taken, by another than an earlier state of the same plug-in.
        """
        if name in self._entries and not plugins.may_replace(self.kind, name):
            raise BobError(f"{self.kind} {name!r} is registered already. Give the new one another name.")
        self._entries[name] = entry
        plugins.note(self.kind, name)

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
            plugins.load_installed()
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries, hint=f"{self._list_command!r} shows what there is.")
        entry: T = resolved(self._entries[name])
        self._entries[name] = entry
        return entry

    def names(self) -> list[str]:
        """Return every name, in the order of registration."""
        plugins.load_installed()
        return list(self._entries)

    def built_in(self) -> list[str]:
        """Return the names of BoB's own entries: those that no plug-in has registered."""
        return [name for name in self._entries if plugins.source_of(self.kind, name) is None]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())
