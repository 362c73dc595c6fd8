"""A damaged file is set aside with a warning and reported; it never hides the others."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from bob.core.errors import StoreError
from bob.jobs.row import ROW_SCHEMA_VERSION
from bob.store import ResultStore

JUNK = {
    "truncated": lambda content: content[: len(content) // 2],
    "zero-byte": lambda content: b"",
    "binary": lambda content: bytes(range(256)) * 4,
    "nul": lambda content: b"\x00" * len(content),
    "another type": lambda content: b"[1, 2, 3]",
    "another job": lambda content: content.replace(b"aa01", b"zz01"),
    "another status": lambda content: content.replace(b'"ok"', b'"oom"'),
    "no version": lambda content: content.replace(b"schema_version", b"schema"),
    "not flat": lambda content: content.replace(b'"score":0.5', b'"score":{"a":1}'),
    "bottomless": lambda content: b"[" * 100_000,
}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    store = ResultStore(tmp_path / "results")
    for index in range(4):
        store.append({"job_id": f"aa{index:02d}", "status": "ok", "score": 0.5})
    return store


def _record(store: ResultStore, job_id: str) -> Path:
    return next(store.layout.records.rglob(f"{job_id}.*"))


@pytest.mark.parametrize("kind", JUNK)
def test_damaged_record_is_set_aside_and_hides_no_other(
    store: ResultStore, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = _record(store, "aa01")
    path.write_bytes(JUNK[kind](path.read_bytes()))
    assert list(store.load()["job_id"]) == ["aa00", "aa02", "aa03"]
    assert f"{path} is damaged" in caplog.text
    assert list(store.damaged()) == [path.name] and store.damaged()[path.name] != "unknown"
    # The job counts as not run, so the next run of the suite makes its row again.
    assert "aa01" not in store.statuses()
    store.append({"job_id": "aa01", "status": "ok", "score": 0.25})
    assert len(store.load()) == 4 and store.record("aa01")["score"] == 0.25


def test_every_damaged_record_is_kept_even_of_one_name(store: ResultStore) -> None:
    path = _record(store, "aa01")
    for content in ("", "{", "[]"):
        path.write_text(content)
        store.load()
    assert len(store.damaged()) == 3 and len(set(store.damaged().values())) == 3


def test_record_asked_for_alone_falls_back_to_the_next_readable_attempt(store: ResultStore) -> None:
    store.append({"job_id": "aa01", "status": "failed", "error": "second"})
    _record(store, "aa01.001").write_bytes(b"")
    assert store.record("aa01")["error"] == "second"


@pytest.mark.parametrize("junk", [b"", b"PAR1", b"\xff" * 5000, b"half"])
def test_damaged_table_is_rebuilt_from_the_records(store: ResultStore, junk: bytes) -> None:
    path = store.fold(force=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if junk == b"half" else junk)
    assert len(store.load()) == 4
    assert len(pd.read_parquet(path)) == 4
    assert list(store.damaged()) == ["results.parquet"]


def test_deleted_table_is_rebuilt_from_the_records(store: ResultStore) -> None:
    store.fold(force=True).unlink()
    assert len(store.load()) == 4 and store.layout.table.exists() and store.damaged() == {}


def test_table_of_another_program_under_that_name_is_set_aside(store: ResultStore) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(store.layout.table)
    assert len(store.load()) == 4
    assert "does not say which records it covers" in store.damaged()["results.parquet"]


def test_damaged_outcomes_are_set_aside_and_the_row_stays(store: ResultStore) -> None:
    store.append({"job_id": "bb01", "status": "ok", "score": 0.5}, {"outcome": pd.Series([0.0, 1.0]).to_numpy()})
    path = store.layout.outcomes("bb01", 1)
    path.write_bytes(path.read_bytes()[:100])
    assert store.outcomes("bb01") is None
    assert list(store.damaged()) == [path.name]
    assert "bb01" in set(store.load()["job_id"])


def test_temporary_and_foreign_files_are_no_records(store: ResultStore) -> None:
    folder = _record(store, "aa01").parent
    for name in (".tmp-1f-aa09.001.ok.json", "notes.txt", "aa09.001.done.json", "aa09.ok.json", "aa09.1.ok.json"):
        (folder / name).write_text("{}")
    assert len(store.statuses()) == 4 and len(store.load()) == 4 and store.damaged() == {}


def test_record_of_a_newer_version_stops_with_a_hint_and_changes_nothing(store: ResultStore) -> None:
    table = store.fold(force=True).read_bytes()
    store.append({"job_id": "bb01", "status": "ok", "score": 0.5})
    path = _record(store, "bb01")
    newer = {**json.loads(path.read_text()), "schema_version": ROW_SCHEMA_VERSION + 1}
    path.write_text(json.dumps(newer))
    for read in (store.load, lambda: store.fold(force=True), lambda: store.record("bb01")):
        with pytest.raises(StoreError, match="Upgrade BoB"):
            read()
    assert json.loads(path.read_text()) == newer
    assert store.layout.table.read_bytes() == table and store.damaged() == {}
    assert not list(store.layout.fold_lease.parent.iterdir())


def test_table_of_a_newer_version_is_not_replaced(store: ResultStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bob.store.table.ROW_SCHEMA_VERSION", ROW_SCHEMA_VERSION + 1)
    table = store.fold(force=True).read_bytes()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="Upgrade BoB"):
        store.load()
    assert store.layout.table.read_bytes() == table
