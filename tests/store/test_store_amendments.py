"""A profile that is taken again stands in every row that had the disturbed one, and in no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_samples import BACKBONES, sample_row

from bob.jobs.cost_columns import PROFILE_TIMES
from bob.jobs.row import BY_NAME
from bob.store import ResultStore, load_results

KEY, OTHER = "profile-0123456789abcdef", "profile-fedcba9876543210"
BEFORE, AFTER, LATER = "2026-01-02T03:00:00Z", "2026-01-02T09:00:00Z", "2026-01-03T09:00:00Z"


def row(number: int, key: str | None = KEY, **fields: Any) -> dict[str, Any]:
    disturbed = {"latency_ms_b1_p50": 1948.0, "profile_others_cpu": 0.75, "train_img_s": 5.0}
    own = {"job_id": f"ab{number:02d}", "profile_key": key, "profile_taken_at": BEFORE}
    return sample_row(BACKBONES[0][0], **{**disturbed, **own, **fields})


def quiet(at: str = AFTER, latency: float = 16.0) -> dict[str, Any]:
    figures = {"latency_ms_b1_low": latency - 1, "latency_ms_b1_high": latency + 1, "train_img_s": 9.0}
    return {"latency_ms_b1_p50": latency, **figures, "profile_others_cpu": 0.01, "profile_taken_at": at}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "results")
    for number, key in enumerate([KEY, KEY, OTHER, None]):
        store.append(row(number, key))
    return store


def latencies(rows: pd.DataFrame) -> list[float]:
    return rows.sort_values("job_id")["latency_ms_b1_p50"].tolist()


def test_every_column_that_is_replaced_is_one_of_the_rows() -> None:
    assert set(PROFILE_TIMES) <= set(BY_NAME)


def test_rows_folded_before_and_after_it_get_the_new_times_and_keep_all_else(store: ResultStore) -> None:
    assert latencies(store.load()) == [1948.0] * 4
    store.amend_profile(KEY, quiet())
    store.append(row(4))  # a job that began with the disturbed profile and ended after the other was taken
    rows = store.load()
    assert latencies(rows) == [16.0, 16.0, 1948.0, 1948.0, 16.0]
    mine = rows[rows["profile_key"] == KEY]
    assert set(mine["profile_others_cpu"]) == {0.01} and set(mine["latency_ms_b1_high"]) == {17.0}
    assert set(mine["train_img_s"]) == {5.0}, "a job's own training is no part of the profile"
    assert mine["throughput_img_s"].isna().all(), "no time of the disturbed profile stays beside those of the quiet one"
    pd.testing.assert_frame_equal(load_results(store.layout.root), pd.read_parquet(store.layout.table))


def test_the_table_is_the_same_however_often_and_in_whatever_order_it_is_folded(store: ResultStore) -> None:
    store.amend_profile(KEY, quiet())
    first = store.fold(force=True).read_bytes()
    assert store.fold(force=True).read_bytes() == first
    store.layout.table.unlink()
    assert store.fold(force=True).read_bytes() == first


def test_the_latest_stands_and_a_row_with_a_later_profile_keeps_its_own(store: ResultStore) -> None:
    store.amend_profile(KEY, quiet(LATER, 15.0))
    store.amend_profile(KEY, quiet(AFTER, 16.0))
    store.append(row(4, profile_taken_at="2026-01-04T00:00:00Z", latency_ms_b1_p50=14.0))
    assert latencies(store.load()) == [15.0, 15.0, 1948.0, 1948.0, 14.0]


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"profile_taken_at": 3}', b"\xff"])
def test_a_damaged_one_is_set_aside_and_the_rows_stay_as_they_were(store: ResultStore, content: bytes) -> None:
    store.amend_profile(KEY, quiet())
    (path,) = store.layout.profiles.iterdir()
    path.write_bytes(content)
    assert latencies(store.load()) == [1948.0] * 4
    assert list(store.damaged()) == [path.name]
    assert len(store.load()) == 4 and latencies(store.load()) == [1948.0] * 4


def test_what_is_removed_by_hand_leaves_the_rows_again(store: ResultStore) -> None:
    store.amend_profile(KEY, quiet())
    assert latencies(store.load())[0] == 16.0
    (path,) = store.layout.profiles.iterdir()
    assert set(json.loads(path.read_text())) == set(PROFILE_TIMES)
    path.unlink()
    assert latencies(store.load())[0] == 1948.0
