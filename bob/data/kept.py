"""Small answers that are costly to find: kept as JSON in the cache, by the content they were found from."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bob.core.files import digest, write_text

log = logging.getLogger(__name__)


def kept(
    cache_dir: Path,
    key: list[Any],
    find: Callable[[], dict[str, Any]],
    *,
    still_good: Callable[[dict[str, Any]], bool] = lambda answer: True,
) -> dict[str, Any]:
    """Return what ``find()`` said under this key before, or ask it now. The answer must be JSON.

    Args:
        cache_dir: Where answers are kept.
        key: What the answer follows from.
        find: Finds it.
        still_good: Tells whether what an earlier answer refers to is still there.
    """
    path = cache_dir / "datasets" / f"kept-{digest(key, length=32)}.json"
    answer = _read(path)
    if answer is None or not still_good(answer):
        answer = find()
        write_text(path, json.dumps(answer))
    return answer


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("The cache file %s is damaged (%s): what it held is found anew.", path, error)
        return None
