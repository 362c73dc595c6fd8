"""Fixtures that several test files share."""

from __future__ import annotations

import contextvars
import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import REPOSITORY

from bob.core import plugins
from bob.core.registry import Registry
from bob.tasks.spec import TASKS


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
    monkeypatch.setattr("bob.core.settings._in_use", contextvars.ContextVar("cache of this test", default=None))


@pytest.fixture
def fresh_plugins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take what a test's plug-ins register out of every registry again."""
    for name in ("_loaded", "_registered", "_installed"):
        monkeypatch.setattr(plugins, name, {})
    registries = [(found, dict(found._entries)) for found in gc.get_objects() if type(found) is Registry]
    protocols = [(task, dict(task.protocols)) for task in map(TASKS.get, TASKS)]
    yield
    for registry, entries in registries:
        registry._entries = entries
    for task, own in protocols:
        task.protocols.clear()
        task.protocols.update(own)
