"""The smoke suite as a user runs it: rows, report, a rerun with nothing to do, one bad backbone that sinks no other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from places import REPOSITORY

PLUGIN = """\
from bob.backbones.catalogue import register
from bob.backbones.backbone import Backbone, InputConfig

INPUT = InputConfig(image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop_pct=1.0)


def build(image_size):
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 16, 4, stride=4), torch.nn.ReLU())


def explode(image_size):
    raise RuntimeError("this backbone is broken")


for name, builder in {"mine.v1": build, "broken.v1": explode}.items():
    entry = Backbone(
        name=name, family="own", pretrain_method="none", pretrain_data="none", params_m=0.001, license="MIT",
        input=INPUT,
    )
    register(entry, build=builder)
"""
SUITE = """\
name: own
backbones: [mine.v1, broken.v1, tf_efficientnet_lite0.in1k]
datasets: [scenes]
tasks: [{task: classification, protocols: [linear, {protocol: knn, params: {k: 3}}]}]
image_size: 32
precision: fp32
budget: {max_train: 40, max_val: 20, max_test: 40}
plugins: [mine.py]
"""


def bob(*arguments: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bob", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A suite with a user's own backbone, a broken one and a packaged one, run once for all the tests here."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(PLUGIN)
    (folder / "own.yaml").write_text(SUITE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOB_CACHE", str(folder / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        done = bob("run", "own.yaml", "--display", "lines", cwd=folder)
    return folder, done


def test_one_broken_backbone_sinks_no_other(finished):
    folder, done = finished
    rows = pd.read_parquet(folder / "results" / "results.parquet")
    assert done.returncode == 1, done.stdout + done.stderr
    assert rows.groupby("backbone").status.unique().map(list).to_dict() == {
        "mine.v1": ["ok"],
        "broken.v1": ["failed"],
        "tf_efficientnet_lite0.in1k": ["ok"],
    }
    assert rows[rows.backbone == "broken.v1"].error.str.contains("this backbone is broken").all()


def test_every_row_carries_score_interval_cost_and_circumstances(finished):
    folder, _ = finished
    rows = pd.read_parquet(folder / "results" / "results.parquet").query("status == 'ok'")
    needed = [
        *("score", "score_low", "score_high", "top1", "top5", "macro_f1", "nll", "ece"),
        *("params_m", "gmacs", "latency_ms_b1_p50", "latency_ms_b1_p95", "throughput_img_s", "infer_peak_mb_b1"),
        *(
            "wall_s",
            "device",
            "hardware_class",
            "precision",
            "image_size",
            "torch_version",
            "weights_sha256",
            "threads",
        ),
    ]
    assert rows[needed].notna().all().all(), rows[needed].isna().sum()
    assert (rows.score_low <= rows.score).all()
    assert (rows.score <= rows.score_high).all()


def test_the_table_and_the_place_of_the_report_are_printed(finished):
    folder, done = finished
    assert "mine.v1" in done.stdout
    assert "smoke data: not for choosing a backbone" in done.stdout
    assert "index.html" in done.stdout
    for name in ("index.html", "ranking.csv", "ranking.md"):
        assert (folder / "results" / "report" / "own" / name).stat().st_size > 0


def test_a_rerun_tries_what_failed_again_and_nothing_else(finished, monkeypatch):
    folder, _ = finished
    monkeypatch.setenv("BOB_CACHE", str(folder / "cache"))
    before = {path.name for path in (folder / "results" / "records").rglob("*.json")}
    bob("run", "own.yaml", "--display", "none", cwd=folder)
    after = {path.name for path in (folder / "results" / "records").rglob("*.json")}
    assert len(after - before) == 2
    assert all(".failed." in name for name in after - before)


def test_a_row_can_be_shown_by_the_start_of_its_id(finished):
    folder, _ = finished
    rows = pd.read_parquet(folder / "results" / "results.parquet")
    shown = bob("show", rows.job_id[0][:10], "--json", cwd=folder)
    assert json.loads(shown.stdout)["job_id"] == rows.job_id[0]


def test_results_load_the_same_through_the_package_and_through_plain_pandas(finished):
    import bob

    folder, _ = finished
    ours, plain = bob.load_results(folder / "results"), pd.read_parquet(folder / "results" / "results.parquet")
    assert ours.job_id.tolist() == plain.job_id.tolist()
