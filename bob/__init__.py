"""BoB, a Battle-of-the-Backbones benchmark harness. Importing it imports neither torch nor pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bob.core.version import __version__

if TYPE_CHECKING:
    from bob.store import load_results

__all__ = ["__version__", "load_results"]


def __getattr__(name: str) -> Any:
    """Import the results loader (and pandas with it) only when somebody asks for it."""
    if name == "load_results":
        from bob.store import load_results

        return load_results
    raise AttributeError(f"module 'bob' has no attribute {name!r}")
