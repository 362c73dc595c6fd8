"""The Python API: light to import, complete in tab completion, and the same jobs and rows as the command line."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from data_helpers import class_folders
from PIL import Image

import bob
from bob.jobs.asked import Asked, Folders

LITE0, CONTROL = "tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0.random"
SMALL = {"image_size": 32, "settings": {"precision": "fp32", "profile": False}}


@pytest.fixture
def pictures(tmp_path):
    return class_folders(tmp_path / "pictures", {"a": 12, "b": 12})


@pytest.fixture
def folders(tmp_path):
    return {"results": tmp_path / "results", "cache": tmp_path / "cache"}


def test_importing_it_is_light_and_its_names_are_complete():
    code = (
        "import sys, bob; heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy; assert dir(bob) == sorted(bob.__all__); [getattr(bob, name) for name in dir(bob)]; "
        "heavy = {'torch', 'pandas', 'timm', 'scipy', 'matplotlib'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        bob.nonsense  # noqa: B018 - the access is what is tested


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "bob", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"bob {bob.__version__}"


def test_backbones_are_a_table_that_a_condition_filters():
    small = bob.list_backbones("params_m < 10")
    assert 0 < len(small) < len(bob.list_backbones())
    assert (small["params_m"] < 10).all()
    assert "classification" in set(bob.list_tasks()["task"])
    assert "k" in set(bob.list_protocols("knn")["parameter"])
    assert "smoke" in set(bob.list_suites()["suite"])
    assert "scenes" in set(bob.list_datasets()["name"])


def test_a_plan_has_the_ids_of_the_command_line(folders, pictures, capsys):
    from bob.cli import main

    planned = bob.plan(backbones=[LITE0, CONTROL], data=pictures, protocol="knn", params={"k": 3}, **SMALL, **folders)
    flags = ["--backbone", LITE0, "--backbone", CONTROL, "--data", str(pictures), "--protocol", "knn"]
    flags += ["--set", "image_size=32", "--set", "k=3", "--set", "precision=fp32", "--set", "profile=false"]
    assert main(["plan", *flags, "--json", *(f"--{name}={path}" for name, path in folders.items())]) == 0
    printed = capsys.readouterr().out
    assert len(planned.jobs) == 2 and all(job.id in printed for job in planned.jobs)
    assert list(planned.frame()["state"]) == ["to run", "to run"]
    assert "to run" in planned._repr_html_()
    assert len(bob.plan("smoke", **folders).jobs) == 14


def test_rows_of_a_run_are_ranked_and_the_run_leaves_nothing_to_do(folders, pictures):
    asked = {"backbones": [LITE0, CONTROL], "data": pictures, "protocol": "knn", **SMALL, **folders}
    rows = bob.run(**asked, display="none")
    assert list(rows["status"]) == ["ok", "ok"] and set(rows["backbone"]) == {LITE0, CONTROL}
    again = bob.run(**asked, display="none")
    assert list(again["finished_at"]) == list(rows["finished_at"])
    built = bob.report(rows)
    assert built.boards and built.files["index.html"].is_file()
    assert built._repr_html_().startswith("<iframe sandbox srcdoc=")
    assert bob.report(bob.load_results(folders["results"]), out=folders["results"] / "all").boards
    assert set(bob.status(folders["results"])["state"]) == {"ok"}


def test_features_come_with_labels_ids_and_splits_and_leave_torch_as_it_was(folders, pictures):
    threads = torch.get_num_threads()
    found = bob.features(LITE0, pictures, image_size=32, display="none", cache=folders["cache"])
    assert found.features.shape == (24, 1280) and found.features.dtype == np.float32
    assert found.labels.shape == (24,) and len(set(found.ids)) == len(found) == 24
    assert set(found.split) == {"train", "val", "test"} and found.classes == ("a", "b")
    assert len(found.of("test").ids) == int((found.split == "test").sum()) > 0
    assert found.frame().shape == (24, 4 + 1280)
    assert torch.get_num_threads() == threads and not torch.are_deterministic_algorithms_enabled()
    again = bob.features(LITE0, pictures, image_size=32, display="none", cache=folders["cache"])
    assert np.array_equal(again.features, found.features)


def test_a_backbone_and_its_transform_go_together(folders):
    picture = Image.new("RGB", (90, 70), (200, 30, 30))
    model = bob.load_backbone(LITE0, image_size=64, cache=folders["cache"])
    views = bob.load_transform(LITE0, image_size=64)(picture)[None]
    assert model(views).shape == (1, 1280) and not model.training
    maps = bob.load_backbone(LITE0, pyramid=True, image_size=70, cache=folders["cache"])
    views = bob.load_transform(LITE0, pyramid=True, image_size=70)(picture)[None]
    assert [tuple(level.shape[2:]) for level in maps(views)] == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_what_is_missing_is_said_and_never_random(folders, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(bob.BobError, match=r"resnet50\.a1_in1k"):
        bob.load_backbone("resnet50.a1_in1k", cache=folders["cache"], download=False)
    fetched = bob.fetch(backbones=["resnet50.a1_in1k", LITE0], data="scenes", **folders)
    assert LITE0 in fetched.here and "resnet50.a1_in1k" in fetched.missing


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "name a suite, or backbones, and not both"),
        ({"backbones": LITE0}, "backbones need data"),
        ({"backbones": LITE0, "data": "scenes", "bakbones": 1}, "'bakbones' is not known. Did you mean 'backbones'"),
        ({"backbones": LITE0, "data": "scenes", "params": {"kk": 1}}, "has no parameter 'kk'"),
        ({"suite": "smoke", "protocol": "knn"}, "protocols goes with backbones"),
        ({"suite": "smokey"}, "Did you mean 'smoke'"),
        ({"backbones": LITE0, "data": "scenes", "weights": ["/nowhere"]}, "'/nowhere' is not a folder"),
    ],
)
def test_a_mistake_is_an_error_that_says_what_was_expected(asked, message, folders):
    with pytest.raises(bob.BobError, match=message.replace(".", r"\.").replace("(", r"\(")):
        bob.plan(**asked, **folders)


def test_every_argument_is_documented():
    for name in Asked.__annotations__:
        assert f"{name}:" in f"{Asked.__doc__}{Folders.__doc__}", name


SCRIPT = """
import bob
rows = bob.run(backbones=[{name!r}], data={data!r}, protocol="knn", image_size=32,
               settings={{"precision": "fp32", "profile": False}}, results={results!r}, display="lines")
print("rows:", len(rows), rows["status"].tolist())
"""


def test_a_script_without_a_main_guard_runs_once(pictures, tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.format(name=CONTROL, data=str(pictures), results=str(tmp_path / "results")))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "rows: 1 ['ok']\n"
    assert "1 job to run" in done.stderr
