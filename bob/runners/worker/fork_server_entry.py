"""The one module the fork server is told to import: it imports the others and keeps what went wrong.

The standard library's fork server passes over an ImportError in silence and dies of any other exception; here both
are kept as text, for the runner to ask after.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import traceback

VARIABLE = "BOB_PRELOAD"
ERRORS: dict[str, str] = {}
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it, even in the middle of a long import."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def load(order: str) -> None:
    """Import the modules a JSON order names.

    Args:
        order: ``{"modules": [...], "path": [...], "folder": "...", "token": "..."}``; the folder is the runner's own.
    """
    content = json.loads(order)
    sys.path[:] = content["path"]
    os.chdir(content["folder"])
    for name in content["modules"]:
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - whatever it is, the runner reports it as the reason why nothing can start
            ERRORS[name] = traceback.format_exc()


if VARIABLE in os.environ:
    die_with_parent()
    load(os.environ[VARIABLE])
