"""What the documents at the top of the repository say of it, where it could become untrue unnoticed."""

from __future__ import annotations

import importlib.util
import re

import yaml
from places import REPOSITORY

import bob

MODULE = re.compile(r"`(bob(?:\.\w+)+)`")
BELOW = re.compile(r"the same below `(bob(?:\.\w+)+)`")


def moved_modules() -> dict[str, str]:
    """Return the new name of every module of 0.1.0 that UPGRADING.md has in its table."""
    found: dict[str, str] = {}
    for line in (REPOSITORY / "UPGRADING.md").read_text().splitlines():
        if not line.startswith("| ") or line.startswith("| 0.1.0"):
            continue
        old, new = line.strip("| ").split(" | ")
        before, below = MODULE.findall(old), BELOW.match(new)
        after = [f"{below[1]}.{name.rpartition('.')[2]}" for name in before] if below else MODULE.findall(new)
        found.update(zip(before, after[: len(before)], strict=True))
    return found


def test_every_module_that_the_upgrade_note_names_is_there():
    moved = moved_modules()
    assert moved["bob.job"] == "bob.jobs.job" and moved["bob.backbones.spec"] == "bob.backbones.backbone"
    assert [name for name in moved.values() if importlib.util.find_spec(name) is None] == []


def test_every_page_is_in_the_navigation_of_the_site():
    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())
    listed = set(re.findall(r"[\w-]+\.md", str(site["nav"])))
    top = set(re.findall(r'"(\w+\.md)": "\w+\.md"', (REPOSITORY / "docs/site_pages.py").read_text()))
    assert {"README.md", "CONTRIBUTING.md", "UPGRADING.md", "CHANGELOG.md", "SECURITY.md"} == top
    assert len(listed) == len(top) + len(list((REPOSITORY / "docs").glob("*.md")))
    assert {path.name for path in (REPOSITORY / "docs").glob("*.md")} <= listed


def test_every_function_of_the_api_is_named_in_the_upgrade_note():
    told = (REPOSITORY / "UPGRADING.md").read_text()
    assert [name for name in bob.__all__ if f"`bob.{name}`" not in told] == ["BobError", "__version__"]


def test_the_version_is_the_same_wherever_it_is_written():
    major_minor = bob.__version__.rpartition(".")[0]
    assert yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())["version"] == bob.__version__
    assert f"\n## {bob.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()
    assert f" to {bob.__version__}\n" in (REPOSITORY / "UPGRADING.md").read_text()
    assert f"| {major_minor} | yes |" in (REPOSITORY / "SECURITY.md").read_text()


def test_hosted_ci_runs_all_checks_on_every_supported_python():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    (job,) = workflow["jobs"].values()
    oldest = re.search(r'requires-python = ">=(3\.\d+)"', (REPOSITORY / "pyproject.toml").read_text())
    assert job["strategy"]["matrix"]["python"][0] == oldest[1]
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}"
    assert "PYTHON  ?= " in (REPOSITORY / "Makefile").read_text()  # what the environment says wins
    assert job["steps"][-1]["run"] == ".ci/run" and workflow["permissions"] == {"contents": "read"}
