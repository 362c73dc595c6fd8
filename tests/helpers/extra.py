"""``python -m tests.helpers.extra NAME``: what an extra of pyproject.toml asks for, a line each, as pip reads it."""

from __future__ import annotations

import re
import sys
from importlib import metadata


def requirements(extra: str) -> list[str]:
    """Return the requirements of an extra, as the installed package states them, without the extra's own marker."""
    own = re.compile(rf"""\s*(and\s+)?extra\s*==\s*['"]{extra}['"]""")
    stated = metadata.requires("battle-of-the-backbones") or []
    return [own.sub("", text).rstrip("; ") for text in stated if own.search(text)]


if __name__ == "__main__":
    sys.stdout.writelines(f"{one}\n" for one in requirements(sys.argv[1]))
