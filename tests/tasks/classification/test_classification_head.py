"""The pretrained head answers in ImageNet's order, among all 1000 classes, and only where it has one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from classification_jobs import CONTROL, context_of, job_of, write_folder

from bob.core.errors import ConfigError, DataError
from bob.data.imagenet import wnids
from bob.tasks.classification import classification_protocols as classification

JERSEY = "n03595614"


def test_labels_are_imagenets_and_guesses_range_over_all_classes(tmp_path):
    names = ("n01440764", "n03888257", "n07930864")  # tench, parachute, cup: places 0, 701 and 968
    data = write_folder(tmp_path / "data", names, {"train": 1, "val": 1, "test": 4})
    context = context_of(tmp_path)
    result = classification.pretrained_head(job_of(data, context, "pretrained_head", size=64), context)
    assert sorted(set(result.outcomes["label"])) == [wnids().index(name) for name in names]
    assert set(result.outcomes["prediction"]) - set(result.outcomes["label"]), "textures are none of the three"
    assert result.notes["n_classes"] == 1000
    assert result.notes["n_test"] == 12
    assert np.array_equal(result.outcomes["outcome"], result.outcomes["label"] == result.outcomes["prediction"])


def test_a_control_has_no_pretrained_head(tmp_path):
    data = write_folder(tmp_path / "data", ("n01440764", "n03888257"), {"train": 1, "val": 1, "test": 1})
    context = context_of(tmp_path)
    with pytest.raises(ConfigError, match="no pretrained head"):
        classification.pretrained_head(job_of(data, context, "pretrained_head", backbone=CONTROL), context)


def test_class_folders_that_are_no_wnids_are_named(tmp_path):
    data = write_folder(tmp_path / "data", ("tench", "cup"), {"train": 1, "val": 1, "test": 1})
    context = context_of(tmp_path)
    with pytest.raises(DataError, match="cup"):
        classification.pretrained_head(job_of(data, context, "pretrained_head"), context)


@pytest.mark.realdata
def test_the_packaged_head_knows_a_t_shirt(realdata, tmp_path):
    for split in ("train", "val", "test"):
        shutil.copytree(realdata / "clothing" / split / "t-shirt", tmp_path / "data" / split / JERSEY)
    context = context_of(tmp_path)
    job = job_of(tmp_path / "data", context, "pretrained_head", size=224)
    metrics = classification.pretrained_head(job, context).metrics
    assert metrics["top1"] > 0.5
    assert metrics["top5"] > 0.8
