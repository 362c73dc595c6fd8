"""The job ids of every shipped suite are pinned: an id that changes orphans the rows of everybody who ran the suite."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from unittest import mock

import pytest
from places import REPOSITORY

from bob.core.files import digest
from bob.core.settings import Settings
from bob.jobs.plan import expand
from bob.jobs.suite import at_scale, check_suite, read_suite

FROST = "bob.tasks.ood.generalization.ood_generalization_spec.frost_available"
PINNED = Path(__file__).resolve().parent / "suite_ids.json"
"""By suite, scale and group of jobs: how many there are, and the digest of their sorted ids.

They follow from the packaged weights and the made data set `scenes` alone: every other checkpoint and data set is
missing. After a change that is meant to give new ids (the version of a task, a default), the file is written
anew: python -m tests.test_suite_ids > tests/suite_ids.json
"""


def suite_ids(path: Path, scale: str, folder: Path) -> dict[str, str]:
    source = read_suite(path)
    suite = at_scale(check_suite(source), scale or None)
    settings = Settings.resolve(results=str(folder / "results"), cache=str(folder / "cache"), data_dir=str(folder))
    groups: dict[str, list[str]] = defaultdict(list)
    with mock.patch(FROST, lambda: True):  # the photographs enter no id, and are an extra that may be missing
        jobs = expand(suite, source, settings).jobs
    for job in jobs:
        groups[f"{job.task} {job.protocol} {job.dataset_text}"].append(job.id)
    return {name: f"{len(ids)} {digest(sorted(ids))}" for name, ids in sorted(groups.items())}


def shipped() -> list[tuple[str, str]]:
    names = sorted(path.stem for path in (REPOSITORY / "suites").glob("*.yaml"))
    found = []
    for name in names:
        scales = check_suite(read_suite(REPOSITORY / "suites" / f"{name}.yaml")).scales
        found += [(name, scale) for scale in ("", *scales)]
    return found


@pytest.fixture
def nothing_else_here(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("BOB_WEIGHTS", "BOB_DATA"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize(("name", "scale"), shipped())
def test_the_job_ids_of_a_shipped_suite_are_those_that_were_published(name, scale, nothing_else_here):
    found = suite_ids(REPOSITORY / "suites" / f"{name}.yaml", scale, nothing_else_here)
    assert found == json.loads(PINNED.read_text())[name][scale]


def test_every_pinned_suite_is_still_shipped():
    pinned = json.loads(PINNED.read_text())
    assert sorted((name, scale) for name, scales in pinned.items() for scale in scales) == sorted(shipped())


if __name__ == "__main__":
    import os
    import sys
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HF_HOME=f"{folder}/hub", TORCH_HOME=f"{folder}/torch")
        content: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
        for name, scale in shipped():
            content[name][scale] = suite_ids(REPOSITORY / "suites" / f"{name}.yaml", scale, Path(folder))
        json.dump(content, sys.stdout, indent=1)
        sys.stdout.write("\n")
