"""YAML with line numbers, so that an error in a suite file can say where it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from bob.errors import SuiteError

Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class YamlSource:
    """A parsed YAML text and the line each of its nodes starts on.

    Attributes:
        name: The file's name for messages.
        data: The content as plain Python values.
        lines: One-based line by path of keys and indices; for a mapping's entry, the line of its key.
    """

    name: str
    data: Any
    lines: dict[Path, int]

    def line(self, location: Sequence[str | int]) -> int:
        """Return the line of the deepest part of ``location`` that the text has."""
        return self.lines.get(self.known_path(location), 1)

    def known_path(self, location: Sequence[str | int]) -> Path:
        """Return ``location`` without the parts that are no keys of the text (a validator adds its own)."""
        path: Path = ()
        for part in location:
            if (*path, part) in self.lines:
                path = (*path, part)
        return path


def parse_yaml(text: str, *, name: str) -> YamlSource:
    """Parse one YAML document of plain values: no tags, no duplicate keys.

    Raises:
        SuiteError: The text is not such a document; the message starts with ``name:line``.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines: dict[Path, int] = {}
        if root is not None:
            _walk(root, (), lines, name)
        return YamlSource(name=name, data=yaml.safe_load(text), lines=lines)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SuiteError(f"{name}:{line}: not valid YAML: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise SuiteError(f"{name}:1: not valid YAML: {error}.") from error


def _walk(node: yaml.Node, path: Path, lines: dict[Path, int], name: str) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), lines, name)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            entry = (*path, key.value)
            line = key.start_mark.line + 1
            if entry in lines:
                raise SuiteError(f"{name}:{line}: key {key.value!r} stands twice here (first in line {lines[entry]}).")
            lines[entry] = line
            _walk(value, entry, lines, name)
