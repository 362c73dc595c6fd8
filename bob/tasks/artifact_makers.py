"""Making the artifacts that jobs need, whatever their kind: once, by one process or by several together."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from bob.core.errors import BobError
from bob.core.registry import resolved
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.context import Context, UnfinishedError
from bob.jobs.job import Job, Need
from bob.jobs.needs import KINDS
from bob.tasks.setup import Setup
from bob.training.distributed import Ranks

BUILD, HAVE = "build", "have"  # what rank 0 tells the others of an artifact


def make(need: Need, job: Job, context: Context) -> Path:
    """Return the folder of an artifact, making it if nobody has yet.

    Args:
        need: One of ``needs_of(job)``.
        job: A job that needs it; any other that does would make the same.
        context: The circumstances. Of several processes all must ask; rank 0 holds the lease and writes, the others
            build beside it where the work is shared, and throw away what they have.

    Raises:
        BobError: The kind is unknown, or the artifact cannot be made.
        UnfinishedError: A part of it was made in this run, and other artifacts are to have their turn.
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

    artifacts = ArtifactStore(context.cache_dir)
    was_there = artifacts.has(need)
    in_turns = bool(context.run and KINDS[need.kind].take_turn)
    if in_turns and not resolved(KINDS[need.kind].take_turn)(Setup.of(job, context), need):
        raise UnfinishedError(f"{need.key} waits for its next turn")
    path = artifacts.get_or_make(need, build_together)
    if in_turns and was_there:
        build(path)  # a runner asks for one that is there only to have it renewed
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
