"""Artifacts that are made in turns, alone on the machine: who may take them, and which are taken again."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

from bob.core.lease import Lease
from bob.core.machine import is_quiet
from bob.jobs.artifacts import ArtifactStore
from bob.jobs.job import Need
from bob.jobs.profiles import LIMIT_S, is_settled
from bob.runners.local.display import Display
from bob.runners.local.schedule import Schedule, Work


class Turns:
    """The turns of one run.

    All of a store's artifacts that take turns have one claim: runners that each kept some of them, and waited for the
    others' between two turns, would wait for ever; and on one host they would disturb each other.

    Args:
        schedule: What is to be done.
        artifacts: What is there.
        results_dir: The store, for the claim.
        display: Is told what happens.
        disturbed: Profiles to be taken again once all else is settled, if the host is quiet then.
        renewing: Those of the schedule that are there and are taken again.

    Attributes:
        run: Token of those that take turns with each other.
    """

    def __init__(
        self,
        schedule: Schedule,
        artifacts: ArtifactStore,
        *,
        results_dir: Path,
        display: Display,
        disturbed: Sequence[Work] = (),
        renewing: Sequence[Work] = (),
    ) -> None:
        self.run = uuid.uuid4().hex[:12]
        self._schedule = schedule
        self._artifacts = artifacts
        self._claim = results_dir / "claims" / "turns.lease"
        self._display = display
        self._disturbed = list(disturbed)
        self._renewing = {work.key for work in renewing}
        self._spent_s: dict[str, float] = {}
        self._lease: Lease | None = None

    def lease(self) -> Lease | None:
        """Return the claim, taken at the first turn; None if another runner has it.

        Raises:
            OSError: Its folder cannot be written.
        """
        if self._lease is not None and self._lease.held():
            return self._lease
        self._lease = Lease.try_take(self._claim)
        if self._lease is not None:
            count = self._schedule.exclusive_count
            what = f"{count} profiles take turns" if count > 1 else "A profile is taken"
            self._display.note(f"{what}, alone on the machine: up to {count * LIMIT_S:.0f} s.")
        return self._lease

    def release_if_over(self) -> None:
        """Give the claim back if nothing is left that takes turns."""
        if not self._schedule.has_exclusive:
            self.close()

    def close(self) -> None:
        """Give the claim back."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def is_done(self, need: Need) -> bool:
        """Tell whether an artifact needs no making, as another runner has made it, or renewed it."""
        return is_settled(self._artifacts, need) if need.key in self._renewing else self._artifacts.has(need)

    def spent_s(self, work: Work, wall_s: float, *, is_whole: bool = False) -> float:
        """Note the seconds of a turn; return those of all so far, and forget them with the last."""
        spent = self._spent_s.pop(work.key, 0.0) + wall_s
        if not is_whole:
            self._spent_s[work.key] = spent
        return spent

    def remember_disturbed(self, work: Work) -> None:
        """Have a profile that others disturbed taken again at the end, once."""
        if work.need is not None and work.key not in self._renewing and not is_settled(self._artifacts, work.need):
            self._disturbed.append(work)

    def take_disturbed_again(self) -> bool:
        """Queue the profiles that others disturbed, if the host is quiet now that nothing runs; tell whether any is."""
        works, self._disturbed = self._disturbed, []
        if not works:
            return False
        names = ", ".join(sorted({work.job.backbone for work in works}))
        if not is_quiet():
            self._display.note(f"Others use this host: the latency of {names} stays disturbed until a later run.")
            return False
        self._display.note(f"The host is quiet: the profile of {names} is taken again.")
        self.run = uuid.uuid4().hex[:12]  # these take turns with each other, and not with those of before
        for work in works:
            self._renewing.add(work.key)
            self._schedule.add(work)
        return True
