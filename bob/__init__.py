"""BoB, a Battle-of-the-Backbones benchmark harness: which pretrained vision backbone is best for your task.

Importing it imports neither torch nor pandas; each function imports what it needs when it is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bob.core.version import __version__

if TYPE_CHECKING:
    from bob.api import (
        describe_data,
        features,
        fetch,
        list_backbones,
        list_datasets,
        list_heads,
        list_protocols,
        list_scores,
        list_suites,
        list_tasks,
        load_backbone,
        load_results,
        load_transform,
        plan,
        report,
        run,
        status,
        submit,
    )
    from bob.core.errors import BobError
    from bob.core.plugins import load_plugin

__all__ = [
    "BobError",
    "__version__",
    "describe_data",
    "features",
    "fetch",
    "list_backbones",
    "list_datasets",
    "list_heads",
    "list_protocols",
    "list_scores",
    "list_suites",
    "list_tasks",
    "load_backbone",
    "load_plugin",
    "load_results",
    "load_transform",
    "plan",
    "report",
    "run",
    "status",
    "submit",
]
_ELSEWHERE = {"BobError": "bob.core.errors", "load_plugin": "bob.core.plugins"}


def __getattr__(name: str) -> Any:
    """Import what a user asks for only then."""
    if name not in __all__:
        raise AttributeError(f"module 'bob' has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE.get(name, "bob.api")), name)


def __dir__() -> list[str]:
    return list(__all__)
