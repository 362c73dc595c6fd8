"""One hook for every registry: a file or an installed package registers entries, whose code is in their jobs' ids."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from places import REPOSITORY

from bob.core import plugins
from bob.core.errors import BobError
from bob.core.plugins import load_plugin
from bob.core.registry import Registry
from bob.core.settings import Settings
from bob.core.yaml_source import parse_yaml
from bob.data.readers import READERS
from bob.jobs.code_version import plugin_code
from bob.jobs.plan import expand
from bob.jobs.suite import check_suite
from bob.tasks.metric_columns import METRIC_COLUMNS, MetricColumn, further_metrics
from bob.tasks.spec import TASKS

pytestmark = pytest.mark.usefixtures("fresh_plugins")

PROTOCOL = """
from dataclasses import replace
from bob.tasks.spec import TASKS, add_protocol

add_protocol("classification", replace(TASKS.get("classification").protocol("knn"), name="votes"))
"""
SUITE = """\
name: mine
backbones: [tf_efficientnet_lite0.in1k]
datasets: [scenes]
tasks: [{task: classification, protocols: [knn, PROTOCOL]}]
plugins: [FILE]
"""


def jobs(tmp_path, protocol="votes"):
    settings = Settings.resolve(results=str(tmp_path / "results"), cache=str(tmp_path / "cache"))
    text = SUITE.replace("PROTOCOL", protocol).replace("FILE", str(tmp_path / "mine.py"))
    source = parse_yaml(text, name="mine.yaml")
    return {job.protocol: job for job in expand(check_suite(source), source, settings).jobs}


def test_a_file_may_register_anything_and_need_not_bring_a_backbone(tmp_path):
    (tmp_path / "mine.py").write_text(PROTOCOL)
    load_plugin(tmp_path / "mine.py")
    assert TASKS.get("classification").protocol("votes").doc
    assert plugins.source_of("protocol", "classification/votes").file == tmp_path / "mine.py"
    assert plugins.source_of("protocol", "classification/knn") is None


def test_jobs_that_use_a_plugins_entry_carry_its_code_and_the_others_keep_their_ids(tmp_path):
    (tmp_path / "mine.py").write_text(PROTOCOL)
    first = jobs(tmp_path)
    assert first["votes"].plugin_code == plugin_code(first["votes"]) != ""
    assert first["knn"].plugin_code == ""
    (tmp_path / "mine.py").write_text(PROTOCOL + "# changed\n")
    second = jobs(tmp_path)
    assert second["votes"].id != first["votes"].id, "rows of the old code must not stand for the new"
    assert second["knn"].id == first["knn"].id


def test_a_plugin_takes_no_name_that_is_taken(tmp_path):
    (tmp_path / "mine.py").write_text(PROTOCOL.replace("votes", "linear"))
    with pytest.raises(BobError, match="has a protocol 'linear' already"):
        load_plugin(tmp_path / "mine.py")
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(PROTOCOL + f"# {name}\n")
    load_plugin(tmp_path / "one.py")
    with pytest.raises(BobError, match="'votes' already"):
        load_plugin(tmp_path / "two.py")


def test_a_copy_of_a_plugin_is_the_same_plugin(tmp_path):
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(PROTOCOL)
        load_plugin(tmp_path / name)
    assert plugins.source_of("protocol", "classification/votes").file == tmp_path / "two.py"


def installed(tmp_path, monkeypatch, content):
    (tmp_path / "their_entries.py").write_text(textwrap.dedent(content))
    info = tmp_path / "their_entries-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-entries\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bob.plugins]\ntheirs = their_entries\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "their_entries", raising=False)


def test_one_entry_point_of_an_installed_package_serves_every_registry(tmp_path, monkeypatch):
    installed(
        tmp_path,
        monkeypatch,
        PROTOCOL.replace("votes", "installed_votes")
        + "from bob.data.readers import READERS\nREADERS.add('theirs', 'json:loads')\n"
        + "from bob.tasks.metric_columns import METRIC_COLUMNS, MetricColumn\n"
        + "METRIC_COLUMNS.add('theirs', MetricColumn(name='theirs', doc='d', tasks=('t',), compute='json:loads'))\n",
    )
    assert TASKS.get("classification").protocol("installed_votes")
    assert "theirs" in READERS and "theirs" in METRIC_COLUMNS
    assert plugins.source_of("data set reader", "theirs").file == tmp_path / "their_entries.py"


def test_a_plan_reads_the_installed_packages_once(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(PROTOCOL)
    plugins._points.cache_clear()
    read, calls = plugins.metadata.entry_points, []
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda **group: calls.append(group) or read(**group))
    assert jobs(tmp_path)
    # timm's and torch's own look-ups go through the same function with groups of theirs.
    assert calls.count({"group": plugins.GROUP}) == 1


def test_an_installed_plugin_that_fails_is_named_with_its_package(tmp_path, monkeypatch):
    installed(tmp_path, monkeypatch, "1 / 0\n")
    with pytest.raises(
        BobError, match=r"'theirs' of package their-entries 1\.0 fails when it is imported: ZeroDivision"
    ):
        Registry("gadget", list_command="bob list gadgets").names()


def test_a_column_is_computed_from_outcomes_and_its_failure_costs_the_column_only(caplog):
    for name, compute in {"half": lambda outcomes: sum(outcomes["x"]) / 2, "broken": lambda outcomes: 1 / 0}.items():
        METRIC_COLUMNS.add(name, MetricColumn(name=name, doc="A test.", tasks=("mine",), compute=compute))
    found = further_metrics("mine", {"x": [1.0, 2.0]})
    assert found["half"] == 1.5 and found["broken"] != found["broken"]
    assert "'broken' cannot be computed from the outcomes x" in caplog.text
    assert further_metrics("another", {"x": [1.0]}) == {}


def test_a_column_takes_none_of_the_names_that_rows_have():
    with pytest.raises(BobError, match="'top1' is one of BoB's own"):
        MetricColumn(name="top1", doc="d", tasks=("classification",), compute=len)


@pytest.mark.parametrize("example", sorted((REPOSITORY / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_a_plugin_that_is_loaded_first_takes_none_of_bobs_own_entries_for_its_own(example):
    code = (
        "import sys, bob\n"
        "bob.load_plugin(sys.argv[1])\n"
        "from bob.core import plugins\n"
        "assert len(plugins._registered) == 1, plugins._registered\n"
    )
    subprocess.run([sys.executable, "-c", code, str(example)], check=True)
