"""Where things lie on this machine: flags, then ``BOB_*`` variables, then defaults. None of it enters a job's id."""

from __future__ import annotations

import contextvars
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The folders of one invocation.

    Attributes:
        results_dir: The result store (``--results``, ``BOB_RESULTS``).
        cache_dir: Artifacts and manifests, all of which can be made again (``--cache``, ``BOB_CACHE``).
        data_dir: Where data sets are downloaded to and looked for (``--data-dir``, ``BOB_DATA``).
        weights_dirs: Folders with checkpoints, looked at first (``--weights``, ``BOB_WEIGHTS``, separated by ``:``).
    """

    results_dir: Path
    cache_dir: Path
    data_dir: Path
    weights_dirs: tuple[Path, ...] = ()

    @classmethod
    def resolve(
        cls,
        *,
        results: str | None = None,
        cache: str | None = None,
        data_dir: str | None = None,
        weights: list[str] | None = None,
    ) -> Settings:
        """Build the settings from command-line values, falling back to the environment and the defaults."""
        environment = os.environ
        cache_dir = Path(cache or environment.get("BOB_CACHE") or default_cache_dir()).expanduser()
        named = weights or [part for part in environment.get("BOB_WEIGHTS", "").split(os.pathsep) if part]
        return cls(
            results_dir=Path(results or environment.get("BOB_RESULTS") or "results").expanduser(),
            cache_dir=cache_dir,
            data_dir=Path(data_dir or environment.get("BOB_DATA") or cache_dir / "data").expanduser(),
            weights_dirs=tuple(Path(part).expanduser() for part in named),
        )


_in_use: contextvars.ContextVar[Path | None] = contextvars.ContextVar("bob_cache_dir", default=None)


def use_cache_dir(folder: Path) -> None:
    """Have everything that is looked up from now on be kept in this cache folder, ``Settings.cache_dir``."""
    _in_use.set(folder)


def cache_dir_in_use() -> Path:
    """Return the cache folder of this invocation; before it is known, that of the environment or the default."""
    own = _in_use.get() or os.environ.get("BOB_CACHE")
    return Path(own).expanduser() if own else default_cache_dir()


def default_cache_dir() -> Path:
    """Return ``$XDG_CACHE_HOME/bob``, or ``~/.cache/bob``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bob"
