"""Boards whose score is no mean over test samples: paired by their replicates; the page shows what was predicted."""

from __future__ import annotations

import base64
import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from report_samples import BACKBONES, sample_dense_results, sample_dense_row, sample_results
from rich.console import Console
from scipy import stats

from bob.metrics.resampling import resampled_counts
from bob.reporting.boards import circumstances, make_board
from bob.reporting.build import Report, build_report
from bob.reporting.paired import Run, pair
from bob.reporting.ranking import ALPHA
from bob.reporting.recommend import recommend
from bob.reporting.report_data import Board
from bob.reporting.select import find_differences, group_rows
from bob.reporting.sheets import MAX_BYTES, contact_sheets
from bob.reporting.tables import score_table
from bob.store import ResultStore

NAMES = [name for name, *_ in BACKBONES]
CONTROL = NAMES[-1]


def _frame(outcomes: dict[str, Any], replicates: np.ndarray | None) -> pd.DataFrame:
    frame = pd.DataFrame(outcomes)
    if replicates is not None:
        frame.attrs["replicates"] = replicates
    return frame


def _board(triples: list[tuple[dict[str, Any], Any, Any]]) -> Board:
    tables = {row["job_id"]: _frame(outcomes, replicates) for row, outcomes, replicates in triples}
    (group,) = group_rows([row for row, _, _ in triples], mix=False)
    return make_board(group, tables.get)


def _entry(board: Board, name: str):
    return next(entry for entry in board.entries if entry.backbone == name)


def _png(color: str, size: tuple[int, int] = (40, 20)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "PNG")
    return out.getvalue()


def _shown(page: str) -> list[bytes]:
    return [base64.b64decode(data) for data in re.findall(r'<figure><img [^>]*base64,([^"]+)"', page)]


def _fill(folder: Path, sheets: dict[str, bytes]) -> ResultStore:
    store = ResultStore(folder)
    for row, outcomes, replicates in sample_dense_results():
        if row["backbone"] in sheets:
            row["contact_sheet"] = store.keep_sheet(row["job_id"], sheets[row["backbone"]])
        store.append(row, outcomes, replicates)
    return store


def _build(folder: Path) -> Report:
    return build_report(folder, suite=None, reference=None, expected=None, out_dir=folder / "report")


def _page(folder: Path) -> str:
    return _build(folder).files["index.html"].read_text()


def _job_of(name: str) -> str:
    return sample_dense_row(name)["job_id"]


def test_scores_are_the_rows_own_and_ties_and_ranks_come_from_the_replicates() -> None:
    board = _board(list(sample_dense_results()))
    assert [entry.score for entry in board.entries] == [row["score"] for row, _, _ in sample_dense_results()]
    assert board.test == "simultaneous test of all pairs on the same 60 test samples, at 0.05 in total"
    tied = [entry.backbone for entry in board.candidates if entry.tied]
    assert NAMES[1] in tied and NAMES[5] not in tied and NAMES[6] not in tied
    ranges = {entry.backbone: (entry.rank_low, entry.rank_high) for entry in board.candidates}
    assert ranges[NAMES[6]] == (7, 7) and ranges[NAMES[0]][0] == 1 and ranges[NAMES[0]][1] > 1
    assert _entry(board, CONTROL).tied is None and _entry(board, CONTROL).rank_low is None


def test_replicates_of_means_vary_together_as_outcomes_do() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.1, 200)
    outcomes = {name: np.clip(shared + rng.normal(share, 0.2, 200), 0, 1) for name, share in (("x", 0.7), ("y", 0.66))}
    ids = {"sample_id": [f"{i:03d}" for i in range(200)]}
    by_mean = pair({name: [Run(float(v.mean()), _frame({**ids, "outcome": v}, None))] for name, v in outcomes.items()})
    counts = np.concatenate(list(resampled_counts(200, resamples=5000)))
    runs = {name: [Run(float(v.mean()), _frame(ids, counts @ v / 200))] for name, v in outcomes.items()}
    assert pair(runs).covariance == pytest.approx(by_mean.covariance, rel=0.1)
    assert by_mean.covariance == pytest.approx(np.cov(list(outcomes.values())) / 200)


def test_replicates_are_spread_as_far_as_the_rows_interval_says() -> None:
    drawn = np.random.default_rng(0).normal(0.5, 0.02, 1000)
    ids = {"sample_id": ["a", "b", "c"]}
    variances = [pair({"x": [Run(0.5, _frame(ids, drawn), error)]}).variance("x") for error in (None, 0.01, 0.025, 9.0)]
    own = drawn.var(ddof=1)
    assert variances == pytest.approx([own, own, 0.025**2, own * 1.5**2])


def test_several_seeds_widen_the_interval_by_their_spread() -> None:
    moved = np.array([-0.05, 0.0, 0.05])
    triples = [
        ({**row, "score": row["score"] + moved[row["seed"]]}, outcomes, drawn + moved[row["seed"]])
        for row, outcomes, drawn in sample_dense_results(seeds=3)
        if row["backbone"] in NAMES[:2]
    ]
    entry = _entry(_board(triples), NAMES[0])
    own = [row for row, _, _ in triples if row["backbone"] == NAMES[0]]
    scores = np.array([row["score"] for row in own])
    assert entry.score == pytest.approx(scores.mean(), abs=1e-15) and entry.seed_std is not None
    # The rows' own interval by pictures, and Student's by three seeds, as a root of squares.
    by_pictures = entry.score - np.mean([row["score_low"] for row in own])
    by_seeds = stats.t.isf(0.025, 2) * scores.std(ddof=1) / 3**0.5
    assert entry.score - entry.low == pytest.approx(np.hypot(by_pictures, by_seeds), rel=0.02)


def test_one_seed_keeps_the_rows_own_interval() -> None:
    entry = _board(list(sample_dense_results())).entries[0]
    row = next(iter(sample_dense_results()))[0]
    assert (entry.low, entry.high) == (row["score_low"], row["score_high"])


def _renamed(row, outcomes, replicates):
    return row, {**outcomes, "sample_id": np.char.add(outcomes["sample_id"], "-other")}, replicates


def _as_mean(row, outcomes, replicates):
    return row, {**outcomes, "outcome": np.full(60, row["score"])}, None


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_renamed, "tested on other samples"),
        (_as_mean, "its score is the mean of its outcomes, the others' the score of the whole test set"),
        (lambda row, outcomes, drawn: (row, outcomes, drawn[:500]), "500 resampled scores, the others 1000"),
        (lambda row, outcomes, drawn: (row, outcomes, None), "no outcome per test sample"),
        (lambda row, outcomes, drawn: (row, outcomes, drawn[:0]), "no scores in [0, 1]"),
        (lambda row, outcomes, drawn: (row, outcomes, drawn + 1), "no scores in [0, 1]"),
        (lambda row, outcomes, drawn: (row, {"sample_id": np.repeat("a", 60)}, drawn), "twice"),
        (lambda row, outcomes, drawn: (row, {"picture": outcomes["sample_id"]}, drawn), "no outcome per test sample"),
    ],
)
def test_what_cannot_be_paired_is_named_and_the_others_are_paired(spoil, why: str) -> None:
    triples = [spoil(*triple) if i == 2 else triple for i, triple in enumerate(sample_dense_results())]
    board = _board(triples)
    assert any(why in note and NAMES[2] in note for note in board.notes)
    assert _entry(board, NAMES[2]).tied is None and _entry(board, NAMES[1]).tied is True
    assert "may be chance" in recommend(board).text


def test_seeds_on_different_samples_are_named() -> None:
    triples = list(sample_dense_results(seeds=2))
    at = next(i for i, (row, _, _) in enumerate(triples) if (row["backbone"], row["seed"]) == (NAMES[1], 1))
    triples[at] = _renamed(*triples[at])
    assert f"{NAMES[1]} is outside the paired test: its seeds were tested on different samples" in _board(triples).notes


def test_resampled_test_sets_without_anything_to_score_are_left_out_for_everybody() -> None:
    triples = list(sample_dense_results())
    gaps = np.arange(1000) % 10 == 3
    with_gaps = [(row, outcomes, np.where(gaps, np.nan, drawn)) for row, outcomes, drawn in triples]
    paired = pair({row["backbone"]: [Run(row["score"], _frame(out, drawn))] for row, out, drawn in with_gaps})
    assert paired.variance(NAMES[0]) == pytest.approx(triples[0][2][~gaps].var(ddof=1))
    # No set is scored for both: there is nothing to pair, and no number comes of it.
    apart = [(row, out, np.where(gaps == (i % 2 == 0), np.nan, drawn)) for i, (row, out, drawn) in enumerate(triples)]
    assert _board(apart).test == "No paired test: no resampled test set has anything to score"


def test_one_test_picture_proves_nothing() -> None:
    triples = [(row, {"sample_id": np.array(["a"])}, np.full(9, row["score"])) for row, *_ in sample_dense_results()]
    board = _board(triples)
    assert board.test == "No paired test: 1 test sample is too few"
    assert "may be chance" in recommend(board).text


def test_recommendation_tests_with_the_replicates_within_the_limits() -> None:
    board = _board(list(sample_dense_results()))
    assert set(recommend(board).tied) == {entry.backbone for entry in board.candidates[1:] if entry.tied}
    quick = recommend(board, max_latency_ms=30)
    names = [entry.backbone for entry in board.candidates if entry.costs["latency_ms_b1_p50"] <= 30]
    tied = tuple(n for n in names if n != quick.best and board.comparison.p_value(n, quick.best) >= ALPHA)
    assert quick.best == NAMES[3] and quick.tied == tied


def test_further_metrics_stand_beside_the_primary_one_and_in_the_csv(tmp_path: Path) -> None:
    _fill(tmp_path, {})
    report = _build(tmp_path)
    table = score_table(report.boards[0])
    titles = [head.title for head in table.heads]
    assert titles[2:6] == ["box_ap", "95 % interval", "AP50", "AP75"]
    assert table.rows[0][4].text == f"{sample_dense_row(NAMES[0])['box_ap50']:.3f}" and table.heads[5].wide_only
    frame = pd.read_csv(report.files["ranking.csv"])
    assert frame["box_ap50"].tolist() == [entry.metrics["box_ap50"] for entry in report.boards[0].entries]
    masks = score_table(
        _board([({**r, "metric": "mask_ap", "mask_ap50": 0.7}, o, d) for r, o, d in sample_dense_results()])
    )
    assert [head.title for head in masks.heads][4:6] == ["AP50", "box AP"]
    (plain,) = [
        score_table(make_board(group, lambda _: None))
        for group in group_rows([r for r, _ in sample_results()], mix=False)
    ]
    assert "AP50" not in [head.title for head in plain.heads]


def test_a_dense_board_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    _fill(tmp_path, {})
    out = io.StringIO()
    _build(tmp_path).print(Console(file=out, width=80, force_terminal=False))
    lines = out.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines[:-1]) <= 80
    assert "AP50" in out.getvalue() and "AP75" not in out.getvalue()


def test_circumstances_give_height_and_width_of_an_input_that_is_no_square() -> None:
    row = sample_dense_row(NAMES[0])
    assert circumstances([row])["input, px"] == "320 x 416"
    assert circumstances([{**row, "input_height": None, "input_width": None, "image_size": 160}])["input, px"] == "160"
    wider = {**sample_dense_row(NAMES[1]), "input_width": 640}
    assert find_differences([row, wider])["input_width"] == ["416 px", "640 px"]


def test_page_shows_the_sheets_of_the_best_candidate_and_the_best_control(tmp_path: Path) -> None:
    sheets = {NAMES[0]: _png("red"), NAMES[1]: _png("green"), CONTROL: _png("blue")}
    _fill(tmp_path, sheets)
    page = _page(tmp_path)
    assert _shown(page) == [sheets[NAMES[0]], sheets[CONTROL]]
    assert f"<figcaption>{NAMES[0]}</figcaption>" in page and f"<figcaption>{CONTROL}</figcaption>" in page
    assert "left out" not in page.split("<main>")[1].split("How to read")[0]


def test_the_next_best_with_a_sheet_stands_in_and_without_any_there_is_no_heading(tmp_path: Path) -> None:
    _fill(tmp_path / "some", {NAMES[2]: _png("red")})
    assert _shown(_page(tmp_path / "some")) == [_png("red")]
    _fill(tmp_path / "none", {})
    assert "truth and prediction" not in _page(tmp_path / "none")


def _crc_broken(png: bytes) -> bytes:
    at = png.index(b"IDAT") + 6
    return png[:at] + bytes([png[at] ^ 0xFF]) + png[at + 1 :]


def _bomb() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no whole PNG"),
        (b"<svg onload=alert(1)>", "no whole PNG"),
        (_png("red")[:60], "no whole PNG"),
        (_crc_broken(_png("red")), "no whole PNG"),
        (_bomb(), "no whole PNG"),
        (_png("red", (7000, 7000)), "7000 x 7000 pixels"),
        (b"\x89PNG" + bytes(MAX_BYTES), "larger than 3 MB"),
        (None, "missing"),
    ],
    ids=["empty", "svg", "cut off", "garbled", "bomb", "huge", "too many bytes", "missing"],
)
def test_a_damaged_sheet_is_left_out_with_the_reason(tmp_path: Path, content: bytes | None, why: str) -> None:
    store = _fill(tmp_path, {NAMES[0]: content or b"", CONTROL: _png("blue")})
    if content is None:
        store.layout.sheet(_job_of(NAMES[0])).unlink()
    page = _page(tmp_path)
    assert _shown(page) == [_png("blue")]
    assert re.search(f"The contact sheet of {re.escape(NAMES[0])} is left out: [^<]*{re.escape(why)}", page)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("seed", range(30))
def test_no_garbled_sheet_breaks_the_report(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    content = bytearray(_png("red"))
    for at in generator.integers(0, len(content), 1 + seed % 4):
        content[at] = int(generator.integers(0, 256))
    board = _board([({**row, "contact_sheet": "x"}, o, d) for row, o, d in sample_dense_results()])
    store = ResultStore(tmp_path)
    store.keep_sheet(board.entries[0].sheet, bytes(content))
    first = contact_sheets(board, store.layout)[0]
    assert (first.png == bytes(content)) if first.png else first.fault


def test_no_path_in_a_row_and_no_link_leads_out_of_the_folder_of_sheets(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(_png("red"))
    store = ResultStore(tmp_path / "results")
    for row, outcomes, replicates in sample_dense_results():
        store.append({**row, "contact_sheet": "../secret.png"}, outcomes, replicates)
    page = _page(tmp_path / "results")
    assert _shown(page) == [] and "the file is missing" in page
    store.layout.sheets.mkdir()
    store.layout.sheet(_job_of(NAMES[0])).symlink_to(secret)
    page = _page(tmp_path / "results")
    assert _shown(page) == [] and "a link to a file outside" in page
