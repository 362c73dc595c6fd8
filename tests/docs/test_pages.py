"""The pages say what is registered: no entry without a word about it, no example that is not there."""

from __future__ import annotations

import re

import pytest
from places import REPOSITORY

from bob.heads.head_registry import HEADS
from bob.probes.post_hoc_scores import OOD_SCORES
from bob.tasks.spec import TASKS

PROTOCOLS = (REPOSITORY / "docs" / "protocols.md").read_text()
NAMES = [
    *HEADS.built_in(),
    *OOD_SCORES.built_in(),
    *TASKS.built_in(),
    *sorted({name for task in map(TASKS.get, TASKS.built_in()) for name in task.protocols}),
]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_registered_is_explained(name):
    assert f"`{name}`" in PROTOCOLS


def test_every_example_is_explained_and_every_example_named_is_there():
    named = set(re.findall(r"`examples/(\w+\.py)`", (REPOSITORY / "docs" / "extending.md").read_text()))
    assert named == {path.name for path in (REPOSITORY / "examples").glob("*.py")}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "UPGRADING.md"])
def test_a_page_at_the_top_links_to_files_that_are_there(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (REPOSITORY / page).read_text())
    assert links and [link for link in links if not (REPOSITORY / link).exists()] == []
