"""The result store: one small record per attempt, folded into one Parquet table. Importing it imports no pandas."""

from __future__ import annotations

from bob.store.store import ResultStore, load_results

__all__ = ["ResultStore", "load_results"]
