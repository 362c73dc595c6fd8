"""A job's id: the hash of what changes the number, and of nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from plain_job import INPUT, JOB

from bob.jobs.job import MISSING, Budget, Job, OtherData
from bob.jobs.needs import needs_of

OTHER = {
    "backbone": "resnet18.a1_in1k",
    "weights_sha256": "cd" * 32,
    "code": "0123456789abcdef",
    "input": replace(INPUT, image_size=160),
    "task": "retrieval",
    "task_version": 2,
    "dataset_fingerprint": "scenes-2",
    "protocol": "knn",
    "params": (("l2", (0.1,)),),
    "precision": "bf16",
    "seed": 1,
    "budget": Budget(max_train=401),
    "identity_version": 99,
    "dataset": "other name",
    "dataset_text": "~/pictures",
    "settled": ("images_seen",),
    "suite": "smoke",
    "dataset_spec": "a spec",
    "weights_path": "/elsewhere/model.safetensors",
    "weights_source": "hub",
    "missing": "gone",
    "plugins": ("mine.py",),
    "resolution": "native",
    "uses": ("profile",),
    "others": (OtherData(role="shifts", name="night", text="scenes:night", fingerprint="n"),),
    "plugin_code": "0123456789abcdef",
    "classifier": (("l2", (0.1,)),),
    "hardware": "another processor",
    "timeout_min": 1.0,
    "estimate_s": 5.0,
}


def test_every_field_is_classified_as_identity_or_circumstance():
    assert [field.name for field in fields(Job) if "identity" not in field.metadata] == []
    assert set(OTHER) == {field.name for field in fields(Job)}, "a new field needs a line in OTHER"


@pytest.mark.parametrize("field", fields(Job), ids=lambda field: field.name)
def test_the_id_changes_with_identity_and_with_nothing_else(field):
    changed = replace(JOB, **{field.name: OTHER[field.name]})
    assert (changed.id != JOB.id) == field.metadata["identity"]


def test_an_id_is_the_same_in_every_process_and_version_of_python():
    assert JOB.id == "70cdd85df0707f74"


def test_a_checkpoint_that_arrives_later_is_another_job_in_the_same_cell():
    before = replace(JOB, weights_sha256=MISSING)
    assert before.id != JOB.id
    assert before.cell == JOB.cell
    assert replace(JOB, seed=1).cell != JOB.cell


def test_data_that_arrive_later_give_another_job_in_the_same_cell():
    asked = {"dataset_text": "hf:someone/pets", "settled": ("images_seen",)}
    before = replace(JOB, dataset="hf:someone/pets", dataset_fingerprint=MISSING, **asked)
    after = replace(JOB, dataset="pets", budget=replace(JOB.budget, images_seen=900), **asked)
    assert before.cell == after.cell
    assert before.id != after.id


def test_probes_of_one_backbone_share_its_features_and_its_profile():
    knn = replace(JOB, protocol="knn", params=(("k", 20),))
    assert needs_of(knn) == needs_of(JOB)
    assert {need.kind for need in needs_of(JOB)} == {"features", "profile"}


def test_features_are_shared_by_what_made_them_only():
    features = needs_of(JOB)[0].key
    for name in ("weights_sha256", "input", "precision", "dataset_fingerprint", "code"):
        assert needs_of(replace(JOB, **{name: OTHER[name]}))[0].key != features
    assert needs_of(replace(JOB, seed=1))[0].key == features, "a pretrained backbone's features have no seed"
    control = replace(JOB, backbone="resnet50.random", weights_sha256="random")
    assert needs_of(replace(control, seed=1))[0].key != needs_of(control)[0].key


def test_a_profile_belongs_to_architecture_input_precision_and_hardware():
    profile = needs_of(JOB)[1]
    assert profile.exclusive
    assert needs_of(replace(JOB, backbone="resnet50.random", weights_sha256="random", seed=3))[1] == profile
    for name in ("input", "precision", "hardware", "code"):
        assert needs_of(replace(JOB, **{name: OTHER[name]}))[1].key != profile.key


def test_a_budget_says_itself_in_a_few_words():
    assert Budget(max_train=400, images_seen=1600, trials=3).label() == "train=400 seen=1600 trials=3"
    assert Budget().label() == "all"
