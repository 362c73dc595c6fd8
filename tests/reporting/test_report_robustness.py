"""Boards of robustness: their further columns, effective robustness by the line that is said, pairs by replicates."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_samples import BACKBONES, REFERENCE, sample_dense_results, sample_shifted_results
from rich.console import Console
from scipy.special import expit, logit

from bob.reporting.boards import make_board
from bob.reporting.build import build_report
from bob.reporting.effective_robustness import add_effective_robustness
from bob.reporting.report_data import Board
from bob.reporting.select import group_rows
from bob.reporting.tables import score_table
from bob.store import ResultStore

NAMES = [name for name, *_ in BACKBONES]
CONTROL = NAMES[-1]
# Clean accuracies in the order of BACKBONES: no line goes through all of them and the shifted ones.
CLEAN = (0.95, 0.90, 0.93, 0.90, 0.86, 0.85, 0.80, 0.35)


def _triples(clean: Sequence[float | None] = CLEAN, **changes: Any) -> list[tuple[dict[str, Any], Any, Any]]:
    triples = list(sample_shifted_results(**changes))
    by_name = dict(zip(NAMES, clean, strict=True))
    return [
        (row if by_name[row["backbone"]] is None else {**row, "source_top1": by_name[row["backbone"]]}, out, drawn)
        for row, out, drawn in triples
    ]


def _board(triples: list[tuple[dict[str, Any], Any, Any]]) -> Board:
    tables = {}
    for row, outcomes, replicates in triples:
        frame = pd.DataFrame(outcomes)
        frame.attrs["replicates"] = replicates
        tables[row["job_id"]] = frame
    (group,) = group_rows([row for row, _, _ in triples], mix=False)
    return make_board(group, tables.get)


def _robust(triples: list[tuple[dict[str, Any], Any, Any]], reference: Sequence[str] | None) -> Board:
    (board,) = add_effective_robustness([_board(triples)], reference)
    return board


def _line(names: Sequence[str]) -> dict[str, float]:
    """Fit the named by numpy's own least squares; return every backbone's accuracy above the line."""
    clean, shifted = dict(zip(NAMES, CLEAN, strict=True)), {name: share * 0.7 for name, _, _, share in BACKBONES}
    slope, intercept = np.polyfit(logit([clean[name] for name in names]), logit([shifted[name] for name in names]), 1)
    return {name: shifted[name] - expit(slope * logit(clean[name]) + intercept) for name in NAMES}


def _values(board: Board) -> dict[str, float]:
    found = {entry.backbone: entry.metrics.get("effective_robustness") for entry in board.entries}
    return {name: value for name, value in found.items() if value is not None}


def _shown(board: Board) -> str:
    return " ".join(score_table(board).caption)


def test_the_line_goes_through_the_reference_set_and_everybody_is_measured_by_it() -> None:
    chosen = NAMES[1:5]
    board = _robust(_triples(), chosen)
    assert _values(board) == pytest.approx(_line(chosen), abs=1e-12)
    assert "a line between their logits through the 4 backbones of the suite's reference set." in _shown(board)


def test_controls_are_shown_and_never_in_the_line() -> None:
    board = _robust(_triples(), [*NAMES[1:4], CONTROL])
    assert _values(board) == pytest.approx(_line(NAMES[1:4]), abs=1e-12)
    assert "through the 3 backbones" in _shown(board)
    everybody = _robust(_triples(), [CONTROL])
    assert _values(everybody) == pytest.approx(_line(NAMES[:-1]), abs=1e-12)
    assert CONTROL in _values(everybody)


@pytest.mark.parametrize("reference", [None, [], NAMES[:2], ["elsewhere.a", "elsewhere.b", "elsewhere.c"]])
def test_too_small_a_reference_set_gives_way_to_all_candidates_and_the_caption_says_so(reference) -> None:
    board = _robust(_triples(), reference)
    assert _values(board) == pytest.approx(_line(NAMES[:-1]), abs=1e-12)
    assert "all 7 candidates, as fewer than 3 of the suite's reference set are here." in _shown(board)


@pytest.mark.parametrize(
    ("clean", "why"),
    [
        ((0.9, 0.8, None, None, None, None, None, 0.3), "2 candidates have source_top1, a line needs 3"),
        ((0.9,) * 8, "all 7 reference models have one clean accuracy: no line fits"),
    ],
)
def test_without_a_line_there_is_no_column_and_the_caption_says_why(clean, why: str) -> None:
    board = _robust(_triples(clean), REFERENCE if len(set(clean)) > 1 else None)
    assert _values(board) == {}
    assert "eff. rob." not in [head.title for head in score_table(board).heads]
    assert f"No effective robustness: {why}." in _shown(board)


def test_a_board_whose_rows_do_not_say_how_many_pictures_has_none() -> None:
    triples = [({**row, "n_test": None}, out, drawn) for row, out, drawn in _triples()]
    assert "No effective robustness: no row says how many test pictures" in _shown(_robust(triples, REFERENCE))


def test_an_entry_without_clean_accuracy_is_outside_and_the_others_stay() -> None:
    board = _robust(_triples((*CLEAN[:6], None, CLEAN[7])), NAMES[:4])
    assert _values(board) == pytest.approx({k: v for k, v in _line(NAMES[:4]).items() if k != NAMES[6]}, abs=1e-12)


def test_seeds_are_averaged_before_the_line_is_fitted() -> None:
    one, two = _robust(_triples(), REFERENCE), _robust(_triples(seeds=2), REFERENCE)
    entries = {entry.backbone: entry for entry in two.entries}
    names = [name for name in NAMES if name != CONTROL]
    clean = dict(zip(NAMES, CLEAN, strict=True))
    slope, intercept = np.polyfit(
        logit([clean[name] for name in names]), logit([entries[name].score for name in names]), 1
    )
    expected = {n: entries[n].score - expit(slope * logit(clean[n]) + intercept) for n in NAMES}
    assert _values(two) == pytest.approx(expected, abs=1e-12)
    assert _values(two) != pytest.approx(_values(one), abs=1e-6)


def test_other_boards_stay_as_they_are() -> None:
    board = _board(list(sample_dense_results()))
    assert add_effective_robustness([board], REFERENCE) == [board]


def test_the_column_has_a_sign_and_csv_and_page_have_it(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for row, outcomes, replicates in _triples():
        store.append(row, outcomes, replicates)
    report = build_report(tmp_path, suite=None, reference=REFERENCE, expected=None, out_dir=tmp_path / "report")
    table = score_table(report.boards[0])
    place = [head.title for head in table.heads].index("eff. rob.")
    expected = _line(REFERENCE)
    assert [row[place].text for row in table.rows] == [f"{expected[row[1].text]:+.3f}" for row in table.rows]
    frame = pd.read_csv(report.files["ranking.csv"]).set_index("backbone")
    assert frame["effective_robustness"].to_dict() == pytest.approx(expected)
    assert "eff. rob." in report.files["index.html"].read_text()
    assert "7 backbones of the suite's reference set" in report.files["ranking.md"].read_text()


FURTHER = {
    "mean_accuracy": (
        {"source_top1": 1.2, "corruption_accuracy": 0.9, "relative_drop": 0.3, "mce": 0.5},
        ["source", "corr.", "rel. drop", "mCE"],
    ),
    "mean_box_ap": ({"source_box_ap": 1.2, "relative_drop": 0.3}, ["source AP", "rel. drop"]),
    "auroc": ({"auroc_near": 0.9, "auroc_far": 1.1, "fpr95": 0.4}, ["near", "far", "FPR95"]),
    "map": ({"mrr": 1.1, "recall_at_1": 0.9}, ["MRR", "R@1"]),
    "robust_accuracy": ({"clean_top1": 1.3}, ["clean"]),
}


@pytest.mark.parametrize("metric", FURTHER)
def test_further_metrics_stand_beside_the_primary_one_and_pairs_come_from_replicates(metric: str) -> None:
    columns, titles = FURTHER[metric]
    board = _board(list(sample_shifted_results(metric=metric, **columns)))
    table = score_table(board)
    assert [head.title for head in table.heads][2 : 4 + len(titles)] == [metric, "95 % interval", *titles]
    for place, factor in enumerate(columns.values(), start=4):
        assert table.rows[0][place].text == f"{board.entries[0].score * factor:.3f}"
    assert board.test == "simultaneous test of all pairs on the same 60 test samples, at 0.05 in total"
    assert all(entry.tied is not None and entry.rank_low is not None for entry in board.candidates)
    assert board.samples == 60 and not any("outside the paired test" in note for note in board.notes)


def test_the_widest_of_these_boards_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    store = ResultStore(tmp_path)
    for row, outcomes, replicates in sample_shifted_results(seeds=2, **FURTHER["mean_accuracy"][0]):
        store.append(row, outcomes, replicates)
    report = build_report(tmp_path, suite=None, reference=REFERENCE, expected=None, out_dir=None)
    out = io.StringIO()
    report.print(Console(file=out, width=80, force_terminal=False))
    assert max(len(line.rstrip()) for line in out.getvalue().splitlines()) <= 80
    head = next(line for line in out.getvalue().splitlines() if line.startswith("rank"))
    assert "source" in head and "rel. drop" not in head
