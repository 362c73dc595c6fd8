"""The order in which artifacts and jobs are handed out."""

from __future__ import annotations

import pytest
from runner_jobs import job

from bob.runners.local.schedule import Schedule, Work, eta_s


def drain(schedule: Schedule) -> list[str]:
    """Run everything one at a time; return kinds of artifact and seeds of jobs in order."""
    order = []
    while (work := schedule.take()) is not None:
        order.append(work.need.kind if work.need else str(work.job.seed))
        schedule.done(work)
    return order


def nothing(need: object) -> bool:
    return False


def test_the_longest_job_comes_first() -> None:
    jobs = [job(0, estimate_s=1.0), job(1, estimate_s=9.0), job(2, estimate_s=None), job(3, estimate_s=4.0)]
    assert drain(Schedule(jobs, made=nothing)) == ["1", "3", "0", "2"]


def test_profiles_come_before_features_and_features_before_jobs() -> None:
    jobs = [job(0, estimate_s=99.0), job(1, uses=("features", "profile"))]
    assert drain(Schedule(jobs, made=nothing)) == ["profile", "features", "0", "1"]


def test_features_that_more_work_waits_for_come_first() -> None:
    few = [job(0, uses=("features",), dataset_fingerprint="few", estimate_s=5.0)]
    many = [job(1, uses=("features",), dataset_fingerprint="many", protocol=name, estimate_s=3.0) for name in "ab"]
    first = Schedule([*few, *many], made=nothing).take()
    assert first is not None
    assert first.job.dataset_fingerprint == "many"


def test_an_artifact_that_is_there_is_not_made() -> None:
    schedule = Schedule([job(0, uses=("features", "profile"))], made=lambda need: need.kind == "profile")
    assert drain(schedule) == ["features", "0"]


def test_jobs_of_one_backbone_share_one_artifact() -> None:
    jobs = [job(seed, uses=("features",)) for seed in range(3)]
    assert drain(Schedule(jobs, made=nothing)) == ["features", "0", "1", "2"]


def test_nothing_starts_beside_a_profile_and_a_profile_beside_nothing() -> None:
    schedule = Schedule([job(0, uses=("profile",)), job(1)], made=nothing)
    profile = schedule.take()
    assert profile is not None
    assert profile.exclusive
    assert schedule.take() is None
    schedule.done(profile)
    assert schedule.take() is not None
    busy = Schedule(
        [job(0, backbone="a.x", uses=("profile",)), job(1, backbone="b.x", uses=("profile",))], made=nothing
    )
    assert busy.take() is not None
    assert busy.take() is None


def test_nothing_starts_while_another_runner_makes_a_profile() -> None:
    schedule = Schedule([job(0, uses=("profile",)), job(1)], made=nothing)
    profile = schedule.take()
    assert profile is not None
    schedule.hold(profile)
    assert schedule.take() is None
    schedule.look_again()
    assert schedule.take() == profile


def test_a_failed_artifact_settles_all_that_needed_it_and_no_other() -> None:
    jobs = [job(0, uses=("features",), protocol=name) for name in "ab"] + [job(1)]
    schedule = Schedule(jobs, made=nothing)
    features = schedule.take()
    assert features is not None
    assert {fallen.id for fallen in schedule.fail(features)} == {jobs[0].id, jobs[1].id}
    assert drain(schedule) == ["1"]
    assert schedule.finished


def test_an_artifact_nobody_waits_for_any_more_is_not_made() -> None:
    schedule = Schedule([job(0, uses=("profile", "features"))], made=nothing)
    profile = schedule.take()
    assert profile is not None
    schedule.fail(profile)
    assert schedule.take() is None
    assert schedule.finished


def test_lost_and_held_work_comes_back() -> None:
    schedule = Schedule([job(0)], made=nothing)
    for _ in range(2):
        work = schedule.take()
        assert work == Work(job=job(0))
        schedule.again(work)
    work = schedule.take()
    assert work is not None
    schedule.hold(work)
    assert schedule.take() is None
    assert not schedule.finished
    schedule.look_again()
    assert drain(schedule) == ["0"]


@pytest.mark.parametrize(("workers", "expected"), [(1, 40.0), (4, 10.0)])
def test_the_time_left_follows_what_finished_jobs_took(workers: int, expected: float) -> None:
    assert eta_s(remaining_s=20, finished_estimate_s=5, finished_wall_s=10, workers=workers) == expected
    assert eta_s(remaining_s=20, finished_estimate_s=0, finished_wall_s=0, workers=workers) is None
