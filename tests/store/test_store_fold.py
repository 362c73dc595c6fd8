"""One row per job, every column typed, whatever came in which order."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_samples import BACKBONES, sample_row

import bob
from bob.core.errors import StoreError
from bob.jobs.row import COLUMNS
from bob.store import ResultStore, load_results
from bob.store import store as store_module

NAMES = [name for name, *_ in BACKBONES]


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


def _end(store: ResultStore, job_id: str, status: str, **changes: object) -> None:
    store.append({"job_id": job_id, "status": status, "score": 0.5 if status == "ok" else None, **changes})


def _status_by_job(store: ResultStore) -> dict[str, str]:
    frame = store.load()
    return dict(zip(frame["job_id"], frame["status"], strict=True))


def test_row_of_a_job_is_its_first_ok_else_its_latest_attempt(store: ResultStore) -> None:
    for status in ("failed", "ok", "ok", "oom"):
        _end(store, "aa01", status, host=status)
    for status in ("failed", "timeout"):
        _end(store, "aa02", status)
    frame = store.load().set_index("job_id")
    assert list(frame.loc["aa01", ["status", "attempt"]]) == ["ok", 2]
    assert list(frame.loc["aa02", ["status", "attempt"]]) == ["timeout", 2]
    assert store.statuses() == {"aa01": "ok", "aa02": "timeout"}
    assert (store.attempts("aa01"), store.attempts("aa02"), store.attempts("aa03")) == (4, 2, 0)
    assert store.record("aa01")["attempt"] == 2
    with pytest.raises(StoreError, match="no record of job 'aa03'"):
        store.record("aa03")


def test_skipped_row_is_settled_by_the_row_that_its_cell_got_later(store: ResultStore) -> None:
    _end(store, "aa01", "skipped", cell="c", finished_at="2026-01-01")
    _end(store, "aa02", "skipped", cell="d")
    _end(store, "aa03", "failed", cell="e")
    assert len(store.load()) == 3
    _end(store, "bb01", "ok", cell="c", finished_at="2026-01-02")
    _end(store, "bb03", "ok", cell="e")
    assert _status_by_job(store) == {"aa02": "skipped", "aa03": "failed", "bb01": "ok", "bb03": "ok"}
    # Weights taken away again: what was measured stays.
    _end(store, "aa01", "skipped", cell="c", finished_at="2026-01-03")
    assert _status_by_job(store) == {"aa02": "skipped", "aa03": "failed", "bb01": "ok", "bb03": "ok"}


def test_table_does_not_depend_on_how_often_it_was_folded(tmp_path: Path) -> None:
    attempts = [
        ("aa01", "failed", {"cell": "c", "plug": 1}),
        ("aa02", "skipped", {"cell": "c", "plug": "text"}),
        ("aa01", "ok", {"cell": "c", "plug": 2.5}),
        ("aa03", "ok", {"cell": "e", "plug": 3}),
    ]
    frames = []
    for pattern in ("0000", "1111", "1010", "0101", "0110"):
        store = ResultStore(tmp_path / pattern)
        for (job_id, status, changes), folds in zip(attempts, pattern, strict=True):
            _end(store, job_id, status, **changes)
            if folds == "1":
                store.load()
        frames.append(store.load())
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frame, frames[0])
    assert list(frames[0]["plug"]) == [2.5, 3.0]


def test_plain_pandas_reads_every_column_with_its_type(store: ResultStore) -> None:
    store.append(sample_row(NAMES[0]))
    store.append({"job_id": "zz99", "status": "failed"})
    frame = pd.read_parquet(store.fold(force=True))
    for column in COLUMNS:
        kind = frame[column.name].dtype
        expected = {
            "string": pd.api.types.is_string_dtype(kind) or kind.kind == "O",
            "float64": kind == "float64",
            "int64": kind == "Int64",
            "bool": kind == "boolean",
        }
        assert expected[column.dtype], (column, kind)
    pd.testing.assert_frame_equal(frame, store.load())
    pd.testing.assert_frame_equal(frame, load_results(store.layout.root))
    assert bob.load_results is load_results


def test_column_that_first_appears_in_a_late_record_is_kept_and_typed(store: ResultStore) -> None:
    for index in range(5):
        store.append(sample_row(NAMES[0], seed=index))
    store.load()
    store.append(sample_row(NAMES[1], plugin_count=3, plugin_share=0.5, plugin_flag=True, plugin_text="x"))
    frame = store.load()
    last = frame[frame["backbone"] == NAMES[1]].iloc[0]
    assert [last[f"plugin_{name}"] for name in ("count", "share", "flag", "text")] == [3, 0.5, True, "x"]
    assert frame["plugin_count"].dtype == "Int64" and frame["plugin_flag"].dtype == "boolean"


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2.5], [1.0, 2.5]), ([1, "x"], ["1", "x"]), ([True, 2], ["true", "2"]), ([2**70, 1], [float(2**70), 1.0])],
)
@pytest.mark.parametrize("folds_between", [True, False])
def test_plugin_column_of_several_types_is_widened(
    store: ResultStore, values: list, expected: list, folds_between: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for index, value in enumerate(values):
        _end(store, f"aa{index:02d}", "ok", plugin=value)
        if folds_between:
            store.load()
    assert list(store.load()["plugin"]) == expected
    assert ("'plugin' has values of several types" in caplog.text) == isinstance(expected[0], str)


def test_fold_rests_for_ten_seconds_unless_forced(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    _end(store, "aa01", "ok")
    path = store.fold()
    assert len(pd.read_parquet(path)) == 1
    _end(store, "aa02", "ok")
    assert len(pd.read_parquet(store.fold())) == 1
    monkeypatch.setattr(store_module, "FOLD_EVERY_S", 0.0)
    assert len(pd.read_parquet(store.fold())) == 2
    _end(store, "aa03", "ok")
    monkeypatch.undo()
    assert len(pd.read_parquet(store.fold(force=True))) == 3


def test_stale_table_put_back_by_a_stalled_holder_is_detected_and_redone(store: ResultStore) -> None:
    _end(store, "aa01", "ok")
    stale = store.fold(force=True).read_bytes()
    _end(store, "aa02", "ok")
    store.fold(force=True)
    store.layout.table.write_bytes(stale)
    assert len(store.load()) == 2
    assert len(pd.read_parquet(store.layout.table)) == 2


def test_holder_whose_lease_was_taken_over_does_not_replace_the_table(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _end(store, "aa01", "ok")
    before = store.fold(force=True).read_bytes()
    _end(store, "aa02", "ok")
    monkeypatch.setattr("bob.core.lease.Lease.held", lambda self: False)
    store.fold(force=True)
    assert store.layout.table.read_bytes() == before
    assert "taken over" in caplog.text


def test_record_removed_by_hand_leaves_the_table(store: ResultStore) -> None:
    _end(store, "aa01", "ok")
    _end(store, "aa02", "ok")
    store.load()
    next(store.layout.records.rglob("aa01.*")).unlink()
    assert list(store.load()["job_id"]) == ["aa02"]
    _end(store, "aa01", "failed")
    assert _status_by_job(store) == {"aa01": "failed", "aa02": "ok"}


def test_outcomes_are_those_of_the_row(store: ResultStore) -> None:
    def outcomes(value: float) -> dict[str, np.ndarray]:
        names = np.array(["a", "b"])
        return {"sample_id": names, "label": np.array([1, 0]), "outcome": np.full(2, value), "box": np.zeros((2, 4))}

    store.append({"job_id": "aa01", "status": "failed"}, outcomes(0.1))
    store.append({"job_id": "aa01", "status": "ok", "score": 0.2}, outcomes(0.2))
    store.append({"job_id": "aa01", "status": "ok", "score": 0.3}, outcomes(0.3))
    frame = store.outcomes("aa01")
    assert list(frame["outcome"]) == [0.2, 0.2] and list(frame["sample_id"]) == ["a", "b"]
    assert frame["label"].dtype == "int64" and list(frame["box"][0]) == [0.0] * 4
    _end(store, "aa02", "ok")
    assert store.outcomes("aa02") is None and store.outcomes("aa03") is None


def test_outcomes_of_unequal_length_are_refused_before_a_record_exists(store: ResultStore) -> None:
    with pytest.raises(StoreError, match="differ in length"):
        store.append({"job_id": "aa01", "status": "ok", "score": 1.0}, {"a": np.zeros(2), "b": np.zeros(3)})
    assert store.statuses() == {}


def test_results_folder_that_is_not_there_is_named_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nowhere' does not exist[\s\S]*bob run"):
        load_results(tmp_path / "nowhere")


def test_empty_store_has_every_column_and_no_row(store: ResultStore) -> None:
    store.layout.root.mkdir()
    frame = store.load()
    assert len(frame) == 0 and list(frame.columns) == [column.name for column in COLUMNS]


def test_statuses_come_from_the_names_of_the_records_alone(store: ResultStore) -> None:
    for folder in range(256):
        (store.layout.records / f"{folder:02x}").mkdir(parents=True)
        for index in range(4):
            # Empty: whoever opened one would find it damaged.
            (store.layout.records / f"{folder:02x}" / f"{folder:02x}{index:06x}.001.ok.json").touch()
    assert set(store.statuses().values()) == {"ok"}
    assert len(store.statuses()) == 1024
    assert not store.damaged()


def test_no_warning_about_plain_results(store: ResultStore, caplog: pytest.LogCaptureFixture) -> None:
    for name in NAMES:
        store.append(sample_row(name))
        store.fold(force=True)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
