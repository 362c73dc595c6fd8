"""Jobs that the user wants stopped: a marker each, which every runner on the store looks at."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bob.store.layout import checked_job_id

FOLDER = "cancelled"


@dataclass(frozen=True)
class Cancellations:
    """The markers of a store.

    Attributes:
        results_dir: The store's folder.
    """

    results_dir: Path

    def add(self, job_ids: Iterable[str]) -> None:
        """Ask for these jobs' end; they leave no row and stay away until they are asked for anew."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for job_id in job_ids:
            (self._folder / checked_job_id(job_id)).touch()

    def remove(self, job_ids: Iterable[str]) -> None:
        """Let these jobs run again."""
        for job_id in self.ids() & set(job_ids):
            (self._folder / job_id).unlink(missing_ok=True)

    def ids(self) -> set[str]:
        """Return the jobs that are not to run."""
        try:
            return set(os.listdir(self._folder))  # noqa: PTH208 - names are all we need
        except FileNotFoundError:
            return set()

    @property
    def _folder(self) -> Path:
        return self.results_dir / FOLDER
