"""Jobs are grouped by what they need, small ones share allocations, arrays stay within what the cluster takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from runner_jobs import job

from bob.jobs.cluster_profile import ClusterProfile
from bob.jobs.job import Budget, Job
from bob.jobs.needs import trains
from bob.runners.slurm.packing import Shape, arrays, pack, shape_of


def probe(number: int, *, minutes: float = 1.0, **fields: Any) -> Job:
    """A job that does not train."""
    values = {"task": "classification", "protocol": "linear", "estimate_s": 60 * minutes, **fields}
    return job(number, **values)


def finetune(number: int, **fields: Any) -> Job:
    """A job that trains."""
    return probe(number, **{"protocol": "finetune", "budget": Budget(images_seen=100, trials=1), **fields})


def test_a_job_that_trains_gets_the_profiles_devices_and_any_other_one_at_most() -> None:
    profile = ClusterProfile(gpus=4, nodes=2, cpus=8, mem_gb=64)
    assert trains(finetune(0)) and not trains(probe(0))
    assert shape_of(profile, finetune(0)) == Shape(gpus=4, nodes=2, processes=4, cpus=8, mem_gb=64)
    assert shape_of(profile, probe(0)) == Shape(gpus=1, nodes=1, processes=1, cpus=8, mem_gb=64)
    assert shape_of(ClusterProfile(processes=3), finetune(0)).processes == 3


def test_later_rules_win_and_only_fit_what_they_name() -> None:
    rules = [
        {"protocol": "finetune", "time_min": 100, "partition": "long"},
        {"task": "classification", "backbone": "toy.big", "time_min": 200},
    ]
    profile = ClusterProfile.model_validate({"time_min": 10, "rules": rules})
    assert shape_of(profile, probe(0)).time_min == 10
    assert shape_of(profile, finetune(0)).partition == "long"
    assert shape_of(profile, finetune(0, backbone="toy.big")).time_min == 200


@pytest.mark.parametrize("pack_min", [0, 5, 1000])
def test_every_job_is_in_one_allocation_of_its_shape_and_within_the_packs_time(pack_min: float) -> None:
    jobs = [finetune(number) if number % 5 == 0 else probe(number) for number in range(40)]
    profile = ClusterProfile(pack_min=pack_min, time_min=60)
    packs = pack(jobs, profile)
    assert Counter(one.id for group in packs for one in group.jobs) == Counter(one.id for one in jobs)
    limit_s = 60 * min(pack_min, 60 / 3)  # the estimates are rough: a third of the time limit
    for group in packs:
        assert {shape_of(profile, one) for one in group.jobs} == {group.shape}
        assert len(group.jobs) == 1 or group.estimate_s <= limit_s


def test_jobs_of_one_backbone_and_data_set_lie_next_to_each_other() -> None:
    jobs = [probe(number, backbone=f"toy.{number % 3}") for number in range(12)]
    packs = pack(jobs, ClusterProfile(pack_min=4, time_min=60))
    assert [{one.backbone for one in group.jobs} for group in packs] == [{"toy.0"}, {"toy.1"}, {"toy.2"}]


def test_a_job_longer_than_a_pack_has_its_own() -> None:
    packs = pack([probe(0), probe(1, minutes=500), probe(2)], ClusterProfile(pack_min=30))
    assert [len(group.jobs) for group in packs] == [1, 1, 1]


@pytest.mark.parametrize(("count", "limit", "sizes"), [(25, 10, [10, 10, 5]), (10, 10, [10]), (3, 1, [1, 1, 1])])
def test_arrays_are_of_one_shape_and_split_at_max_array_size(count: int, limit: int, sizes: list[int]) -> None:
    packs = pack([probe(number) for number in range(count)] + [finetune(99)], ClusterProfile(pack_min=0, gpus=2))
    found = arrays(packs, max_array_size=limit)
    assert [len(group) for group in found] == [*sizes, 1]
    assert all(len({one.shape for one in group}) == 1 for group in found)
