"""Results folders that attack: nothing is written, moved or deleted outside them, and nothing in them runs or hangs."""

from __future__ import annotations

import json
import os
import pickle
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_samples import BACKBONES, sample_row

from bob.cli import main
from bob.core.errors import StoreError
from bob.core.lease import Lease
from bob.jobs.context import Context
from bob.runners.local.local_runner import LocalRunner
from bob.store import ResultStore
from bob.store.store import LEFTOVER_AGE_S

pytestmark = pytest.mark.timeout(60)
NAMES = [name for name, *_ in BACKBONES]


class _Runs:
    """What a pickle of it does: it leaves a file, as it could leave anything."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch '{self.mark}'",)


def _row(number: int = 0, **changes):
    return sample_row(NAMES[0], **{"job_id": f"aa{number:02d}", "seed": number, **changes})


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "index.html").write_text("mine")
    (folder / "aa00.001.ok.json").write_text("mine")
    (folder / ".tmp-mine").write_text("mine")
    os.utime(folder / ".tmp-mine", (time.time() - 2 * LEFTOVER_AGE_S,) * 2)
    return folder


def _content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["records", "records/aa", "claims", "claims/aa", "outcomes", "outcomes/aa", "leases"])
def test_a_link_in_place_of_a_folder_is_not_written_through(tmp_path, outside, name):
    root = tmp_path / "results"
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    before = _content(outside)
    with pytest.raises(StoreError, match=r"leads out of the results folder[\s\S]*--results"):
        ResultStore(root).append(_row(), {"outcome": np.zeros(3)})
        ResultStore(root).fold(force=True)
    assert _content(outside) == before


def test_a_results_folder_that_is_itself_a_link_serves_as_ever(tmp_path):
    (tmp_path / "big disk").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "big disk")
    store = ResultStore(tmp_path / "results")
    store.append(_row(), {"outcome": np.zeros(3)})
    assert list(store.load()["job_id"]) == ["aa00"] and (tmp_path / "big disk" / "results.parquet").is_file()


def test_sheets_and_damaged_files_stay_within(tmp_path, outside):
    store = ResultStore(tmp_path / "results")
    store.append(_row())
    (tmp_path / "results" / "sheets").symlink_to(outside)
    (tmp_path / "results" / "damaged").symlink_to(outside)
    before = _content(outside)
    with pytest.raises(StoreError, match="leads out"):
        store.keep_sheet("aa00", b"png")
    next(store.layout.records.rglob("aa00.*")).write_bytes(b"damaged")
    assert len(store.load()) == 0
    assert _content(outside) == before


def test_a_file_is_not_moved_away_from_where_a_link_leads(tmp_path, outside):
    store = ResultStore(tmp_path / "results")
    store.append(_row(1, job_id="bb01"))
    (tmp_path / "results" / "records" / "aa").symlink_to(outside)
    before = _content(outside)
    assert list(store.load()["job_id"]) == ["bb01"]  # "aa00.001.ok.json" there is no record
    assert _content(outside) == before


@pytest.mark.parametrize("name", ["work", "logs", "claims", "work/aa00"])
def test_a_run_refuses_a_results_folder_whose_work_lies_elsewhere(tmp_path, outside, name):
    place = tmp_path / "results" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    with pytest.raises(StoreError, match="leads out"):
        LocalRunner([], results_dir=tmp_path / "results", cache_dir=tmp_path / "cache", device="cpu", display="none")
    assert Context(results_dir=tmp_path / "results", cache_dir=tmp_path).work_dir == tmp_path / "results" / "work"


def test_old_temporary_files_are_removed_from_the_stores_own_folders_alone(tmp_path, outside):
    store = ResultStore(tmp_path)  # a results folder that holds other things too, as a home folder does
    store.append(_row())
    (tmp_path / ".tmp-mine").write_text("mine")
    os.utime(tmp_path / ".tmp-mine", (time.time() - 2 * LEFTOVER_AGE_S,) * 2)
    (tmp_path / "records" / "link").symlink_to(outside)
    store.fold(force=True)
    assert (outside / ".tmp-mine").exists() and (tmp_path / ".tmp-mine").exists()


def test_a_report_is_not_written_through_a_link(tmp_path, outside, capsys):
    results = tmp_path / "results"
    ResultStore(results).append(_row())
    (results / "report").mkdir()
    (results / "report" / "all").symlink_to(outside)
    before = _content(outside)
    assert main(["report", "--results", str(results)]) == 2
    assert "leads out" in capsys.readouterr().err and _content(outside) == before
    (results / "report" / "all").unlink()
    (results / "report" / "all").mkdir()
    (results / "report" / "all" / "index.html").symlink_to(outside / "index.html")
    assert main(["report", "--results", str(results)]) == 0
    assert _content(outside) == before and not (results / "report" / "all" / "index.html").is_symlink()


def test_the_reason_of_a_damaged_file_shows_no_file_that_it_links_to(tmp_path):
    (tmp_path / "secret").write_text("hunter2")
    damaged = tmp_path / "results" / "damaged"
    damaged.mkdir(parents=True)
    for name in ("a.json", "b.json", "c.json"):
        (damaged / name).write_text("")
    (damaged / "a.json.reason").symlink_to(tmp_path / "secret")
    os.mkfifo(damaged / "b.json.reason")
    (damaged / "c.json.reason").write_bytes(b"\xff\x1b[2J" + b"x" * 10_000_000)
    said = ResultStore(tmp_path / "results").damaged()
    assert said["a.json"] == said["b.json"] == "unknown" and len(said["c.json"]) <= 2000


def test_a_pipe_in_place_of_a_record_or_a_lease_is_not_waited_for(tmp_path):
    store = ResultStore(tmp_path / "results")
    store.append(_row())
    os.mkfifo(tmp_path / "results" / "records" / "aa" / "aa07.001.ok.json")
    assert list(store.load()["job_id"]) == ["aa00"]
    os.mkfifo(tmp_path / "results" / "x.lease")
    with pytest.raises(OSError, match="no regular file"):
        Lease.try_take(tmp_path / "results" / "x.lease")


@pytest.mark.parametrize("content", ["[]", "1", '{"host": 1}', '{"pid": "x"}', '{"pid": -1}', "[" * 100_000, "\xff"])
def test_a_lease_of_any_content_is_somebodys_until_it_is_old(tmp_path, content):
    import socket

    path = tmp_path / "x.lease"
    path.write_bytes(content.replace("{", f'{{"host": "{socket.gethostname()}", ', 1).encode("latin1"))
    assert Lease.try_take(path) is None
    os.utime(path, (1, 1))
    lease = Lease.try_take(path)
    assert lease is not None
    lease.release()


@pytest.mark.parametrize("job_id", ["../../escaped", "a/b", "/tmp/x", "..", "", "a\x00b", "x" * 65, "<b>", "a\n"])
def test_a_job_id_is_never_a_path(tmp_path, job_id):
    store = ResultStore(tmp_path / "results")
    for call in (lambda: store.append(_row() | {"job_id": job_id}), lambda: store.keep_sheet(job_id, b"")):
        with pytest.raises(StoreError, match="job_id"):
            call()
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_table_with_rows_of_its_own_invention_is_made_again_from_the_records(tmp_path, caplog):
    store = ResultStore(tmp_path / "results")
    store.append(_row())
    store.fold(force=True)
    table = pq.read_table(store.layout.table)
    for column, value in (("job_id", "../../escaped"), ("job_id", "aa99"), ("status", "failed")):
        forged = table.set_column(table.column_names.index(column), column, pa.array([value]))
        pq.write_table(forged, store.layout.table)
        assert list(store.load()["job_id"]) == ["aa00"]
    assert "rows of jobs that it does not say it covers" in caplog.text
    assert main(["report", "--results", str(tmp_path / "results")]) == 0


def test_a_pickle_in_parquet_metadata_is_not_run(tmp_path):
    mark = tmp_path / "ran"
    store = ResultStore(tmp_path / "results")
    store.append(_row(), {"outcome": np.zeros(3)})
    store.fold(force=True)
    code = pickle.dumps(_Runs(mark))
    for path in (store.layout.table, store.layout.outcomes("aa00", 1)):
        table = pq.read_table(path)
        names = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": code}
        fields = [entry.with_metadata(names) for entry in table.schema]
        forged = pa.table(table.columns, pa.schema(fields, {**(table.schema.metadata or {}), b"pandas": code}))
        pq.write_table(forged, path)
    assert list(ResultStore(tmp_path / "results").load()["job_id"]) == ["aa00"]
    store.outcomes("aa00")
    assert not mark.exists()


@pytest.mark.parametrize(
    "row",
    [
        {"contact_sheet": "../../../etc/passwd", "log_path": "/etc/passwd"},
        {"score": 1e308, "score_low": -1e308, "latency_ms_b1_p50": 1e308, "params_m": -1e300},
        {"image_size": 2**62, "seed": -(2**63)},
        {"backbone": "x" * 100_000, "dataset": "y" * 100_000},
        {"backbone": "", "dataset": "", "protocol": ""},
        {"protocol_params": "{" * 10_000, "hparams": "not JSON", "others": "[[["},
    ],
)
def test_a_row_of_any_content_is_reported_and_opens_no_path(tmp_path, row, capsys):
    store = ResultStore(tmp_path / "results")
    store.append(_row())
    record = next(store.layout.records.rglob("aa00.*"))
    record.write_text(json.dumps({**json.loads(record.read_text()), **row}))
    assert main(["report", "--results", str(tmp_path / "results")]) == 0
    assert main(["show", "aa00", "--results", str(tmp_path / "results")]) == 0
    assert "root:" not in capsys.readouterr().out
    assert "root:" not in (tmp_path / "results" / "report" / "all" / "index.html").read_text()
