"""The examples of docs/extending.md, run as a user runs them: with --plugin, on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from places import REPOSITORY
from sklearn.metrics import average_precision_score, balanced_accuracy_score

import bob
from bob.cli import main

EXAMPLES = REPOSITORY / "examples"
LITE0, CONTROL = "tf_efficientnet_lite0.in1k", "tf_efficientnet_lite0.random"
pytestmark = pytest.mark.usefixtures("fresh_plugins")


@pytest.fixture
def photos(tmp_path):
    """Forty pictures in a CSV file: red or not, bright or not, or both; a picture that is neither is called dark."""
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,split,labels"]
    for number in range(40):
        red, bright = rng.integers(0, 2, 2)
        ground = np.array([200 if red else 40, 40, 40]) + (55 if bright else 0)
        pixels = np.clip(ground + rng.normal(0, 10, (32, 32, 3)), 0, 255).astype(np.uint8)
        labels = [name for name, has in (("red", red), ("bright", bright)) if has] or ["dark"]
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{number}.png")
        split = "train" if number < 20 else "val" if number < 28 else "test"
        lines.append(f"pictures/{number}.png,{split},{';'.join(labels)}")
    (tmp_path / "photos.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "photos.csv"


def run(tmp_path, *arguments, plugins=()):
    """Run the command and return the rows of the store."""
    named = [part for name in plugins for part in ("--plugin", str(EXAMPLES / name))]
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    small = ["--set", "image_size=32", "--set", "precision=fp32", "--set", "profile=false", "--display", "none"]
    assert main(["run", *map(str, arguments), *named, *folders, *small]) == 0
    return bob.load_results(tmp_path / "results")


def test_a_reader_and_a_task_whose_annotation_is_no_plain_label(tmp_path, photos, capsys):
    asked = ["--task", "multilabel_classification", "--data", f"csv:{photos}"]
    rows = run(
        tmp_path, "--backbone", LITE0, "--backbone", CONTROL, *asked, plugins=("csv_reader.py", "multilabel_task.py")
    )
    assert list(rows["status"]) == ["ok", "ok"]
    assert (rows["multilabel_map"] == rows["score"]).all() and rows["plugin_code"].notna().all()
    assert (rows["score_low"] <= rows["score"]).all() and (rows["score"] <= rows["score_high"]).all()
    best = rows.set_index("backbone")["score"]
    assert best[LITE0] > 0.9, "red and bright are seen at a glance"
    assert "multilabel_classification / photos / linear" in capsys.readouterr().out


def test_the_examples_mean_average_precision_is_scikit_learns(tmp_path):
    bob.load_plugin(EXAMPLES / "multilabel_task.py")
    import sys

    module = next(module for name, module in sys.modules.items() if name.startswith("bob_plugin_multilabel_task"))
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(50, 4)).astype(np.float32), rng.integers(0, 2, (50, 4))
    targets[:, 3] = 0
    expected = np.mean([average_precision_score(targets[:, k], logits[:, k]) for k in range(3)])
    assert module.mean_ap(torch.from_numpy(logits), torch.from_numpy(targets)) == pytest.approx(expected, abs=1e-6)


def test_a_csv_file_with_one_label_each_serves_classification_too(tmp_path, photos):
    text = photos.read_text().replace("red;bright", "red")
    photos.write_text(text)
    planned = bob.plan(backbones=LITE0, data=f"csv:{photos}", plugins=EXAMPLES / "csv_reader.py")
    assert planned.jobs[0].dataset_spec.classes == ("bright", "dark", "red")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,labels\na.png,x\n", "has no column 'split'"),
        ("file,split,labels\na.png,train,\n", "line 2: the picture 'a.png' has no label"),
        ("file,split,labels\n../a.png,train,x\n", "leads out of the data set's folder"),
        ("file,split,labels\na.png,train,x\n", "lists the picture 'a.png', which is not there"),
    ],
)
def test_a_wrong_csv_file_is_an_error_that_says_where(tmp_path, content, message):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "photos.csv").write_text(content)
    with pytest.raises(bob.BobError, match=message):
        bob.plan(backbones=LITE0, data=f"csv:{tmp_path / 'data' / 'photos.csv'}", plugins=EXAMPLES / "csv_reader.py")


def test_a_protocol_and_a_metric_column(tmp_path, capsys):
    asked = ["--backbone", LITE0, "--data", "scenes", "--protocol", "prototypes", "--set", "temperature=0.05"]
    asked += ["--set", "budget.max_train=60", "--set", "budget.max_val=20", "--set", "budget.max_test=60"]
    (row,) = run(tmp_path, *asked, plugins=("prototype_protocol.py", "balanced_accuracy_column.py")).to_dict("records")
    assert row["protocol"] == "prototypes" and json.loads(row["protocol_params"]) == {"temperature": 0.05}
    assert row["top1"] > 1 / row["n_classes"]
    outcomes = bob_outcomes(tmp_path, row["job_id"])
    expected = balanced_accuracy_score(outcomes["label"], outcomes["prediction"])
    assert row["balanced_top1"] == pytest.approx(expected, abs=1e-9)
    assert main(["list", "metrics", "--plugin", str(EXAMPLES / "balanced_accuracy_column.py")]) == 0
    assert "balanced_top1" in capsys.readouterr().out


def bob_outcomes(tmp_path, job_id):
    from bob.store import ResultStore

    return ResultStore(tmp_path / "results").outcomes(job_id)
