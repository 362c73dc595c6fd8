"""``python -m tests.helpers.extra NAME``: what an extra of pyproject.toml asks for, as arguments of pip."""

from __future__ import annotations

import re
import sys
from importlib import metadata


def requirements(extra: str) -> list[str]:
    """Return the requirements of an extra, as the installed package states them."""
    named = re.compile(rf"""extra\s*==\s*['"]{extra}['"]""")
    stated = metadata.requires("battle-of-the-backbones") or []
    return [text.partition(";")[0].strip() for text in stated if named.search(text)]


if __name__ == "__main__":
    sys.stdout.write(" ".join(requirements(sys.argv[1])) + "\n")
