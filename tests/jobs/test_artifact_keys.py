"""The addresses of artifacts are pinned: one that changes throws away every cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plain_job import JOB

from bob.jobs.job import Budget, OtherData
from bob.jobs.needs import needs_of

OTHER = OtherData(role="shifts", name="night", text="scenes:night", fingerprint="n")
EVERYTHING = replace(
    JOB,
    uses=("profile", "features", "classifier", "other_features", "corrupted_features"),
    others=(OTHER,),
    params=(("corruptions", ("fog",)), ("l2", (0.1, 1.0)), ("severities", (1, 2))),
    classifier=(("l2", (0.1, 1.0)),),
    hardware="a processor, 2 cores",
)


@pytest.mark.usefixtures("versions")
def test_the_addresses_are_those_of_every_cache_in_use():
    assert [need.key for need in needs_of(EVERYTHING)] == KEYS
    finetuned = replace(EVERYTHING, uses=("classifier",), budget=Budget(images_seen=100, trials=2))
    assert [need.key for need in needs_of(finetuned)] == FINETUNED


@pytest.fixture
def versions(monkeypatch):
    monkeypatch.setattr("bob.jobs.needs.library_versions", lambda: ("2.9.0", "1.0.20"))


KEYS = [
    "profile-62595f2eec422f01",
    "features-29cbdd3153e480bb",
    "classifier-a0c7910921e28dc5",
    "features-1eee3ea9c2314e60",
    "features-b13f67424c5135fe",
]
FINETUNED = ["classifier-263ea2d6f9465231"]
