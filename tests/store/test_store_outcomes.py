"""Outcomes and what travels with them: replicates of the score in the same file, contact sheets beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bob.core.errors import StoreError
from bob.store import ResultStore
from bob.store.outcomes import read_outcomes, write_outcomes

ROW = {"job_id": "aa01", "status": "ok", "score": 0.5}
OUTCOMES = {"sample_id": np.array(["a", "b"]), "boxes": np.array([[1.5, 2.0], [3.0, 4.0]])}
REPLICATES = np.array([0.1, 1 / 3, np.nan, 0.5])


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


def test_replicates_come_back_bit_for_bit_beside_the_outcomes(store: ResultStore) -> None:
    store.append(ROW, OUTCOMES, REPLICATES)
    frame = store.outcomes("aa01")
    assert frame["sample_id"].tolist() == ["a", "b"] and frame["boxes"].map(list).tolist() == [[1.5, 2.0], [3.0, 4.0]]
    kept = frame.attrs["replicates"]
    assert kept.dtype == np.float64 and np.array_equal(kept, REPLICATES, equal_nan=True)


def test_outcomes_without_replicates_have_no_such_key(store: ResultStore) -> None:
    store.append(ROW, OUTCOMES)
    assert "replicates" not in store.outcomes("aa01").attrs


def test_outcomes_written_before_there_were_replicates_still_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"outcome": [0.0, 1.0]}), tmp_path / "old.parquet", compression="zstd")
    frame = read_outcomes(tmp_path / "old.parquet")
    assert frame["outcome"].tolist() == [0.0, 1.0] and frame.attrs == {}


def test_plain_pandas_reads_outcomes_with_replicates(tmp_path: Path) -> None:
    write_outcomes(tmp_path / "new.parquet", OUTCOMES, REPLICATES)
    assert pd.read_parquet(tmp_path / "new.parquet")["sample_id"].tolist() == ["a", "b"]


def test_only_the_columns_asked_for_are_read_and_the_replicates_with_them(store: ResultStore) -> None:
    store.append(ROW, OUTCOMES, REPLICATES)
    frame = store.outcomes("aa01", columns=("sample_id", "outcome"))
    assert list(frame.columns) == ["sample_id"] and len(frame) == 2
    assert len(frame.attrs["replicates"]) == 4


@pytest.mark.parametrize("replicates", [np.ones((2, 2)), np.array(["a"]), np.array([None, 1.0])])
def test_replicates_that_are_no_row_of_numbers_are_refused(store: ResultStore, replicates: np.ndarray) -> None:
    with pytest.raises(StoreError, match="expected one row of numbers"):
        store.append(ROW, OUTCOMES, replicates)
    assert store.statuses() == {}


def test_replicates_without_outcomes_are_refused(store: ResultStore) -> None:
    with pytest.raises(StoreError, match="no outcomes"):
        store.append(ROW, None, REPLICATES)
    assert store.statuses() == {}


def test_replicates_of_a_broken_length_set_the_file_aside(store: ResultStore) -> None:
    store.append(ROW, OUTCOMES, REPLICATES)
    path = store.layout.outcomes("aa01", 1)
    table = pq.read_table(path)
    (key,) = [name for name in table.schema.metadata if b"replicates" in name]
    pq.write_table(table.replace_schema_metadata({key: b"12345"}), path)
    assert store.outcomes("aa01") is None and list(store.damaged()) == [path.name]


def test_a_contact_sheet_is_kept_whole_under_its_jobs_name(store: ResultStore) -> None:
    assert store.keep_sheet("aa01", b"first") == "sheets/aa01.png"
    assert store.keep_sheet("aa01", b"second") == "sheets/aa01.png"
    folder = store.layout.sheets
    assert [path.name for path in folder.iterdir()] == ["aa01.png"] and (folder / "aa01.png").read_bytes() == b"second"


@pytest.mark.parametrize("job_id", ["../escape", "a/b", ""])
def test_a_contact_sheet_never_leaves_its_folder(store: ResultStore, job_id: str) -> None:
    with pytest.raises(StoreError, match="job_id"):
        store.keep_sheet(job_id, b"a picture")
