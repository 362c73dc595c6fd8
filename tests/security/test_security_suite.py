"""Suite files that attack, and Python files that lie where BoB is started: only what is named as a plug-in is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from data_helpers import class_folders
from places import REPOSITORY

from bob.cli import main
from bob.core.errors import SuiteError
from bob.core.process import module_command
from bob.core.yaml_source import MAX_NODES, parse_yaml
from bob.jobs.suite import check_suite, read_suite
from bob.runners.worker import worker_server as server

NINE = "abcdefghi"
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(NINE)
)
SUITE = "name: s\nbackbones: [resnet18.random]\ndatasets: [scenes]\ntasks: [{task: classification, protocols: [knn]}]\n"
# Modules that Python itself, multiprocessing and torch import early. None of them may come from the current folder.
SHADOWED = (
    *("json", "socket", "selectors", "multiprocessing", "struct", "signal", "tempfile", "traceback", "ctypes", "runpy"),
    *("torch", "timm", "torchvision", "datasets", "yaml", "pandas", "PIL", "bob", "sitecustomize", "usercustomize"),
)
COMMAND = "import sys; from bob.cli import main; sys.exit(main())"


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch ran']",
        "!!python/object/new:os.system ['touch ran']",
        "name: !!python/name:os.system ''",
        "name: !!python/module:os",
        "? !!python/object/apply:os.system ['touch ran']\n: x",
        "<<: !!python/object/apply:os.system ['touch ran']",
    ],
)
def test_no_tag_runs_code(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SuiteError, match=r"^x\.yaml:1: "):
        parse_yaml(text, name="x.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "says"),
    [
        (LAUGHS, f"more than {MAX_NODES} values"),
        (LAUGHS.replace("[x,", "[{y: x},"), f"more than {MAX_NODES} values"),
        ("a: &a [*a]", "within itself"),
        ("a: &a {b: *a}", "within itself"),
        ("a: &a {<<: *a}", "within itself"),
        ("[" * 20_000, "nested too deeply"),
        ("{a: " * 5_000 + "}" * 5_000, "nested too deeply"),
        ("? [a, b]\n: c", "a key that is a list"),
        ("a: 2020-99-99", "not valid YAML"),
        ("a: " + "9" * 5_000, "not valid YAML"),
        ("a: !!int x", "not valid YAML"),
        ("a: !!bool maybe", "not valid YAML"),
        ("a: !!timestamp x", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)  # fmt: skip
def test_a_file_that_would_take_all_memory_or_break_the_parser_is_a_plain_error(text, says):
    with pytest.raises(SuiteError, match=says):
        parse_yaml(text, name="x.yaml")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/b", "..", ".", "a\nb", "a\\b", "<b>", "\x1b[2J", ""])
def test_a_suites_name_is_no_path(tmp_path, name):
    path = tmp_path / "s.yaml"
    path.write_text(SUITE.replace("name: s", f"name: {json.dumps(name)}", 1))
    with pytest.raises(SuiteError, match="name"):
        check_suite(read_suite(path))


def test_errors_about_a_suite_obey_no_terminal_codes(tmp_path, capsys):
    path = tmp_path / "s.yaml"
    path.write_text(SUITE + '"\\e[2Jgone\\r": 1\n')
    assert main(["plan", str(path)]) == 2
    told = capsys.readouterr().err
    assert "gone" in told and "\x1b" not in told and "\r" not in told


def test_a_python_file_runs_only_where_the_word_plugins_names_it(tmp_path, capsys):
    mark = tmp_path / "ran"
    for name in ("s.py", "plugin.py", "__init__.py", "conftest.py", "resnet18.py"):
        (tmp_path / name).write_text(f"open({str(mark)!r}, 'w').close()\n")
    class_folders(tmp_path / "data", {"a": 12, "b": 12})
    for folder in (tmp_path / "data", tmp_path / "data" / "a"):
        (folder / "data.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
        (folder / "__init__.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    suite = tmp_path / "s.yaml"
    folders = ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results")]
    suite.write_text(SUITE.replace("scenes", str(tmp_path / "data")))
    assert main(["plan", str(suite), *folders]) == 0
    assert main(["plan", str(suite), *folders, "--set", "plugins=[plugin.py]"]) == 2
    assert not mark.exists()
    suite.write_text(SUITE + "plugins: [plugin.py]\n")
    assert main(["plan", str(suite), *folders]) == 2  # it registers nothing, but it was named, so it ran
    assert mark.exists() and "registers nothing" in capsys.readouterr().err


def _trap(folder: Path) -> Path:
    """Fill a folder with modules that leave a mark; return the mark."""
    mark = folder.parent / "imported"
    for name in SHADOWED:
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write('{name} ')\nraise ImportError('a trap')\n")
    return mark


def _bob(tmp_path: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess:
    """Run the command as its console script does: the script's folder comes first on the path, not the current one."""
    script = tmp_path / "bin" / "bob"
    script.parent.mkdir(exist_ok=True)
    script.write_text(before + COMMAND)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "BOB_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=tmp_path / "data",
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("safe_path", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_whole_run_imports_nothing_from_the_folder_it_is_started_in(tmp_path, safe_path):
    class_folders(tmp_path / "data", {"a": 12, "b": 12})
    mark = _trap(tmp_path / "data")
    asked = ["--backbone", "resnet18.random", "--protocol", "knn", "--data", ".", "--set", "image_size=32"]
    folders = ["--results", str(tmp_path / "results"), "--set", "profile=false", "--no-fetch"]
    # Python 3.10 has no PYTHONSAFEPATH: the other way is taken here too.
    has = safe_path and server.HAS_SAFE_PATH
    before = f"from bob.runners.worker import worker_server as server\nserver.HAS_SAFE_PATH = {has}\n"
    done = _bob(tmp_path, "run", *asked, *folders, before=before)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "1 job: 1 ok" in done.stdout and not mark.exists()


def test_a_module_run_as_a_child_imports_nothing_from_there_either(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    mark = _trap(tmp_path / "data")
    monkeypatch.chdir(tmp_path / "data")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.syspath_prepend("")  # as in an interactive session
    command = module_command("bob.data.describe_dataset", "imagefolder", "x", ".", ".")
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "'ImageFolderReader' object has no attribute 'describe'" in child.stderr and not mark.exists()


@pytest.mark.slow
def test_the_children_that_describe_backbones_and_data_import_nothing_from_there_either(tmp_path):
    (tmp_path / "data").mkdir()
    mark = _trap(tmp_path / "data")
    # A name outside the catalogue: timm itself is asked, by a child process.
    done = _bob(tmp_path, "plan", "--backbone", "resnest14d.gluon_in1k", "--data", "scenes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["backbone"] == "resnest14d.gluon_in1k" and not mark.exists()


def test_the_trap_above_works_on_a_python_that_is_started_carelessly(tmp_path):
    (tmp_path / "data").mkdir()
    mark = _trap(tmp_path / "data")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    subprocess.run([sys.executable, "-c", "import socket"], cwd=tmp_path / "data", env=environment, capture_output=True)
    assert "socket" in mark.read_text()
