"""Starting Python again for one of BoB's own modules, without the current folder among the places to import from.

``python -m`` and ``python -c`` put the folder they are started in before everything else. A ``json.py`` that came with
somebody's pictures would then be run in place of Python's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

_RUN = """\
import sys
sys.path[:] = {path!r}
import runpy
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs ``module`` as ``python -m`` would, importing from where this process does."""
    return [sys.executable, "-c", _RUN.format(path=import_path(), module=module), *arguments]


def import_path() -> list[str]:
    """Return where this process imports from, less the current folder, and with the folder that holds BoB."""
    own = str(Path(__file__).resolve().parents[2])
    path = [place for place in sys.path if place not in ("", ".")]
    return path if own in path else [*path, own]
