"""What a row may hold: typed, documented columns, finite numbers, nothing lost in silence."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import REPOSITORY
from report_samples import BACKBONES, sample_row

from bob.core.errors import StoreError
from bob.jobs.column import DTYPES, GROUPS
from bob.jobs.row import BY_NAME, COLUMNS, columns_markdown
from bob.store import ResultStore

NAME = BACKBONES[0][0]


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results")


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_every_column_has_a_type_a_group_and_a_sentence(column) -> None:
    assert column.dtype in DTYPES
    assert column.group in GROUPS
    assert len(column.doc) > 8 and column.doc.endswith(".")


def test_no_column_is_declared_twice() -> None:
    assert len(BY_NAME) == len(COLUMNS)


def test_page_of_columns_is_current() -> None:
    page = REPOSITORY / "docs" / "results.md"
    assert columns_markdown() in page.read_text(encoding="utf-8"), "docs/results.md: put columns_markdown() in anew"


def test_store_imports_neither_torch_nor_pandas_until_it_loads(tmp_path: Path) -> None:
    code = (
        "import sys, bob.store; s = bob.store.ResultStore(sys.argv[1]);"
        "s.refuse_newer();"
        "s.append({'job_id': 'ab01', 'status': 'ok', 'score': 1.0});"
        "assert s.statuses() == {'ab01': 'ok'} and s.attempts('ab01') == 1;"
        "heavy = {'torch', 'pandas', 'pyarrow', 'scipy', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "results")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_numpy_and_nested_values_become_plain_ones(store: ResultStore) -> None:
    changes = {"n_test": np.int64(3), "nll": np.float32(0.5), "smoke": np.bool_(True), "log_path": Path("logs/a")}
    store.append(sample_row(NAME, hparams={"lr": np.float64(0.1), "betas": (0.9, 0.99)}, **changes))
    row = store.load().iloc[0]
    assert (row["n_test"], row["nll"], row["smoke"], row["log_path"]) == (3, 0.5, True, "logs/a")
    assert row["hparams"] == '{"betas": [0.9, 0.99], "lr": 0.1}'


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5", True])
def test_ok_row_without_a_finite_score_is_refused(store: ResultStore, value: object) -> None:
    with pytest.raises(StoreError, match=r"score .* is not a finite number"):
        store.append(sample_row(NAME, score=value))
    assert store.statuses() == {}


@pytest.mark.parametrize("name", ["score_low", "score_high"])
def test_interval_that_is_not_finite_is_refused(store: ResultStore, name: str) -> None:
    with pytest.raises(StoreError, match=name):
        store.append(sample_row(NAME, **{name: math.nan}))


def test_other_number_that_is_not_finite_is_null_and_the_row_says_so(store: ResultStore) -> None:
    store.append(sample_row(NAME, auroc=math.nan, nll=-math.inf, ece=0.1, search=[{"lr": 1.0, "val": math.nan}]))
    row = store.load().iloc[0]
    assert np.isnan(row["auroc"]) and np.isnan(row["nll"]) and row["ece"] == 0.1
    assert row["nonfinite"] == "auroc,nll"
    assert row["search"] == '[{"lr": 1.0, "val": "nan"}]'


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_test", 1.5), ("n_test", "3"), ("family", 3), ("smoke", 1), ("gmacs", "many"), ("top1", True)],
)
def test_value_of_another_type_is_refused_and_named(store: ResultStore, name: str, value: object) -> None:
    with pytest.raises(StoreError, match=f"column '{name}' is {BY_NAME[name].dtype}"):
        store.append(sample_row(NAME, **{name: value}))


def test_value_that_no_row_can_hold_is_refused(store: ResultStore) -> None:
    with pytest.raises(StoreError, match="object"):
        store.append(sample_row(NAME, plugin=object()))


@pytest.mark.parametrize("job_id", ["", "a", "../escape", "a/b", "a.b", None, 7])
def test_job_id_that_is_no_file_name_is_refused(store: ResultStore, job_id: object) -> None:
    with pytest.raises(StoreError, match="job_id"):
        store.append(sample_row(NAME, job_id=job_id))


def test_unknown_status_is_refused_with_the_known_ones(store: ResultStore) -> None:
    with pytest.raises(StoreError, match="'done' is not one of ok, failed, skipped, timeout, oom"):
        store.append(sample_row(NAME, status="done"))


def test_odd_text_survives(store: ResultStore) -> None:
    message = 'Größe "9" < 5\n\tnul \x00 emoji \U0001f600 lone \ud800 end'
    store.append({"job_id": "ab01", "status": "failed", "error_message": message})
    kept = store.load().iloc[0]["error_message"]
    assert kept == message.replace("\ud800", "\\ud800")
