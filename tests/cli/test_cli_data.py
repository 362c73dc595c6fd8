"""`bob data`: what a data set holds, told without a model. And how commands write on a terminal that is not UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from data_helpers import class_folders, coco_content, coco_folder, mask_folders
from PIL import Image

import bob
from bob.cli import main


def data(tmp_path, target, *more):
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    return main(["data", str(target), *more, *folders])


@pytest.fixture
def pets(tmp_path):
    root = tmp_path / "pets"
    class_folders(root / "train", {"cat": 8, "dog": 16})
    class_folders(root / "test", {"cat": 3, "dog": 3})
    (root / "train" / "cat" / "Thumbs.db").write_bytes(b"x")
    (root / "train" / "dog" / "broken.png").write_bytes(b"no picture")
    return root


def test_it_says_layout_splits_classes_sizes_faults_and_uses(tmp_path, capsys, pets):
    assert data(tmp_path, pets) == 0
    out = capsys.readouterr().out
    assert "read as imagefolder: each folder of pictures is a class." in out
    assert "val           3 pictures, part of train" in out
    assert "the largest has" in out and "times the pictures of the smallest in train" in out
    assert "1 bad picture of 31 looked at. train/dog/broken.png" in out
    assert "1 file among the pictures without a picture's name: train/cat/Thumbs.db" in out
    assert "detection               no: has label, not boxes" in out
    with Image.open(tmp_path / "results" / "data" / "pets.png") as sheet:
        assert min(sheet.size) > 100


def test_json_has_every_figure_and_all_pictures_are_decoded_when_asked(tmp_path, capsys, pets):
    assert data(tmp_path, pets, "--json", "--check", "--sheet", str(tmp_path / "own" / "sheet.png")) == 0
    said = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["counts"]["test"] for one in said["classes"]} == {"cat": 3, "dog": 3}
    assert sum(one["counts"]["train"] + one["counts"]["val"] for one in said["classes"]) == 25
    assert list(said["bad"]) == ["train/dog/broken.png"]
    assert (tmp_path / "own" / "sheet.png").is_file() and not (tmp_path / "results").exists()


def test_objects_are_counted_per_class_without_crowds_and_faults_by_kind(tmp_path, capsys):
    root = tmp_path / "cells"
    content = coco_content(6)
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"].append({**content["annotations"][1], "id": 999, "category_id": 77})
    coco_folder(root, {"train": content, "val": coco_content(3)})
    assert data(tmp_path, root, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["counted"] == "objects"
    train = sum(one["counts"]["train"] for one in said["classes"])
    assert (
        train + sum(one["counts"].get("val", 0) for one in said["classes"]) == len(coco_content(6)["annotations"]) - 1
    )
    assert said["faults"] == {"an unknown category id: left out": 1}


def test_maps_are_counted_in_pixels(tmp_path, capsys):
    root = tmp_path / "maps"
    mask_folders(root, {"train": 4, "test": 2})
    assert data(tmp_path, root, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["counted"] == "% of pixels"
    assert sum(one["counts"]["train"] for one in said["classes"]) == pytest.approx(100)


def test_python_gives_the_same(tmp_path, pets):
    said = bob.describe_data(str(pets), cache=tmp_path / "cache")
    assert [split.name for split in said.splits] == ["train", "val", "test"]
    assert said.tasks["classification"].endswith("6 test")


def test_data_that_are_nothing_are_a_mistake(tmp_path, capsys):
    (tmp_path / "notes.xyz").write_text("x")
    assert data(tmp_path, tmp_path / "notes.xyz") == 2
    assert "is a file" in capsys.readouterr().err


def test_a_plan_has_the_short_form(tmp_path, capsys, pets):
    folders = ["--results", str(tmp_path / "results"), "--cache", str(tmp_path / "cache")]
    assert main(["plan", "--backbone", "resnet18.random", "--data", str(pets), *folders]) == 0
    assert "data pets: imagefolder, 2 classes, 22 train, 3 val, 6 test" in capsys.readouterr().out


def test_a_terminal_that_is_not_utf8_gets_plain_signs(tmp_path, pets):
    (pets / "train" / "dog").rename(pets / "train" / "hünd")
    (pets / "test" / "dog").rename(pets / "test" / "hünd")
    command = [sys.executable, "-m", "bob", "data", str(pets), "--cache", str(tmp_path / "c"), "--no-sheet"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ended = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    assert b"h?nd" in ended.stdout and b"####" in ended.stdout
