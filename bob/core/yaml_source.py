"""YAML with line numbers, so that an error in a suite file can say where it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from bob.core.errors import SuiteError

Path = tuple[str | int, ...]

MAX_NODES = 100_000
# What PyYAML raises for a value that does not fit its tag: a 13th month, a number of 5,000 digits.
UNREADABLE_VALUE = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class YamlSource:
    """A parsed YAML text and the line each of its nodes starts on.

    Attributes:
        name: The file's name for messages.
        data: The content as plain Python values.
        lines: One-based line by path of keys and indices; for a mapping's entry, the line of its key. Empty if the
            content was not read from a text.
        given: What was said beside the text in place of a part of it, by its path: ``{("seeds",): "--set seeds=3"}``.
        changed: The same of entries of which only a part was replaced.
    """

    name: str
    data: Any
    lines: dict[Path, int]
    given: dict[Path, str] = field(default_factory=dict)
    changed: dict[Path, str] = field(default_factory=dict)

    def line(self, location: Sequence[str | int]) -> int:
        """Return the line of the deepest part of ``location`` that the text has."""
        return self.lines.get(self.known_path(location), 1)

    def at(self, location: Sequence[str | int]) -> str:
        """Return ``FILE:LINE: `` for the head of a message, or what was given in place of the text.

        Nothing for content that was not read from a text.
        """
        if given := _deepest(self.given, location):
            return f"{given}: "
        if not self.lines:
            return ""
        changed = _deepest(self.changed, location)
        return f"{self.name}:{self.line(location)}{f', with {changed}' if changed else ''}: "

    def known_path(self, location: Sequence[str | int]) -> Path:
        """Return ``location`` without the parts that are no keys of the text (a validator adds its own)."""
        path: Path = ()
        for part in location:
            if (*path, part) in self.lines or (*path, part) in self.given:
                path = (*path, part)
        return path


def _deepest(texts: Mapping[Path, str], location: Sequence[str | int]) -> str | None:
    """Return what is said of the longest part of a location."""
    found = (texts.get(tuple(location[:length])) for length in range(len(location), 0, -1))
    return next(filter(None, found), None)


def parse_yaml(text: str, *, name: str) -> YamlSource:
    """Parse one YAML document of plain values: no tags, no duplicate keys, no more than ``MAX_NODES`` values.

    Raises:
        SuiteError: The text is not such a document; the message starts with ``name:line``.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Path, int] = {}
        if root is not None:
            _Walk(lines, name).visit(root, ())
        return YamlSource(name=name, data=yaml.safe_load(text), lines=lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{name}:{line}: not valid YAML: {error.problem}.") from error
    except RecursionError as error:
        raise SuiteError(f"{name}:1: not valid YAML: it is nested too deeply, or within itself.") from error
    except (yaml.YAMLError, *UNREADABLE_VALUE) as error:
        raise SuiteError(f"{name}:1: not valid YAML: {error}.") from error


@dataclass
class _Walk:
    """Notes the lines of all nodes. An alias counts as often as it is used: nine lines of them can mean a billion."""

    lines: dict[Path, int]
    name: str
    seen: int = 0

    def visit(self, node: yaml.Node, path: Path) -> None:
        line = node.start_mark.line + 1
        self.seen += 1
        if self.seen > MAX_NODES:
            raise SuiteError(f"{self.name}:{line}: more than {MAX_NODES} values, with aliases (*name) written out.")
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.visit(item, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                self._visit_entry(key, value, path)

    def _visit_entry(self, key: yaml.Node, value: yaml.Node, path: Path) -> None:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise SuiteError(f"{self.name}:{line}: a key that is a list or a mapping; a name is expected.")
        entry = (*path, key.value)
        if entry in self.lines:
            first = self.lines[entry]
            raise SuiteError(f"{self.name}:{line}: key {key.value!r} stands twice here (first in line {first}).")
        self.lines[entry] = line
        self.visit(value, entry)
