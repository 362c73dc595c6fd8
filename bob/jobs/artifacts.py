"""Artifacts: what jobs share, addressed by the content that made it, written once, under a lease."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from bob.core.files import canonical_json, sync_folder, temporary_name, write_text
from bob.core.lease import holding
from bob.jobs.job import Need

log = logging.getLogger(__name__)


class ArtifactStore:
    """The artifacts under one cache folder; any number of processes and hosts may use it at once.

    Args:
        cache_dir: The folder; artifacts lie in ``artifacts/KEY/`` below it.
    """

    def __init__(self, cache_dir: Path) -> None:
        self._root = cache_dir / "artifacts"
        self._leases = cache_dir / "leases"

    def path(self, need: Need) -> Path:
        """Return the folder the artifact has or will have."""
        return self._root / need.key

    def has(self, need: Need) -> bool:
        """Tell whether the artifact is there, whole: its folder appears by one rename when it is complete."""
        return self.path(need).is_dir()

    def get_or_make(self, need: Need, build: Callable[[Path], None]) -> Path:
        """Return the artifact's folder, calling ``build(folder)`` to fill it if nobody has yet.

        A second process that asks meanwhile waits for the first. If ``build`` raises, nothing is left behind.
        """
        final = self.path(need)
        if self.has(need):
            return final
        with holding(self._leases / f"{need.key}.lease"):
            if self.has(need):
                return final
            self._root.mkdir(parents=True, exist_ok=True)
            folder = temporary_name(final)
            folder.mkdir()
            try:
                build(folder)
                write_text(folder / "content.json", canonical_json({"kind": need.kind, "content": need.content}))
                folder.rename(final)
                sync_folder(self._root)
            except Exception as error:
                # A holder that stalled past its lease finds its successor's artifact in place (same content: keep
                # that), or meets what its successor cleared away.
                if not self.has(need):
                    raise
                log.warning("Making %s ended with %r, but another process has made it meanwhile.", need.key, error)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        return final
