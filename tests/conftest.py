"""Fixtures that several test files share."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import REPOSITORY


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of small cuts of real data sets beside the checkout; the test skips where it is missing."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is missing beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def _private_user_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off the user's own cache, hub and network."""
    monkeypatch.setenv("BOB_CACHE", str(tmp_path / "user-cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
