"""What the tests of attacks share."""

from __future__ import annotations

import pytest


def shorten_autoattack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give AutoAttack 20 steps, 5 steps and 20 queries instead of 100, 100 and 5000."""
    import pyautoattack

    def standard(self, version):
        assert version == "standard"
        original(self, version)
        for attack in (self.apgd, self.apgd_targeted):
            attack.n_iter, attack.n_iter_2 = 20, 4
        self.fab.n_iter, self.square.n_queries = 5, 20

    original = pyautoattack.AutoAttack._set_version
    monkeypatch.setattr(pyautoattack.AutoAttack, "_set_version", standard)
