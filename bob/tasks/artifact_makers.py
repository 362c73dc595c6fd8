"""Making the artifacts that jobs need: features, classifiers and profiles."""

from __future__ import annotations

import functools
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bob.core.errors import BobError
from bob.core.files import canonical_json, write_text
from bob.core.machine import BUSY_SHARE
from bob.core.registry import resolved
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context
from bob.jobs.job import Job, Need
from bob.jobs.needs import KINDS
from bob.tasks.setup import Setup
from bob.training.distributed import Ranks

BUILD, HAVE = "build", "have"  # what rank 0 tells the others of an artifact
PROFILE_FILE = "profile.json"
PROFILE_ATTEMPTS = 3
PROFILE_PAUSE_S = 2.0

log = logging.getLogger(__name__)


def make(need: Need, job: Job, context: Context) -> Path:
    """Return the folder of an artifact, making it if nobody has yet.

    Args:
        need: One of ``needs_of(job)``.
        job: A job that needs it; any other that does would make the same.
        context: The circumstances. Of several processes all must ask; rank 0 holds the lease and writes, the others
            build beside it where the work is shared, and throw away what they have.

    Raises:
        BobError: The kind is unknown, or the artifact cannot be made.
    """
    if need.kind not in KINDS:
        raise BobError(f"artifact kind {need.kind!r} is not known: expected one of {', '.join(KINDS)}.")
    build = functools.partial(_build, need, job, context)
    ranks = Ranks.of(context)
    if not ranks.first:
        return _beside(need, build, context, ranks)

    def build_together(folder: Path) -> None:
        ranks.agreed(BUILD)
        build(folder)

    path = ArtifactStore(context.cache_dir).get_or_make(need, build_together)
    ranks.agreed(HAVE)
    # Only now: a maker killed before the artifact is whole goes on from its checkpoint.
    shutil.rmtree(context.work_dir / need.key, ignore_errors=True)
    return path


def _beside(need: Need, build: Callable[[Path], None], context: Context, ranks: Ranks) -> Path:
    """Take part in what rank 0 makes, for as long as it makes it; return its folder."""
    while ranks.agreed(HAVE) == BUILD:
        with tempfile.TemporaryDirectory(prefix="bob-rank-") as scratch:
            build(Path(scratch))
    return ArtifactStore(context.cache_dir).path(need)


def _build(need: Need, job: Job, context: Context, folder: Path) -> None:
    resolved(KINDS[need.kind].build)(Setup.of(job, context), need, folder)


def write_profile(setup: Setup, need: Need, folder: Path) -> None:
    """Measure what the job's architecture costs, and write it to a folder."""
    from bob.training.profiling import measure_profile

    measure = functools.partial(
        measure_profile,
        setup.backbone,
        image_size=setup.job.input.image_size,
        precision=setup.precision,
        device=str(setup.device),
        threads=setup.context.threads,
    )
    write_text(folder / PROFILE_FILE, canonical_json(_least_busy(measure)))


def _least_busy(measure: Callable[[], dict[str, float | str]]) -> dict[str, float | str]:
    """Measure again while the host is busy, a few times at most; return the figures that others disturbed least."""
    best = measure()
    for _ in range(PROFILE_ATTEMPTS - 1):
        share = float(best["profile_others_cpu"])
        if share <= BUSY_SHARE:
            break
        log.warning("Others took %.0f %% of the host's CPU time during the profile: measuring again.", 100 * share)
        time.sleep(PROFILE_PAUSE_S)
        best = min(best, measure(), key=lambda figures: float(figures["profile_others_cpu"]))
    return best
