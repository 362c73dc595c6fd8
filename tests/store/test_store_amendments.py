"""A profile that is taken again stands in every row that had the disturbed one, and in no other."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from report_samples import BACKBONES, sample_row

from bob.jobs.row import BY_NAME
from bob.store import ResultStore, load_results
from bob.store.amendments import AMENDED

KEY, OTHER = "profile-0123456789abcdef", "profile-fedcba9876543210"
BEFORE, AFTER, LATER = "2026-01-02T03:00:00Z", "2026-01-02T09:00:00Z", "2026-01-03T09:00:00Z"


def row(number: int, key: str | None = KEY, **fields: Any) -> dict[str, Any]:
    disturbed = {"latency_ms_b1_p50": 1948.0, "profile_others_cpu": 0.75, "train_img_s": 5.0}
    own = {"job_id": f"ab{number:02d}", "profile_key": key, "profile_taken_at": BEFORE, "micro_batch": 8}
    return sample_row(BACKBONES[0][0], **{**disturbed, **own, **fields})


def quiet(at: str = AFTER, latency: float = 16.0) -> dict[str, Any]:
    figures = {"latency_ms_b1_low": latency - 1, "latency_ms_b1_high": latency + 1, "train_img_s": 9.0}
    return {"latency_ms_b1_p50": latency, **figures, "profile_others_cpu": 0.01, "profile_taken_at": at}


TAKEN = '"profile_taken_at": "2026-01-02T09:00:00Z"'
ODD = (
    *('"latency_ms_b1_p50": "1"', '"latency_ms_b1_p50": NaN', '"throughput_batch": 1.5', '"profile_rounds": true'),
    *('"latency_ms_b1_p50": 1' + "0" * 400, '"profile_within": 1', '"profile_run": ["a"]', '"profile_rounds": 9e99'),
)
DAMAGED = [
    "{",
    "[]",
    "{}",
    '{"profile_taken_at": 3}',
    *(f"{{{TAKEN}, {odd}}}" for odd in ODD),
    '{"profile_taken_at": "9999"}',
]


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "results")
    for number, key in enumerate([KEY, KEY, OTHER, None]):
        store.append(row(number, key))
    return store


def latencies(rows: pd.DataFrame) -> list[float]:
    return rows.sort_values("job_id")["latency_ms_b1_p50"].tolist()


def test_every_column_that_is_replaced_is_one_of_the_rows() -> None:
    assert set(AMENDED) <= set(BY_NAME)


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


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_one_is_set_aside_and_the_rows_stay_as_they_were(store: ResultStore, content: str) -> None:
    store.amend_profile(KEY, quiet())
    (path,) = store.layout.profiles.iterdir()
    path.write_text(content)
    assert latencies(store.load()) == [1948.0] * 4
    assert list(store.damaged()) == [path.name]
    assert len(store.load()) == 4 and latencies(store.load()) == [1948.0] * 4


def test_what_is_removed_by_hand_leaves_the_rows_again(store: ResultStore) -> None:
    store.amend_profile(KEY, quiet())
    assert latencies(store.load())[0] == 16.0
    (path,) = store.layout.profiles.iterdir()
    assert set(json.loads(path.read_text())) == set(AMENDED)
    path.unlink()
    assert latencies(store.load())[0] == 1948.0


def test_what_is_no_file_is_left_out_and_everything_else_loads(store: ResultStore) -> None:
    store.amend_profile(KEY, quiet())
    (path,) = store.layout.profiles.iterdir()
    path.unlink()
    os.mkfifo(path)
    assert latencies(store.load()) == [1948.0] * 4


def test_a_rate_of_training_that_came_from_the_profile_is_replaced_with_it(store: ResultStore) -> None:
    store.append(row(4, micro_batch=None))
    store.amend_profile(KEY, {**quiet(), "train_step_batch": 8})
    rows = store.load().set_index("job_id")
    assert (rows.loc["ab04", "train_img_s"], rows.loc["ab04", "train_step_batch"]) == (9.0, 8)
    assert rows.loc["ab00", "train_img_s"] == 5.0


def test_text_that_no_file_can_hold_and_columns_that_a_row_widened_do_no_harm(store: ResultStore) -> None:
    widened = store.layout.root / "records" / "ab" / "ab00.001.ok.json"
    content = json.loads(widened.read_text())
    widened.write_text(json.dumps({**content, "latency_ms_b1_p95": "fast"}))
    store.amend_profile(KEY, quiet())
    (path,) = store.layout.profiles.iterdir()
    path.write_text(path.read_text().replace('"profile_run":null', '"profile_run":"\\ud800"'))
    rows = store.load().set_index("job_id")
    assert rows.loc["ab00", "latency_ms_b1_p50"] == 16.0 and rows.loc["ab00", "profile_run"] == "\\ud800"
